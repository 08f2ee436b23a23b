//! Whether a failover may begin: nobody hears the primary, and those who can be asked are enough for a proof.

use crate::broken;
use crate::model::{FenceDemand, InstanceFacts, InstanceId, SqlView};
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
