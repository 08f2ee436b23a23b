//! What is there: the processes, the data, and where its WAL ends. Everything here only looks.

use std::collections::BTreeMap;
use std::fs;
use std::sync::PoisonError;

use super::{Done, Hands, REWINDING};
use crate::agent::chain;
use crate::duty::{Data, Offer, Session};
use crate::host::control_file::{self, ControlFile};
use crate::host::data_folder::{self, Content, Filling};
use crate::host::history::{self, History};
use crate::host::wal_page::Wal;
use crate::host::{Error, durable, processes, server, wal_scan};
use crate::model::{Incarnation, Lineage, SystemIdentifier, Timeline, WalPosition};

/// The processes of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processes {
    /// Whether any is alive.
    pub is_running: bool,
    /// The living postmaster.
    pub postmaster: Option<i32>,
}

impl Hands {
    /// The processes. The data disk is not touched while a postmaster is alive that was started or seen before;
    /// without one, a small cached file is read. Blocks. Errors: it could not be seen whether anything runs.
    pub fn processes(&self, known: Option<i32>) -> Done<Processes> {
        let newborn = *self.newborn.lock().unwrap_or_else(PoisonError::into_inner);
        for pid in [newborn, known].into_iter().flatten() {
            if processes::is_alive(self.place(), pid)? {
                return Ok(Processes {
                    is_running: true,
                    postmaster: Some(pid),
                });
            }
        }
        let postmaster = processes::postmaster(self.place())?.map(|it| it.pid);
        Ok(Processes {
            is_running: postmaster.is_some() || !processes::of(self.place())?.is_empty(),
            postmaster,
        })
    }

    /// The processes that receive WAL or may be about to. Blocks. Errors: they could not be looked at.
    pub fn receivers(&self, postmaster: i32) -> Done<Vec<i32>> {
        processes::receivers(self.place(), postmaster)
    }

