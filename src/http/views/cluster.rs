//! One cluster: what is recorded of it, what is seen of it, and what is wrong with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::decision::{Finding, Plan};
use crate::model::{
    Database, Durability, InstanceId, Lsn, Receiver, Sighting, Standing, Stopped, View, WalPosition,
};
use crate::recovery::Step;
use crate::state::ClusterState;

use super::directive::{BlockView, HoldView, block_of, pause_of, said_of};
use super::finding::{FindingView, finding_view};

/// A failure that was not repeated for this long is over.
pub(super) const FAILURE_SHOWN_FOR: Duration = Duration::from_secs(10);

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// PostgreSQL's `system_identifier`; none before the first instance was initialised.
    pub system_identifier: Option<String>,
    /// `async` or `quorum k`.
    pub durability: String,
    /// `fast`, or `strict`: a failover also waits until nobody can read from the old primary.
    pub reads: String,
    /// How many standbys a commit waits for.
    pub standby_acks: usize,
    /// What keeps an old primary from writing: `agents`; `courtesy`, where it is asked to; `required`, where agents must and
    /// there are none.
    #[serde(default)]
    pub fence: String,
    /// What a failover does and does not guarantee, in words.
    #[serde(default)]
    pub guarantee: String,
    /// The fencing token; grows with every change of primary.
    pub epoch: u64,
    /// The timeline number that belongs to the epoch.
    pub timeline: u32,
    /// The recorded primary; none while one is being elected.
    pub primary: Option<String>,
    /// Its `host:port`.
    pub primary_address: Option<String>,
    /// `serving`, `no_primary`, or the phase of the handover under way.
    pub phase: String,
    /// The pause that is in force, if any: nothing is begun by itself.
    #[serde(default)]
    pub pause: Option<HoldView>,
    /// For how many seconds a failover keeps another one off; none if it does not.
    #[serde(default)]
    pub block_seconds: Option<u64>,
    /// The last failover, while it keeps another one off.
    #[serde(default)]
    pub blocked: Option<BlockView>,
    /// Its instances.
    pub instances: Vec<InstanceView>,
    /// What is wrong, most severe first.
    pub findings: Vec<FindingView>,
    /// Why nothing happens, for each procedure that waits.
    pub waiting: Vec<WaitView>,
    /// The commands that the answering peer has under way.
    pub under_way: Vec<StepView>,
    /// What is allowed and should not be.
    pub warnings: Vec<String>,
}

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

/// Why a procedure waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitView {
    /// The instance whose rejoin waits; none for the handover.
    pub instance: Option<String>,
    /// Stable.
    pub code: String,
    /// In words.
    pub text: String,
}

/// A command under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// Who carries it out.
    pub instance: String,
    /// What.
    pub action: String,
    /// Under which order, `epoch.number`.
    pub order: String,
}

