//! One instance: what is recorded of it and what is seen of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::{
    Database, InstanceId, Lsn, Receiver, Sighting, Standing, Stopped, View, WalPosition,
};
use crate::state::ClusterState;

use super::directive::{HoldView, said_of};

/// A failure that was not repeated for this long is over.
pub(super) const FAILURE_SHOWN_FOR: Duration = Duration::from_secs(10);

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// Its failure domain.
    pub zone: String,
    /// Where it answers SQL.
    pub host: String,
    /// Where it answers SQL.
    pub port: u16,
    /// Where its agent answers health checks, `host:port`.
    pub health: String,
    /// What it shall be: `primary` or `standby`.
    pub assignment: String,
    /// What it is: `primary`, `standby` or `none`.
    pub role: String,
    /// `running`, `streaming`, `not_streaming`, `starting`, `unresponsive`, `stopped`, `died`,
    /// `lease_ended`, `absent`, `silent` or `unknown`; without an agent also `read_only`, `detached`, `refusing` or `gone`.
    pub state: String,
    /// The timeline of its position.
    pub timeline: Option<u32>,
    /// The end of its flushed WAL.
    pub lsn: Option<String>,
    /// What it lacks of the primary's flushed WAL, in bytes.
    pub lag_bytes: Option<u64>,
    /// How long its primary lease still lasts by its last report, in ms; none if it holds none.
    pub lease_remaining_ms: Option<u64>,
    /// Until when at most its PostgreSQL may run as the primary although its agent was stopped on purpose, RFC
    /// 3339 in UTC; none if no such stop is recorded.
    pub planned_stop_until: Option<String>,
    /// `voter` if its promise counts, else `recovering`; without an agent `voter` if commits may wait for it, else `observer`.
    pub standing: String,
    /// The recorded filling of its data folder.
    pub incarnation: u32,
    /// Its downtime, if one is in force: no recovery of it is begun by itself.
    #[serde(default)]
    pub downtime: Option<HoldView>,
    /// `prefer`, `neutral`, `prefer_not` or `must_not`: whether it is promoted rather than another one that holds as much.
    #[serde(default)]
    pub promotion_rule: String,
    /// When that rule ends, RFC 3339 in UTC; none if it is pinned or neutral.
    #[serde(default)]
    pub promotion_rule_until: Option<String>,
    /// The phase of its rejoin, if one is under way.
    pub rejoin: Option<String>,
    /// The age of its last report, in ms; none if the answering peer never heard it.
    pub age_ms: Option<u64>,
    /// Whether its agent is connected to the answering peer.
    pub connected: bool,
    /// The last command that it could not carry out, in words.
    pub failure: Option<String>,
}

/// One instance of a cluster with agents.
pub(super) fn instance_view(id: &InstanceId, state: &ClusterState, view: &View) -> InstanceView {
    let cluster = &state.cluster;
    let member = &cluster.members[id];
    let sighting = view.instances.get(id);
    let position = sighting.and_then(position);
    let is_primary = cluster.primary.as_ref() == Some(id);
    let (role, observed) = observed(id, view, sighting);
    let said = said_of(&view.directives, id);
    InstanceView {
        name: id.to_string(),
        zone: member.zone.to_string(),
        host: member.address.host.clone(),
        port: member.address.port,
        health: member.health.to_string(),
        assignment: if is_primary { "primary" } else { "standby" }.to_owned(),
        role: role.to_owned(),
        state: observed.to_owned(),
        timeline: position.map(|position| position.timeline.0),
        lsn: position.map(|position| position.lsn.to_string()),
        lag_bytes: if is_primary {
            None
        } else {
            lag(position, state, view)
        },
        lease_remaining_ms: sighting.and_then(|seen| {
            let age = view.now.since(seen.received_at);
            seen.report.lease?.remaining.checked_sub(age).map(millis)
        }),
        planned_stop_until: planned_stop_until(id, state),
        standing: match member.standing {
            Standing::Voter => "voter",
            Standing::Recovering => "recovering",
        }
        .to_owned(),
        incarnation: member.incarnation.0,
        downtime: said.downtime,
        promotion_rule: said.promotion_rule,
        promotion_rule_until: said.promotion_rule_until,
        rejoin: state
            .rejoins
            .get(id)
            .map(|active| active.rejoin.phase().to_owned()),
        age_ms: sighting.map(|seen| millis(view.now.since(seen.received_at))),
        connected: sighting.is_some_and(|seen| seen.connected),
        failure: sighting
            .and_then(|seen| seen.failure.as_ref())
            .filter(|failure| view.now.since(failure.at) <= FAILURE_SHOWN_FOR)
            .map(|failure| format!("{} ({})", failure.reason, failure.order)),
    }
}

fn planned_stop_until(id: &InstanceId, state: &ClusterState) -> Option<String> {
    // Without a primary nobody's agent was stopped; a lease of one may be waited for all the same.
    state.cluster.primary.as_ref()?;
    let planned = state.cluster.planned_stop.as_ref();
    let stop = planned.filter(|stop| stop.instance == *id)?;
    Some(clock::text_of(stop.at.saturating_add(millis(stop.length))))
}

fn observed(
    id: &InstanceId,
    view: &View,
    sighting: Option<&Sighting>,
) -> (&'static str, &'static str) {
    if sighting.is_none() {
        return ("none", "unknown");
    }
    let Some(report) = view.fresh(id) else {
        return ("none", "silent");
    };
    match &report.database {
        Database::Absent => ("none", "absent"),
        Database::Stopped(Stopped::Found | Stopped::Ordered) => ("none", "stopped"),
        Database::Stopped(Stopped::Died) => ("none", "died"),
        Database::Stopped(Stopped::LeaseEnded) => ("none", "lease_ended"),
        Database::Starting => ("none", "starting"),
        Database::Unresponsive { .. } => ("none", "unresponsive"),
        Database::Primary { .. } => ("primary", "running"),
        Database::Standby { receiver, .. } => match receiver {
            Receiver::Streaming { .. } => ("standby", "streaming"),
            Receiver::None => ("standby", "not_streaming"),
        },
    }
}

fn position(sighting: &Sighting) -> Option<WalPosition> {
    match &sighting.report.database {
        Database::Primary { position, .. } => Some(*position),
        Database::Standby { flushed, .. } => Some(*flushed),
        Database::Absent
        | Database::Stopped(_)
        | Database::Starting
        | Database::Unresponsive { .. } => None,
    }
}

/// Readings of different moments may show a standby ahead: that is no lag.
fn lag(of: Option<WalPosition>, state: &ClusterState, view: &View) -> Option<u64> {
    let primary = view.instances.get(state.cluster.primary.as_ref()?)?;
    let (of, primary) = (of?, position(primary)?);
    let Lsn(end) = primary.lsn;
    (of.timeline == primary.timeline).then(|| end.saturating_sub(of.lsn.0))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
