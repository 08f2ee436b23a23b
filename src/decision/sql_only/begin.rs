//! Whether a change of primary may begin. A failover: nobody hears the primary, and those who can be asked are enough for a proof. A
//! switchover: the primary serves, and the proof includes whom was named.

use crate::broken;
use crate::model::{FenceDemand, InstanceFacts, InstanceId, Role, SqlView};
use crate::recovery::sql_only::feeding::is_cascade;
use crate::recovery::sql_only::{SqlReason, reach};
use crate::state::{SqlChange, SqlState};

use super::SqlPlan;

/// Proposes to begin a failover, or says what it waits for.
pub(super) fn begin(plan: &mut SqlPlan, state: &SqlState, view: &SqlView, cause: String) {
    let cluster = &state.cluster;
    if cluster.fence == FenceDemand::Required {
        plan.waiting.push(SqlReason::AgentsRequired);
        return;
    }
    if let Some(held) = view.directives.holds_failover(cluster.primary.as_ref()) {
        plan.waiting.push(SqlReason::Held(held));
        return;
    }
    let gone_since = cluster
        .primary
        .as_ref()
        .and_then(|id| view.instances.get(id)?.gone_since);
    let standbys: Vec<(&InstanceId, &InstanceFacts)> = cluster
        .members
        .keys()
        .filter_map(|id| Some((id, view.fresh(id)?)))
        .filter(|(_, facts)| facts.role.is_in_recovery())
        .collect();
    if standbys.is_empty() {
        plan.waiting.push(SqlReason::NobodyReachable);
        return;
    }
    // What was seen before the primary went says nothing of now.
    let is_old = |id: &InstanceId| {
        let looked = view.instances.get(id).and_then(|seen| seen.last.as_ref());
        looked.map(|look| look.at) < gone_since
    };
    let old = standbys.iter().filter(|(id, _)| is_old(id));
    plan.again.extend(old.map(|(id, _)| (*id).clone()));
    // One that is a standby itself may feed others; that it does says nothing of a primary.
    let is_there = cluster.primary.as_ref().is_some_and(|id| {
        view.fresh(id)
            .is_some_and(|facts| facts.role.is_in_recovery())
    });
    let hears = |facts: &InstanceFacts| {
        facts.status.io_thread_running && !is_there && !is_cascade(cluster, facts)
    };
    let hearing = standbys.iter().filter(|(_, facts)| hears(facts));
    let by: Vec<_> = hearing.map(|(id, _)| (*id).clone()).collect();
    if !broken!(SqlVeto) {
        if !by.is_empty() {
            plan.again.extend(by.iter().cloned());
            plan.waiting.push(SqlReason::Vetoed { by });
            return;
        }
        if !plan.again.is_empty() {
            plan.waiting.push(SqlReason::Asking);
            return;
        }
    }
    // Revoking for nothing would be an outage of its own.
    let whom = (None, cluster.primary.as_ref());
    if let Some(reason) = reach::why_unprovable(cluster, whom, view) {
        plan.waiting.push(reason);
        return;
    }
    plan.proposals.push(SqlChange::Begin {
        seen: cluster.epoch,
        cause,
        named: None,
    });
}

/// Why a switchover to this one would come to nothing, or could not be proven to lose nothing; none if it may begin.
pub fn not_to(state: &SqlState, view: &SqlView, to: &InstanceId) -> Option<String> {
    let cluster = &state.cluster;
    if cluster.fence == FenceDemand::Required {
        return Some(SqlReason::AgentsRequired.to_string());
    }
    if let Some(quieted) = &state.quieted {
        return Some(format!(
            "{quieted} was asked to be quiet and does not accept writes again yet"
        ));
    }
    let primary = cluster.primary.as_ref()?;
    let serves = |facts: &InstanceFacts| {
        facts.role == Role::Primary && facts.timeline == Some(cluster.lineage.current)
    };
    if !view.fresh(primary).is_some_and(serves) {
        return Some(format!("the primary {primary} is not seen to serve"));
    }
    let reason = reach::why_unprovable(cluster, (Some(to), Some(primary)), view);
    reason.map(|reason| reason.to_string())
}
