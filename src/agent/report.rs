//! From what was seen to what is said: the report of an agent, as a function of values.

use std::time::Duration;

use crate::duty::{Data, Lease};
use crate::model::view::UNRESPONSIVE_AFTER;
use crate::model::{
    Database, DiskTrouble, Epoch, Lsn, Order, Receiver, Report, Stopped, Timestamp, WalPosition,
};
use crate::provider::Reading;

use super::hands::Processes;
use super::health::{Health, STALE_AFTER};

/// Everything that a report is made of.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The highest order on disk.
    pub promised: Option<Order>,
    /// The folder, as last seen.
    pub data: Option<Data>,
    /// The processes, as last seen.
    pub processes: Processes,
    /// The last SQL answer of the present postmaster, if the last look got one.
    pub reading: Option<Reading>,
    /// Whether the present postmaster ever answered.
    pub has_answered: bool,
    /// When the last look began that it answered, be it with a refusal; before, when it was first seen.
    pub answered_at: Timestamp,
    /// The end of the WAL that it was seen to have flushed, and when a look first saw that.
    pub flushed: (Lsn, Timestamp),
    /// When a look began that saw a standby to have applied all that it had received; before, when its postmaster was
    /// first seen.
    pub caught_up_at: Timestamp,
    /// Why nothing can be written where the data lies.
    pub disk: Option<DiskTrouble>,
    /// Whether it said that it takes no sessions yet.
    pub is_starting: bool,
    /// Whether the present postmaster was told to go down: it serves nobody any more, whatever the last look saw.
    pub is_going_down: bool,
    /// Why nothing runs, if nothing does.
    pub stopped: Option<Stopped>,
    /// Where the first commit of an epoch ends.
    pub first_commit: Option<(Epoch, Lsn)>,
    /// Whether it listens beyond the machine.
    pub insecure: bool,
    /// The live lease.
    pub lease: Option<Lease>,
    /// When the last look began that saw everything.
    pub looked_at: Timestamp,
    /// When the last look began that saw the processes; none before the first.
    pub processes_at: Option<Timestamp>,
}

impl Known {
    /// The report, as of now.
    pub fn report(&self, now: Timestamp) -> Report {
        let (identity, incarnation) = match &self.data {
            Some(Data::Cluster {
                identity,
                incarnation,
                ..
            }) => (Some(*identity), *incarnation),
            Some(Data::Offered(offer)) => (Some(offer.identity), None),
            Some(Data::Empty | Data::Foreign { .. }) | None => (None, None),
        };
        Report {
            promised: self.promised,
            incarnation,
            identity,
            insecure: self.insecure,
            read_only_default: self
                .reading
                .as_ref()
                .is_some_and(|reading| reading.session.read_only_default),
            commits_waiting: self
                .reading
                .as_ref()
                .map_or(0, |reading| reading.commits_waiting),
            lag: self.lag(),
            weak_commits: self
                .reading
                .as_ref()
                .map(|reading| reading.weak_commits.clone())
                .unwrap_or_default(),
            database: self.database(now),
            disk: self.disk.clone(),
            lease: self.lease.map(|lease| crate::model::LeaseReport {
                epoch: lease.order.epoch,
                remaining: lease.until.since(now),
            }),
        }
    }

    /// The server is down once its postmaster has ended. What it left is killed before anything is started or
    /// promised; a process that waits for a disk which hangs may take for ever to die, and serves nobody.
    pub fn postmaster_ended(&mut self, reason: Stopped) {
        self.processes.postmaster = None;
        self.reading = None;
        self.has_answered = false;
        self.is_going_down = false;
        self.stopped = Some(reason);
    }

    /// The age of the last transaction that was applied, but no more than since everything was: after an idle hour the
    /// first transaction that arrives is not an hour late.
    fn lag(&self) -> Option<Duration> {
        let reading = self.reading.as_ref()?;
        reading.session.streams.as_ref()?;
        if reading.has_applied_all {
            return Some(Duration::ZERO);
        }
        let since_caught_up = self.looked_at.since(self.caught_up_at);
        Some(reading.applied_age?.min(since_caught_up))
    }