/// Everything about one cluster.
pub(in crate::http) fn cluster_view(
    state: &ClusterState,
    view: &View,
    plan: &Plan,
    under_way: &[Step],
    mut warnings: Vec<String>,
    since: impl Fn(&Finding) -> Option<u64>,
) -> ClusterView {
    let cluster = &state.cluster;
    let insecure = view
        .instances
        .iter()
        .filter(|(_, seen)| seen.report.insecure);
    warnings.extend(insecure.map(|(id, _)| {
        format!(
            "the agent of {id} speaks plain HTTP to the peers, as plain_http allows for development"
        )
    }));
    let strangers = view.instances.iter().filter(|(id, seen)| {
        let is_member = cluster.members.contains_key(id);
        !is_member && seen.connected
    });
    warnings.extend(strangers.map(|(id, _)| {
        format!("an agent says that it is {id}'s, and there is no such member: correct `instance` in its configuration")
    }));
    warnings.extend(ahead(state, view));
    let phase = match (&state.handover, &cluster.primary) {
        (Some(handover), _) => handover.phase(),
        (None, Some(_)) => "serving",
        (None, None) => "no_primary",
    };
    let address = |id: &InstanceId| Some(cluster.members.get(id)?.address.to_string());
    let held = view.directives.holds_failover(cluster.of_failover());
    ClusterView {
        name: cluster.name.to_string(),
        system_identifier: cluster.identity.map(|identity| identity.to_string()),
        durability: cluster.durability.to_string(),
        reads: cluster.reads.name().to_owned(),
        standby_acks: cluster.durability.standby_acks(),
        fence: "agents".to_owned(),
        guarantee: guarantee(cluster.durability).to_owned(),
        epoch: cluster.epoch.0,
        timeline: cluster.timeline.0,
        primary: cluster.primary.as_ref().map(ToString::to_string),
        primary_address: cluster.primary.as_ref().and_then(address),
        phase: phase.to_owned(),
        pause: pause_of(&view.directives),
        block_seconds: view.directives.block_period.map(|it| it.as_secs()),
        blocked: block_of(&view.directives),
        instances: cluster
            .members
            .keys()
            .map(|id| instance_view(id, state, view))
            .collect(),
        findings: plan
            .findings
            .iter()
            .map(|finding| finding_view(finding, since(finding), held.as_ref()))
            .collect(),
        waiting: plan
            .waiting
            .iter()
            .map(|(subject, reason)| WaitView {
                instance: subject.as_ref().map(ToString::to_string),
                code: reason.code().to_owned(),
                text: reason.to_string(),
            })
            .collect(),
        under_way: under_way
            .iter()
            .map(|step| StepView {
                instance: step.instance.to_string(),
                action: step.action.name().to_owned(),
                order: step.order.to_string(),
            })
            .collect(),
        warnings,
    }
}

/// Whose agents obey nothing that this group commands now: they promised an epoch that it has not burnt.
fn ahead(state: &ClusterState, view: &View) -> Vec<String> {
    let epoch = state.cluster.epoch;
    let promised = state.cluster.members.keys().filter_map(|id| {
        let promised = view.fresh(id)?.promised?.epoch;
        (promised > epoch).then_some((id, promised))
    });
    let told = promised.map(|(id, promised)| {
        format!(
            "{id} has promised epoch {promised}, and here the cluster is at epoch {epoch}, so its agent obeys nothing: the peers \
             began anew elsewhere, or these were of before; stop all peers but those of one group, and if it is this one, \
             begin it anew, which puts its epochs above (primacy peers snapshot restore --help)"
        )
    });
    told.collect()
}

fn guarantee(durability: Durability) -> &'static str {
    match durability {
        Durability::Quorum { .. } => {
            "no acknowledged commit is lost by a failover; an old primary is stopped by its agent, at the latest when its lease ends"
        }
        Durability::Async => {
            "a failover may lose what was acknowledged and not sent yet; an old primary is stopped before another one is promoted"
        }
    }
}

fn instance_view(id: &InstanceId, state: &ClusterState, view: &View) -> InstanceView {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, order, standby, view};
    use crate::model::{Durability, Epoch};
    use crate::state::example::at_rest;

    #[test]
    fn who_promised_more_than_is_recorded_is_named() {
        let state = at_rest(cluster(&["a", "b", "c"], Durability::Async));
        let promised = |name, epoch| {
            let mut report = standby(&state.cluster, name, at(2, 40));
            report.promised = Some(order(epoch, 1));
            report
        };
        let epoch = state.cluster.epoch;
        assert_eq!(epoch, Epoch(1));
        let of = |epoch| {
            ahead(
                &state,
                &view([("b", promised("b", epoch)), ("c", promised("c", 1))]),
            )
        };
        assert!(of(1).is_empty());
        let told = of(9);
        assert_eq!(told.len(), 1);
        let words = "b has promised epoch 9, and here the cluster is at epoch 1";
        assert!(told[0].starts_with(words), "{told:?}");
        // What a silent one said may be long over.
        let mut silent = view([("b", promised("b", 9))]);
        silent
            .instances
            .values_mut()
            .for_each(|it| it.connected = false);
        assert!(ahead(&state, &silent).is_empty());
    }
}