    /// The timeline of the segment that the startup process replays, from its title, or that of the
    /// control file if that is higher. Blocks for microseconds.
    pub fn replayed_timeline(&self, startup: Option<i32>) -> Timeline {
        let title = startup.and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok());
        let title = title.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
        let replayed = title.as_deref().and_then(timeline_in_title);
        let control = control_file::read(self.data_path()).ok();
        let control = control.map(|it| it.timeline.max(it.min_recovery_timeline));
        replayed.max(control).unwrap_or_default()
    }

    /// What the data folder holds; where its WAL ends only if nothing runs. `obeyed` is the Raft group whose
    /// data it may be; any without one. Blocks on the data disk.
    /// Errors: something is there that cannot be read, which is neither absent nor foreign.
    pub fn data(&self, stopped: bool, obeyed: Option<&str>) -> Done<Data> {
        let data = self.data_path();
        match data_folder::inspect(data)? {
            Content::Absent | Content::Empty => return Ok(Data::Empty),
            Content::NotEmptyNoCluster => {
                return Ok(Data::Foreign {
                    why: format!(
                        "{} holds files that are no database; move them away",
                        data.display()
                    ),
                });
            }
            Content::Cluster { version } if version != self.binaries.version.to_string() => {
                return Ok(Data::Foreign {
                    why: format!(
                        "{} was made by PostgreSQL {version}, the programs are of {}; install those or upgrade the data",
                        data.display(),
                        self.binaries.version
                    ),
                });
            }
            Content::Cluster { .. } => {}
        }
        let filling = data_folder::read_filling(data)?;
        if let Some(filling) = &filling
            && let Some(obeyed) = obeyed
            && filling.group != obeyed
        {
            return Ok(Data::Foreign {
                why: format!(
                    "{} was filled under Raft group {}, this agent obeys group {obeyed}; move it away",
                    data.display(),
                    filling.group
                ),
            });
        }
        let is_ours = |filling: &Filling| {
            filling.cluster == self.config.cluster && filling.instance == self.config.instance
        };
        let has_filling = filling.is_some();
        let incarnation = filling.filter(is_ours).map(|filling| filling.incarnation);
        let read = self.contents(stopped, incarnation, has_filling);
        match read {
            // A running server writes these files: what is seen then may be half of a change.
            Err(error) if stopped && error.is_damage() => self.damaged(incarnation, error),
            read => read,
        }
    }

    /// Data that nothing can be done with but put aside, if it is known whose it is.
    fn damaged(&self, incarnation: Option<Incarnation>, error: Error) -> Done<Data> {
        let Some(identity) = super::identity_in(&self.config.folder)? else {
            return Err(error);
        };
        Ok(Data::Cluster {
            identity,
            incarnation,
            standby_signal: data_folder::has_standby_signal(self.data_path())?,
            ends_at: None,
            lineage: Lineage::default(),
            highest_timeline: Timeline::default(),
            unusable: Some(format!("its data is damaged: {}", chain(&error))),
        })
    }

    /// What the files of a database say. Errors: some cannot be read or understood.
    fn contents(
        &self,
        stopped: bool,
        incarnation: Option<Incarnation>,
        has_filling: bool,
    ) -> Done<Data> {
        let data = self.data_path();
        let control = control_file::read(data)?;
        let histories = history::read_all(&self.pg_wal())?;
        let genuine = histories.values().rev().find_map(|found| match found {
            History::Genuine(lineage) => Some(lineage.clone()),
            History::Planted | History::Foreign => None,
        });
        let lineage = genuine.unwrap_or(Lineage {
            current: control.timeline,
            left_at: BTreeMap::new(),
        });
        let highest_timeline = histories
            .last_key_value()
            .map_or(Timeline(0), |(&timeline, _)| timeline)
            .max(control.timeline)
            .max(control.min_recovery_timeline);
        let ends_at = if stopped {
            self.end_at_rest(&control)?
        } else {
            None
        };
        let is_offered = incarnation.is_none() && self.is_offered(control.system)?;
        if is_offered && !has_filling {
            return Ok(Data::Offered(Offer {
                identity: control.system,
                standby_signal: data_folder::has_standby_signal(data)?,
                ends_at,
                lineage,
                highest_timeline,
            }));
        }
        Ok(Data::Cluster {
            identity: control.system,
            incarnation,
            standby_signal: data_folder::has_standby_signal(data)?,
            ends_at,
            lineage,
            highest_timeline,
            unusable: durable::exists(&self.config.folder.join(REWINDING))?
                .then(|| "a rewind of its data was interrupted".to_owned()),
        })
    }

    /// Whether a database of this system that no agent filled was offered, and not taken in yet. Blocks.
    fn is_offered(&self, system: SystemIdentifier) -> Done<bool> {
        let offered = self.consent.as_ref().is_some_and(|it| it.system == system);
        Ok(offered
            && super::identity_in(&self.config.folder)?.is_none()
            && !durable::exists(&self.config.folder.join(REWINDING))?)
    }

    /// Where valid WAL ends, read from the files; none if that cannot be told. The instance must be
    /// fenced or stopped. Blocks: milliseconds, more if the last checkpoint is far behind.
    pub fn position(&self, session: Option<&Session>) -> Option<WalPosition> {
        let control = control_file::read(self.data_path()).ok()?;
        self.end_of_wal(&control, session.map(|session| session.position))
    }

    /// The end of the WAL of an instance that does not run. One look at a time scans; those that wait,
    /// and later ones, share what it found for as long as no file changes.
    fn end_at_rest(&self, control: &ControlFile) -> Done<Option<WalPosition>> {
        let mut scanned = self.scanned.lock().unwrap_or_else(PoisonError::into_inner);
        let pg_wal = self.pg_wal();
        let mut files = Vec::new();
        let failed = |source| Error::File {
            action: "list",
            path: pg_wal.clone(),
            source,
        };
        for entry in std::fs::read_dir(&pg_wal).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let about = entry.metadata().map_err(failed)?;
            files.push((
                entry.file_name(),
                about.len(),
                about.modified().map_err(failed)?,
            ));
        }
        files.sort();
        let key = (control.checkpoint, control.redo, files);
        match &*scanned {
            Some((of, end)) if *of == key => Ok(*end),
            _ => {
                let end = self.end_of_wal(control, None);
                *scanned = Some((key, end));
                Ok(end)
            }
        }
    }

    fn end_of_wal(
        &self,
        control: &ControlFile,
        replayed: Option<WalPosition>,
    ) -> Option<WalPosition> {
        let wal = Wal {
            folder: self.pg_wal(),
            segment_size: control.segment_size,
            system: control.system,
        };
        let replayed = replayed.filter(|at| at.lsn >= control.redo);
        let near = replayed.and_then(|start| wal_scan::scan_replayed(&wal, start).ok());
        if let Some(scan) = near {
            return Some(scan.end);
        }
        match wal_scan::scan(&wal, wal_scan::start_from(control)) {
            Ok(scan) => Some(scan.end),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the end of the WAL is not known");
                None
            }
        }
    }

    /// For the operator: of what PostgreSQL said since its log had this length, the last that it died of, else the last
    /// line. Blocks.
    pub fn last_words(&self, from: u64) -> Option<String> {
        let log = self.log();
        last_words(&server::log_since(&log, from)).or_else(|| last_words(&server::log_end(&log)))
    }

    /// How long PostgreSQL's log is, in bytes.
    pub fn log_length(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |log| log.len())
    }

    /// What PostgreSQL said since its log had this length that rules out streaming from its source for
    /// good: only other data helps.
    pub fn never_streams(&self, from: u64) -> Option<String> {
        const FOR_GOOD: [&str; 4] = [
            "has already been removed",
            "can no longer get changes from replication slot",
            "is ahead of the WAL flush position",
            "forked off current database system timeline",
        ];
        let end = server::log_since(&self.log(), from);
        end.lines()
            .rev()
            .find(|line| FOR_GOOD.iter().any(|sign| line.contains(sign)))
            .map(str::to_owned)
    }
}

