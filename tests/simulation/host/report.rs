//! What the agent says about itself: of what it saw last, not of what is.

use primacy::model::view::UNRESPONSIVE_AFTER;
use primacy::model::{Database, LeaseReport, Receiver, Report};

use super::*;

/// What was last seen longer ago says nothing any more.
const STALE_AFTER: std::time::Duration = std::time::Duration::from_secs(3);

impl Host {
    /// None before the first look.
    pub fn report(&self, tick: u64) -> Option<Report> {
        let agent = self.agent.as_ref()?;
        let known = agent.known.as_ref()?;
        let now = self.now(tick);
        let local = &known.local;
        let is_old = now.since(local.now) > STALE_AFTER;
        let silent_for = now.since(known.answered_at);
        let is_silent = known.has_answered || silent_for >= UNRESPONSIVE_AFTER;
        let duty = agent.running.as_ref().map(|it| &it.duty);
        let is_going_down = duty.and_then(Duty::shuts_down) == Some(true);
        let database = match (&local.data, &local.session) {
            _ if is_old => Database::Unresponsive { silent_for },
            (Data::Empty, _) if !local.is_running => Database::Absent,
            _ if !local.is_running => Database::Stopped(agent.stopped),
            _ if is_going_down => Database::Unresponsive { silent_for },
            (_, None) if is_silent => Database::Unresponsive { silent_for },
            (_, None) => Database::Starting,
            (_, Some(session)) if session.in_recovery => Database::Standby {
                flushed: known.flushed,
                replayed: session.position.lsn,
                receiver: session
                    .streams
                    .clone()
                    .map_or(Receiver::None, |(name, silent_for)| Receiver::Streaming {
                        application_name: name,
                        silent_for,
                    }),
            },
            (_, Some(session)) => Database::Primary {
                position: session.position,
                synchronous_standby_names: session.synchronous_standby_names.clone(),
                first_commit: agent.first_commit,
            },
        };
        let identity = match &local.data {
            Data::Cluster { identity, .. } => Some(*identity),
            Data::Offered(offer) => Some(offer.identity),
            Data::Empty | Data::Foreign { .. } => None,
        };
        Some(Report {
            weak_commits: vec![],
            insecure: false,
            read_only_default: false,
            commits_waiting: 0,
            lag: None,
            disk: agent.probe.trouble(now, known.flushed_at),
            promised: agent.promise.as_ref().map(|promise| promise.order),
            incarnation: local.incarnation(),
            identity,
            database,
            lease: agent.live_lease(now).map(|lease| LeaseReport {
                epoch: lease.order.epoch,
                remaining: lease.until.since(now),
            }),
        })
    }
}
