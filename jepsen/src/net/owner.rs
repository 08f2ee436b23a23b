//! Whose namespaces, control groups and folders these are.
//!
//! Everything is named `jepsen-PID-STARTED-…` after the process that made it. What belongs to a process that is
//! gone is a leftover; nothing else is ever removed.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A process, told apart from another that gets its id later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pid: u32,
    /// In clock ticks since boot.
    started: u64,
}

impl Owner {
    /// This process.
    pub fn this() -> Owner {
        let pid = std::process::id();
        Owner {
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }

    /// The owner of something with this name; none if nothing of ours is called so.
    pub fn of(name: &str) -> Option<Owner> {
        let mut parts = name.splitn(4, '-');
        let prefix = parts.next()?;
        let (pid, started) = (parts.next()?, parts.next()?);
        format!("{prefix}-{pid}-{started}").parse().ok()
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Every owner of something in `folder`.
    pub fn all_in(folder: &Path) -> Vec<Owner> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| Owner::of(&name)).collect()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jepsen-{}-{}", self.pid, self.started)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Owner, ()> {
        let (pid, started) = text
            .strip_prefix("jepsen-")
            .and_then(|rest| rest.split_once('-'))
            .ok_or(())?;
        Ok(Owner {
            pid: pid.parse().map_err(|_| ())?,
            started: started.parse().map_err(|_| ())?,
        })
    }
}

/// When a process was started; none if there is none of that id, or only what its parent has not collected.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_owner() {
        let owner = Owner::this();
        assert!(owner.is_alive());
        assert_eq!(Owner::of(&format!("{owner}-client1")), Some(owner));
        assert_eq!(Owner::of(&owner.to_string()), Some(owner));
        for foreign in ["jepsen", "jepsen-1", "jepsen-x-1-a", "other-1-2-a", ""] {
            assert_eq!(Owner::of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_id_that_was_given_to_another_process_is_not_the_owner() {
        let mut earlier = Owner::this();
        earlier.started -= 1;
        assert!(!earlier.is_alive());
    }
}