fn last_words(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let is_deadly = |line: &&str| {
        ["FATAL:", "PANIC:"]
            .iter()
            .any(|level| line.contains(level))
    };
    let at = lines
        .iter()
        .rposition(is_deadly)
        .or(lines.len().checked_sub(1))?;
    // Which error a configuration contains is said before.
    let before = at
        .checked_sub(1)
        .filter(|_| lines[at].contains("contains errors"));
    let words: Vec<&str> = before.into_iter().chain([at]).map(|it| lines[it]).collect();
    Some(words.join("; "))
}

/// `postgres: startup recovering 000000020000000000000003` → 2
fn timeline_in_title(title: &str) -> Option<Timeline> {
    let segment = title
        .split_whitespace()
        .rfind(|word| word.len() == 24 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(&segment[..8], 16).ok().map(Timeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_died_of_is_what_counts() {
        for (log, words) in [
            ("LOG:  a\nLOG:  b", Some("LOG:  b")),
            (
                "LOG:  a\nFATAL:  b\nLOG:  database system is shut down",
                Some("FATAL:  b"),
            ),
            (
                "LOG:  unknown x\nFATAL:  f contains errors",
                Some("LOG:  unknown x; FATAL:  f contains errors"),
            ),
            ("", None),
        ] {
            assert_eq!(last_words(log).as_deref(), words);
        }
    }

    #[test]
    fn the_title_of_the_startup_process_names_its_timeline() {
        for (title, timeline) in [
            (
                "postgres: startup recovering 0000000A0000000000000003",
                Some(Timeline(10)),
            ),
            (
                "postgres: pg-a: startup waiting for 000000020000000000000003 ",
                Some(Timeline(2)),
            ),
            ("postgres: startup ", None),
        ] {
            assert_eq!(timeline_in_title(title), timeline, "{title}");
        }
    }
}
