//! Bringing a `dev` up.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::http::views::ClusterView;
use crate::{clock, output};

use super::ending::Ending;
use super::layout::{Kind, Layout};
use super::machine::{account, check_folder, check_reach, find_postgres};
use super::plan::{CLUSTER, PEERS, check_durability, plan, write};
use super::{DevError, nodes};

const PEERS_WITHIN: Duration = Duration::from_secs(20);
const STREAMS_WITHIN: Duration = Duration::from_secs(120);

pub(super) fn up(
    folder: &Path,
    no_view: bool,
    durability: &str,
    members: u8,
) -> Result<(), DevError> {
    check_durability(durability, members)?;
    check_folder(folder)?;
    let account = account()?;
    check_reach(folder, account)?;
    let binaries = find_postgres()?;
    let mut layout = plan(folder, account, members)?;
    let mut ending = Ending::listen()?;
    write(&mut layout, &binaries)?;
    let result = bring_up(&mut layout, durability, &mut ending);
    if let Err(error) = result {
        if !ending.is_asked {
            for node in layout.nodes.keys() {
                tail(&layout, node);
            }
        }
        nodes::tear_down(&layout)?;
        return Err(error);
    }
    announce(&layout, no_view)?;
    if no_view {
        return Ok(());
    }
    let watched = watch(&layout, &mut ending);
    nodes::down(&layout)?;
    watched
}

/// Says what runs, and what to type next.
fn announce(layout: &Layout, no_view: bool) -> Result<(), DevError> {
    let mut said = text(&verb(layout, &["status"])?.stdout) + "\n";
    let mut add = |name: &str, what: &str| said.push_str(&format!("{name:<9}{what}\n"));
    add("dsn", &layout.dsn);
    let folder = layout.folder.display().to_string();
    add("folder", &folder);
    if layout.folder != super::default_folder() {
        add("first", &format!("export PRIMACY_DEV={folder}"));
    }
    if std::env::var_os("PRIMACY_API").is_some() {
        add("first", "unset PRIMACY_API: it names other peers");
    }
    add(
        "try",
        "primacy dev kill a; primacy status; primacy history; primacy dev start a",
    );
    if no_view {
        add("end", "primacy dev down");
    }
    Ok(output::print(said)?)
}

fn bring_up(layout: &mut Layout, durability: &str, ending: &mut Ending) -> Result<(), DevError> {
    let names = |layout: &Layout, kind| -> Vec<String> {
        layout.of(kind).map(|(name, _)| name.clone()).collect()
    };
    output::say(format_args!("starting {PEERS} peers"));
    for name in names(layout, Kind::Peer) {
        nodes::spawn(layout, &name)?;
    }
    until(PEERS_WITHIN, ending, "the peers elect no leader", || {
        Ok(verb(layout, &["leader"])?.status.success())
    })?;
    create(layout, durability)?;
    let instances = names(layout, Kind::Instance);
    output::say(format_args!(
        "starting {} agents; the first initialises, the others clone it",
        instances.len()
    ));
    for name in instances {
        nodes::spawn(layout, &name)?;
    }
    let otherwise = "the instances do not all stream";
    until(STREAMS_WITHIN, ending, otherwise, || {
        let status = verb(layout, &["status", CLUSTER, "--output", "json"])?;
        let view = serde_json::from_slice::<ClusterView>(&status.stdout);
        // What a peer last saw is no answer.
        Ok(status.status.success() && view.is_ok_and(|view| settled(&view)))
    })
}

/// Records the cluster. An election in between is waited for by the verb.
fn create(layout: &Layout, durability: &str) -> Result<(), DevError> {
    let mut typed: Vec<String> = ["cluster", "create", CLUSTER, "--durability", durability]
        .map(str::to_owned)
        .into();
    for (name, node) in layout.of(Kind::Instance) {
        typed.push("--member".to_owned());
        typed.push(format!(
            "{name}=127.0.0.1:{}/{}@{}",
            node.port,
            node.health.unwrap_or_default(),
            node.zone
        ));
    }
    let typed: Vec<_> = typed.iter().map(String::as_str).collect();
    let created = verb(layout, &typed)?;
    match created.status.success() {
        true => Ok(()),
        false => Err(refusal("create the cluster", &text(&created.stderr))),
    }
}

/// What one of this program's verbs said when it failed.
fn refusal(what: &str, said: &str) -> DevError {
    let after = |word: &str| said.lines().find_map(|line| line.strip_prefix(word));
    let why = after("error: ").unwrap_or(said.trim());
    DevError {
        hint: after("hint: ").map(str::to_owned),
        ..DevError::failed(format!("{what}: {why}"))
    }
}

/// Whether a primary serves, everybody else streams, and all count.
fn settled(view: &ClusterView) -> bool {
    view.phase == "serving"
        && view.findings.is_empty()
        && view.instances.iter().all(|instance| {
            instance.standing == "voter"
                && instance.rejoin.is_none()
                && matches!(instance.state.as_str(), "running" | "streaming")
        })
}

fn until(
    within: Duration,
    ending: &mut Ending,
    otherwise: &str,
    mut done: impl FnMut() -> Result<bool, DevError>,
) -> Result<(), DevError> {
    let deadline = clock::monotonic().after(within);
    while clock::monotonic() < deadline {
        if done()? {
            return Ok(());
        }
        if ending.comes_within(Duration::from_millis(100)) {
            return Err(DevError::failed(
                "asked to end before everything was up; all of it is taken down",
            ));
        }
    }
    Err(DevError::failed(format!(
        "{otherwise} within {} s; the logs above say why",
        within.as_secs()
    )))
}

/// Runs one of this program's own verbs against the peers.
fn verb(layout: &Layout, arguments: &[&str]) -> Result<Output, DevError> {
    Command::new(&layout.program)
        .args(arguments)
        .env("PRIMACY_API", layout.peers().join(","))
        .env("PRIMACY_DEV", &layout.folder)
        .env("PRIMACY_TLS", layout.tls())
        .env_remove("PRIMACY_TOKEN")
        .output()
        .map_err(|error| DevError::failed(format!("run {}: {error}", layout.program.display())))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The end of a node's log, for people.
fn tail(layout: &Layout, node: &str) {
    let log = fs::read_to_string(layout.home(node).join("log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    let from = lines.len().saturating_sub(15);
    if lines.is_empty() {
        return;
    }
    output::say(format_args!("--- log of {node}"));
    for line in &lines[from..] {
        output::say(line);
    }
}

/// Shows the status until the end is asked for.
fn watch(layout: &Layout, ending: &mut Ending) -> Result<(), DevError> {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    while !ending.comes_within(Duration::from_secs(1)) {
        if is_terminal {
            let status = verb(layout, &["status"])?;
            let failed = text(&status.stderr);
            let shown = text(&status.stdout);
            output::print(format_args!(
                "\x1b[2J\x1b[H{shown}{failed}\ndsn  {}\nCtrl-C ends it all\n",
                layout.dsn
            ))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_verb_said_is_told_once() {
        let error = refusal("create the cluster", "error: no leader\nhint: wait\n");
        assert_eq!(error.text, "create the cluster: no leader");
        assert_eq!(error.hint.as_deref(), Some("wait"));
        assert_eq!(refusal("x", "killed\n").text, "x: killed");
    }
}
