//! Bringing a `dev` up.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::http::views::ClusterView;
use crate::{clock, output};

use super::layout::{Kind, Layout};
use super::machine::{account, check_folder, find_postgres};
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
    let binaries = find_postgres()?;
    let mut layout = plan(folder, account, members)?;
    write(&mut layout, &binaries)?;
    let result = bring_up(&mut layout, durability);
    if let Err(error) = result {
        for node in layout.nodes.keys() {
            tail(&layout, node);
        }
        nodes::tear_down(&layout)?;
        return Err(error);
    }
    announce(&layout, no_view)?;
    if no_view {
        return Ok(());
    }
    let watched = watch(&layout);
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
    add(
        "try",
        "primacy dev kill a; primacy status; primacy history; primacy dev start a",
    );
    if no_view {
        add("end", "primacy dev down");
    }
    Ok(output::print(said)?)
}

fn bring_up(layout: &mut Layout, durability: &str) -> Result<(), DevError> {
    let names = |layout: &Layout, kind| -> Vec<String> {
        layout.of(kind).map(|(name, _)| name.clone()).collect()
    };
    output::say(format_args!("starting {PEERS} peers"));
    for name in names(layout, Kind::Peer) {
        nodes::spawn(layout, &name)?;
    }
    until(PEERS_WITHIN, "the peers elect no leader", || {
        Ok(verb(layout, &["leader"])?.status.success())
    })?;
    let mut create = vec![
        "cluster".to_owned(),
        "create".to_owned(),
        CLUSTER.to_owned(),
    ];
    create.extend(["--durability".to_owned(), durability.to_owned()]);
    for (name, node) in layout.of(Kind::Instance) {
        create.push("--member".to_owned());
        create.push(format!(
            "{name}=127.0.0.1:{}/{}@{}",
            node.port,
            node.health.unwrap_or_default(),
            node.zone
        ));
    }
    let create: Vec<_> = create.iter().map(String::as_str).collect();
    let created = verb(layout, &create)?;
    if !created.status.success() {
        let why = text(&created.stderr);
        return Err(DevError::failed(format!(
            "create the cluster: {}",
            why.trim()
        )));
    }
    let instances = names(layout, Kind::Instance);
    output::say(format_args!(
        "starting {} agents; the first initialises, the others clone it",
        instances.len()
    ));
    for name in instances {
        nodes::spawn(layout, &name)?;
    }
    until(STREAMS_WITHIN, "the instances do not all stream", || {
        let status = verb(layout, &["status", CLUSTER, "--output", "json"])?;
        let view = serde_json::from_slice::<ClusterView>(&status.stdout);
        Ok(view.is_ok_and(|view| settled(&view)))
    })
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
    otherwise: &str,
    mut done: impl FnMut() -> Result<bool, DevError>,
) -> Result<(), DevError> {
    let deadline = clock::monotonic().after(within);
    while clock::monotonic() < deadline {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
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
    output::say(format_args!("--- log of {node}"));
    for line in &lines[from..] {
        output::say(line);
    }
}

/// Shows the status until Ctrl-C or a request to end.
fn watch(layout: &Layout) -> Result<(), DevError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DevError::failed(error.to_string()))?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error: std::io::Error| DevError::failed(error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
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
    })
}
