//! The processes of a folder, found in /proc: a node is more than the process that was started.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock;

/// How long killed processes may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// One live process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its name as the kernel knows it.
    pub name: String,
    /// Its arguments, joined by blanks.
    pub line: String,
    /// Whether it is stopped by a signal.
    pub is_frozen: bool,
    /// When it was started, in clock ticks since boot.
    pub started: u64,
    folder: PathBuf,
}

impl Process {
    fn read(pid: i32) -> Option<Process> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(proc.join("stat")).ok()?;
        // The name stands in parentheses and may hold anything.
        let (head, rest) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<_> = rest.split_whitespace().collect();
        let state = *fields.first()?;
        if matches!(state, "Z" | "X") {
            return None;
        }
        let line = fs::read(proc.join("cmdline")).unwrap_or_default();
        Some(Process {
            pid: Pid::from_raw(pid)?,
            name,
            line: String::from_utf8_lossy(&line).replace('\0', " "),
            is_frozen: state == "T",
            started: fields.get(19)?.parse().ok()?,
            folder: fs::read_link(proc.join("cwd")).unwrap_or_default(),
        })
    }

    /// Whether it is one of ours and works in `folder` or was told of it.
    fn belongs_to(&self, folder: &Path) -> bool {
        let ours = ["primacy", "postgres", "pg_", "initdb", "postmaster"];
        let told = format!("{}/", folder.display());
        ours.iter().any(|name| self.name.starts_with(name))
            && (self.folder.starts_with(folder) || self.line.contains(&told))
    }

    /// Sends a signal; a process that is gone is no error.
    pub(super) fn signal(&self, signal: Signal) {
        if Process::read(self.pid.as_raw_nonzero().get())
            .is_some_and(|now| now.started == self.started)
        {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Whether it is PostgreSQL's first process.
    pub(super) fn is_postmaster(&self) -> bool {
        self.name == "postgres" && self.line.contains(" -D")
    }
}

/// So many processes, in words.
pub(super) fn counted(count: usize) -> String {
    match count {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    }
}

/// When a process was started; none if it is gone.
pub(super) fn started(pid: i32) -> Option<u64> {
    Process::read(pid).map(|process| process.started)
}

/// The live processes of `folder`, agents first, this one left out.
pub(super) fn of(folder: &Path) -> Vec<Process> {
    let myself = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| *name != myself)
        .filter_map(|name| Process::read(name.parse().ok()?))
        .filter(|process| process.belongs_to(folder))
        .collect();
    // Whoever might start others goes first.
    found.sort_by_key(|process| !process.name.starts_with("primacy"));
    found
}

/// Kills every process of `folder` until none is left; answers with how many there were.
pub(super) fn kill_all(folder: &Path) -> Result<usize, Vec<Process>> {
    let deadline = clock::monotonic().after(GONE_WITHIN);
    let mut killed = std::collections::BTreeSet::new();
    loop {
        let left = of(folder);
        if left.is_empty() {
            return Ok(killed.len());
        }
        if clock::monotonic() > deadline {
            return Err(left);
        }
        for process in &left {
            killed.insert(process.pid.as_raw_nonzero());
            process.signal(Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            [0, 1, 2].map(counted),
            ["0 processes", "1 process", "2 processes"]
        );
    }
}
