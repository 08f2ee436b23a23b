//! From what was seen to what is said: the report of an agent, as a function of values.

use crate::duty::{Data, Lease};
use crate::model::{
    Database, Epoch, Lsn, Order, Receiver, Report, Stopped, Timestamp, WalPosition,
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
    /// Whether it said that it takes no sessions yet.
    pub is_starting: bool,
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
            Some(Data::Empty | Data::Foreign { .. }) | None => (None, None),
        };
        Report {
            promised: self.promised,
            incarnation,
            identity,
            insecure: self.insecure,
            database: self.database(now),
            lease: self.lease.map(|lease| crate::model::LeaseReport {
                epoch: lease.order.epoch,
                remaining: lease.until.since(now),
            }),
        }
    }

    fn database(&self, now: Timestamp) -> Database {
        let is_recent = |at: Timestamp| now.since(at) <= STALE_AFTER;
        if self.data.is_none()
            && self.processes_at.is_some_and(is_recent)
            && !self.processes.is_running
        {
            // The folder may not answer for long; that nothing runs is certain.
            return Database::Stopped(self.stopped.unwrap_or(Stopped::Found));
        }
        if now.since(self.looked_at) > STALE_AFTER {
            return Database::Unresponsive;
        }
        if !self.processes.is_running {
            return match &self.data {
                Some(Data::Empty) => Database::Absent,
                _ => Database::Stopped(self.stopped.unwrap_or(Stopped::Found)),
            };
        }
        let Some(reading) = &self.reading else {
            return if self.has_answered && !self.is_starting {
                Database::Unresponsive
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_does_not_know_its_data_says_what_it_knows() {
        let now = Timestamp(60_000);
        let mut known = Known::default();
        assert_eq!(known.report(now).database, Database::Unresponsive);
        known.processes_at = Some(Timestamp(59_000));
        let report = known.report(now);
        assert_eq!(report.database, Database::Stopped(Stopped::Found));
        assert_eq!((report.identity, report.incarnation), (None, None));
        let later = now.after(STALE_AFTER);
        assert_eq!(known.report(later).database, Database::Unresponsive);
        known.processes.is_running = true;
        assert_eq!(known.report(now).database, Database::Unresponsive);
    }
}
