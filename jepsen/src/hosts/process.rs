//! The processes of a host, told apart by what they are.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

/// A part of a host that can be struck alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// PostgreSQL's first process.
    Postmaster,
    /// Every process of PostgreSQL.
    Postgres,
    /// The agent.
    Agent,
    /// The leash.
    Leash,
    /// The peer.
    Peer,
}

/// A live process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    parent: i32,
    name: String,
    verb: String,
}

impl Process {
    /// None if it is gone.
    pub fn read(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let second = line.split(|byte| *byte == 0).nth(1).unwrap_or_default();
        Some(Process {
            pid,
            parent: fields.next()?.parse().ok()?,
            name: head.split_once('(')?.1.to_owned(),
            verb: String::from_utf8_lossy(second).into_owned(),
        })
    }

    fn is(&self, part: Part, all: &[Process]) -> bool {
        let is_primacy = |verb: &str| self.name == "primacy" && self.verb == verb;
        let is_postgres = |process: &Process| process.name == "postgres";
        match part {
            Part::Postgres => is_postgres(self),
            // Its children are of the same name, and its parent is not.
            Part::Postmaster => {
                is_postgres(self)
                    && !all
                        .iter()
                        .any(|other| is_postgres(other) && other.pid == self.parent)
            }
            Part::Agent => is_primacy("agent"),
            Part::Leash => is_primacy("leash"),
            Part::Peer => is_primacy("server"),
        }
    }
}

/// Those of `all` that belong to a part.
pub fn of(part: Part, all: &[Process]) -> Vec<&Process> {
    all.iter().filter(|process| process.is(part, all)).collect()
}

/// Sends a signal to each; answers how many were there to take it.
pub fn signal(processes: &[&Process], signal: Signal) -> usize {
    let pids = processes
        .iter()
        .filter_map(|process| Pid::from_raw(process.pid));
    pids.filter(|pid| kill_process(*pid, signal).is_ok())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let process = |pid, parent, name: &str, verb: &str| Process {
            pid,
            parent,
            name: name.to_owned(),
            verb: verb.to_owned(),
        };
        let all = [
            process(10, 1, "primacy", "agent"),
            process(11, 1, "primacy", "leash"),
            process(12, 1, "postgres", "-D"),
            process(13, 12, "postgres", ""),
            process(14, 10, "pg_basebackup", "-D"),
        ];
        let check = |part, pids: &[i32]| {
            let found: Vec<_> = of(part, &all).iter().map(|process| process.pid).collect();
            assert_eq!(found, pids, "{part:?}");
        };
        check(Part::Postmaster, &[12]);
        check(Part::Postgres, &[12, 13]);
        check(Part::Agent, &[10]);
        check(Part::Leash, &[11]);
        check(Part::Peer, &[]);
    }
}
