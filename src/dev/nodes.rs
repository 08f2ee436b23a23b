//! Acting on the nodes of a running `dev`.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::{clock, output};

use super::layout::{Kind, Layout};
use super::{DevError, Part, processes};

/// How long PostgreSQL gets to end at once and tidy up its shared memory.
const TIDY_WITHIN: Duration = Duration::from_secs(3);

fn check(layout: &Layout, node: &str) -> Result<Kind, DevError> {
    match layout.nodes.get(node) {
        Some(known) => Ok(known.kind),
        None => {
            let names: Vec<_> = layout.nodes.keys().map(String::as_str).collect();
            Err(DevError::usage(
                format!("there is no node {node}"),
                format!("the nodes are {}", names.join(", ")),
            ))
        }
    }
}

/// Starts the peer or agent of a node, detached from the terminal, with its log in its folder.
pub(super) fn spawn(layout: &mut Layout, node: &str) -> Result<(), DevError> {
    let home = layout.home(node);
    let failed =
        |what: &str, error: std::io::Error| DevError::failed(format!("{node}: {what}: {error}"));
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.join("log"))
        .map_err(|error| failed("open its log", error))?;
    let errors = log
        .try_clone()
        .map_err(|error| failed("open its log", error))?;
    let verb = match check(layout, node)? {
        Kind::Peer => "server",
        Kind::Instance => "agent",
    };
    let mut command = Command::new(&layout.program);
    command
        .arg(verb)
        .arg("--config")
        .arg(layout.config(node))
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors))
        // Ctrl-C in the terminal is not for the nodes.
        .process_group(0);
    if let Some((user, group)) = layout.account {
        command.uid(user).gid(group).env("HOME", &home);
    }
    let child = command.spawn().map_err(|error| failed("start it", error))?;
    let pid = child.id().cast_signed();
    let started = processes::started(pid).map(|since| (pid, since));
    if let Some(node) = layout.nodes.get_mut(node) {
        node.started = started;
    }
    layout
        .save()
        .map_err(|error| failed("write dev.json", error))
}

pub(super) fn start(layout: &Layout, node: &str) -> Result<(), DevError> {
    check(layout, node)?;
    let runs = processes::of(&layout.home(node))
        .into_iter()
        .any(|process| process.name == "primacy" && is_main(&process.line));
    if runs {
        return Err(DevError::usage(
            format!("{node} runs already"),
            format!("primacy dev kill {node}, or primacy dev thaw {node} if it is frozen"),
        ));
    }
    spawn(&mut layout.clone(), node)?;
    Ok(output::line(format_args!("{node} started"))?)
}

/// A peer or an agent, not a leash.
fn is_main(line: &str) -> bool {
    line.contains(" server ") || line.contains(" agent ")
}

fn selected(layout: &Layout, node: &str, only: Option<Part>) -> Vec<processes::Process> {
    let mut found = processes::of(&layout.home(node));
    found.retain(|process| match only {
        None => true,
        Some(Part::Postmaster) => process.is_postmaster(),
        Some(Part::Postgres) => process.name == "postgres",
        Some(Part::Agent) => process.name == "primacy" && is_main(&process.line),
    });
    found
}

pub(super) fn kill(layout: &Layout, node: &str, only: Option<Part>) -> Result<(), DevError> {
    let kind = check(layout, node)?;
    let count = match only {
        Some(_) if kind == Kind::Peer => {
            return Err(DevError::usage(
                "a peer has no parts",
                format!("primacy dev kill {node}"),
            ));
        }
        Some(_) => {
            let found = selected(layout, node, only);
            found
                .iter()
                .for_each(|process| process.signal(Signal::KILL));
            found.len()
        }
        None => processes::kill_all(&layout.home(node)).map_err(|left| {
            let left = processes::counted(left.len());
            DevError::failed(format!("{left} of {node} would not end"))
        })?,
    };
    if count == 0 {
        return Err(DevError::failed(format!("nothing of {node} runs")));
    }
    Ok(output::line(format_args!(
        "{node}: {} killed",
        processes::counted(count)
    ))?)
}

pub(super) fn freeze(layout: &Layout, node: &str, only: Option<Part>) -> Result<(), DevError> {
    check(layout, node)?;
    // Twice: a process may be born while its elders are being stopped.
    for _ in 0..2 {
        for process in selected(layout, node, only) {
            process.signal(Signal::STOP);
        }
    }
    Ok(output::line(format_args!(
        "{node}: {} frozen",
        processes::counted(selected(layout, node, only).len())
    ))?)
}

pub(super) fn thaw(layout: &Layout, node: &str) -> Result<(), DevError> {
    check(layout, node)?;
    let mut found = selected(layout, node, None);
    // The agent comes last, so that it finds the others as they were.
    found.reverse();
    for process in &found {
        process.signal(Signal::CONT);
    }
    Ok(output::line(format_args!(
        "{node}: {} let go on",
        processes::counted(found.len())
    ))?)
}

pub(super) fn status(layout: &Layout) -> Result<(), DevError> {
    output::line(format_args!("dev in {}", layout.folder.display()))?;
    output::line("NODE  KIND      ZONE  ADDRESS          STATE    PROCESSES")?;
    for (name, node) in &layout.nodes {
        let found = processes::of(&layout.home(name));
        let main = found
            .iter()
            .find(|process| process.name == "primacy" && is_main(&process.line));
        let state = match main {
            None => "down",
            Some(main) if main.is_frozen => "frozen",
            Some(_) => "up",
        };
        let kind = match node.kind {
            Kind::Peer => "peer",
            Kind::Instance => "instance",
        };
        let address = format!("127.0.0.1:{}", node.port);
        output::line(format_args!(
            "{name:4}  {kind:8}  {:4}  {address:15}  {state:7}  {}",
            node.zone,
            found.len()
        ))?;
    }
    Ok(output::line(format_args!("dsn   {}", layout.dsn))?)
}

/// Kills everything and removes the folder.
pub(super) fn down(layout: &Layout) -> Result<(), DevError> {
    tear_down(layout)?;
    let folder = layout.folder.display();
    Ok(output::line(format_args!("{folder} is gone"))?)
}

pub(super) fn tear_down(layout: &Layout) -> Result<(), DevError> {
    let folder = &layout.folder;
    // Those who might start or kill others first; PostgreSQL may still tidy up.
    for process in processes::of(folder) {
        if process.name.starts_with("primacy") {
            process.signal(Signal::KILL);
        } else {
            process.signal(Signal::CONT);
        }
    }
    for process in processes::of(folder) {
        if process.is_postmaster() {
            process.signal(Signal::QUIT);
        }
    }
    let deadline = clock::monotonic().after(TIDY_WITHIN);
    while clock::monotonic() < deadline && !processes::of(folder).is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    processes::kill_all(folder).map_err(|left| {
        let left = processes::counted(left.len());
        DevError::failed(format!("{left} would not end"))
    })?;
    for node in layout.nodes.values() {
        if let Some((pid, since)) = node.started
            && processes::started(pid) == Some(since)
        {
            return Err(DevError::failed(format!("process {pid} does not end")));
        }
    }
    let owner = fs::symlink_metadata(folder).map(|meta| meta.uid());
    if owner.is_ok_and(|owner| owner == rustix::process::getuid().as_raw()) {
        fs::remove_dir_all(folder).map_err(|error| {
            DevError::failed(format!("cannot remove {}: {error}", folder.display()))
        })?;
    }
    Ok(())
}
