//! What lies in the data folder, and how much of it outlives a loss of power.

use std::collections::{BTreeMap, BTreeSet};

use primacy::model::{Incarnation, Lineage, Lsn, Timeline, WalPosition};

/// What keeps a disk from taking writes. Reads are answered from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A write does not come back.
    Stalled,
    /// No room is left.
    Full,
}

/// A disk that takes no writes for a while.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub trouble: Trouble,
    pub until: u64,
    /// Whether the agent keeps its promise on the same disk.
    pub holds_promise: bool,
}

/// One WAL record. An LSN is a count of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub timeline: u32,
    /// The client's value; zero for what PostgreSQL writes itself.
    pub value: u32,
}

/// Whom `primary_conninfo` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConf {
    pub node: usize,
    pub name: String,
}

/// A data folder. Small files are written durably; of the WAL only `flushed` records are.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub exists: bool,
    pub wal: Vec<Record>,
    /// How many records outlive a loss of power. A killed process loses none.
    pub flushed: usize,
    pub left_at: BTreeMap<Timeline, Lsn>,
    /// Numbers for which a real history file, or WAL, exists.
    pub real: BTreeSet<u32>,
    /// Numbers for which a comment-only history file was planted.
    pub planted: BTreeSet<u32>,
    /// Which instance's filling it is; a copy carries the source's.
    pub incarnation: Option<(usize, Incarnation)>,
    pub standby_signal: bool,
    pub interrupted: bool,
    pub source: Option<SourceConf>,
    pub names: String,
}

impl Disk {
    pub fn timeline(&self) -> Timeline {
        self.at(self.wal.len()).timeline
    }

    /// The end of valid WAL, as a scan through the page cache finds it.
    pub fn end(&self) -> WalPosition {
        self.at(self.wal.len())
    }

    /// The position after so many records.
    pub fn at(&self, records: usize) -> WalPosition {
        let last = self.wal[..records].last();
        WalPosition {
            timeline: Timeline(last.map_or(0, |record| record.timeline)),
            lsn: Lsn(records as u64),
        }
    }

    pub fn lineage(&self) -> Lineage {
        Lineage {
            current: self.timeline(),
            left_at: self.left_at.clone(),
        }
    }

    pub fn highest_timeline(&self) -> Timeline {
        let last = |set: &BTreeSet<u32>| set.last().copied().unwrap_or(0);
        Timeline(
            last(&self.real)
                .max(last(&self.planted))
                .max(self.timeline().0),
        )
    }

    pub fn flush(&mut self) {
        self.flushed = self.wal.len();
    }

    /// What was not flushed is gone.
    pub fn lose_power(&mut self) {
        self.wal.truncate(self.flushed);
    }
}
