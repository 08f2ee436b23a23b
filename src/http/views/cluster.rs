//! One cluster: what is recorded of it, what is seen of it, and what is wrong with it.

use serde::{Deserialize, Serialize};

use crate::decision::{Finding, Plan};
use crate::model::{Durability, InstanceId, View};
use crate::recovery::Step;
use crate::state::ClusterState;

use super::directive::{BlockView, HoldView, block_of, pause_of};
use super::durability::{DurabilityChangeView, durability_change_view};
use super::finding::{FindingView, finding_view};
use super::instance::{InstanceView, instance_view};
use super::switchover::{SwitchoverView, switchover_view};

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
    /// How much it matters when more clusters lose their primaries than are given a new one at once: the greater first.
    #[serde(default)]
    pub priority: i16,
    /// The switchover that somebody asked for and that is not over.
    #[serde(default)]
    pub switchover: Option<SwitchoverView>,
    /// The durability that somebody asked for and that is not recorded yet.
    #[serde(default)]
    pub durability_change: Option<DurabilityChangeView>,
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
        priority: view.directives.priority.0,
        switchover: cluster.switchover.as_ref().map(switchover_view),
        durability_change: cluster
            .durability_change
            .as_ref()
            .map(|asked| durability_change_view(asked, cluster, view, plan)),
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

/// What a failover of a cluster with agents does and does not guarantee.
pub(in crate::http) fn guarantee(durability: Durability) -> &'static str {
    match durability {
        Durability::Quorum { .. } => {
            "no acknowledged commit is lost by a failover; an old primary is stopped by its agent, at the latest when its lease ends"
        }
        Durability::Async => {
            "a failover may lose what was acknowledged and not sent yet; an old primary is stopped before another one is promoted"
        }
    }
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