    fn database(&self, now: Timestamp) -> Database {
        let silent_for = now.since(self.answered_at);
        let is_down = self.processes.postmaster.is_none();
        let seen_at = match is_down {
            // The folder may not answer for long; that no server runs is certain.
            true => self.processes_at,
            false => Some(self.looked_at),
        };
        if seen_at.is_none_or(|at| now.since(at) > STALE_AFTER) {
            return Database::Unresponsive { silent_for };
        }
        if is_down {
            return match &self.data {
                Some(Data::Empty) => Database::Absent,
                _ => Database::Stopped(self.stopped.unwrap_or(Stopped::Found)),
            };
        }
        if self.is_going_down {
            return Database::Unresponsive { silent_for };
        }
        let Some(reading) = &self.reading else {
            // One that was never heard may be about to say that it is starting, but not for long.
            let is_silent = self.has_answered || silent_for >= UNRESPONSIVE_AFTER;
            return if is_silent && !self.is_starting {
                Database::Unresponsive { silent_for }
            } else {
                Database::Starting
            };
        };
        let session = &reading.session;
        if !session.in_recovery {
            return Database::Primary {
                position: session.position,
                synchronous_standby_names: session.synchronous_standby_names.clone(),
                first_commit: self.first_commit,
            };
        }
        let flushed = reading.received.unwrap_or(session.position);
        Database::Standby {
            flushed: WalPosition {
                timeline: flushed.timeline,
                lsn: flushed.lsn,
            },
            replayed: session.position.lsn,
            receiver: match &session.streams {
                Some((application_name, silent_for)) => Receiver::Streaming {
                    application_name: application_name.clone(),
                    silent_for: *silent_for,
                },
                None => Receiver::None,
            },
        }
    }

    /// What health checks are answered from.
    pub fn health(&self, now: Timestamp) -> Health {
        let report = self.report(now);
        let lag = match &report.database {
            Database::Standby {
                flushed, replayed, ..
            } => Some(flushed.lsn.0.saturating_sub(replayed.0)),
            _ => None,
        };
        Health {
            turned_at: now,
            looked_at: self.looked_at,
            lease_until: self.lease.map(|lease| lease.until).unwrap_or_default(),
            report: Some(report),
            lag,
            backed_by: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that has said nothing since the clock began to run.
    fn unresponsive(now: Timestamp) -> Database {
        let silent_for = now.since(Timestamp::default());
        Database::Unresponsive { silent_for }
    }

    #[test]
    fn a_server_that_starts_says_so_soon() {
        let mut known = Known {
            answered_at: Timestamp(1_000),
            looked_at: Timestamp(4_500),
            ..Known::default()
        };
        known.processes.is_running = true;
        known.processes.postmaster = Some(7);
        assert_eq!(known.report(Timestamp(3_000)).database, Database::Starting);
        let silent_for = UNRESPONSIVE_AFTER;
        let silent = Database::Unresponsive { silent_for };
        assert_eq!(known.report(Timestamp(4_000)).database, silent);
        known.is_starting = true;
        assert_eq!(known.report(Timestamp(4_000)).database, Database::Starting);
    }

    #[test]
    fn an_agent_that_does_not_know_its_data_says_what_it_knows() {
        let now = Timestamp(60_000);
        let mut known = Known::default();
        assert_eq!(known.report(now).database, unresponsive(now));
        known.processes_at = Some(Timestamp(59_000));
        let report = known.report(now);
        assert_eq!(report.database, Database::Stopped(Stopped::Found));
        assert_eq!((report.identity, report.incarnation), (None, None));
        let later = now.after(STALE_AFTER);
        assert_eq!(known.report(later).database, unresponsive(later));
        known.processes.is_running = true;
        known.processes.postmaster = Some(7);
        assert_eq!(known.report(now).database, unresponsive(now));
    }

    #[test]
    fn a_server_without_its_postmaster_is_down_whatever_is_left_of_it() {
        let now = Timestamp(60_000);
        let mut known = Known {
            answered_at: now,
            looked_at: now,
            processes_at: Some(now),
            processes: Processes {
                is_running: true,
                postmaster: Some(7),
            },
            ..Known::default()
        };
        assert_eq!(known.report(now).database, Database::Starting);
        known.postmaster_ended(Stopped::Died);
        assert!(known.processes.is_running, "something is left");
        let report = known.report(now);
        assert_eq!(report.database, Database::Stopped(Stopped::Died));
    }
}
