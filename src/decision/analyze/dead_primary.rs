//! Is there a primary, does it live, and does it serve? Evidence of death is specific: what its own agent says, or
//! silence here *and* with a majority of peers. An answer of any kind is a sign of life.

use crate::model::view::{SILENT_AFTER, UNRESPONSIVE_AFTER};
use crate::model::{Database, Stopped, View};
use crate::recovery::Handover;
use crate::state::ClusterState;

use super::super::Finding;
use super::failing_disk;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    let Some(primary) = &cluster.primary else {
        return if state.handover.is_none() {
            vec![Finding::NoPrimary]
        } else {
            vec![]
        };
    };
    // Before it is promoted its absence is the handover's own matter.
    if matches!(
        state.handover,
        Some(Handover::Promoting { .. } | Handover::Creating { .. })
    ) {
        return vec![];
    }
    let Some(report) = view.fresh(primary) else {
        return silent(state, view);
    };
    let recorded = cluster.members.get(primary).map(|it| it.incarnation);
    let dead = |says: &str| {
        vec![Finding::DeadPrimary {
            instance: primary.clone(),
            says: says.to_owned(),
            has_the_data: recorded.is_some() && report.incarnation == recorded,
        }]
    };
    let runs = |otherwise: Option<Finding>| {
        let disk = failing_disk::finding(primary, true, view);
        disk.or(otherwise).into_iter().collect()
    };
    match &report.database {
        // An agent whose own disk hangs may repeat for ever what it saw last.
        Database::Primary { .. } if view.now > view.leases_lapse_at => dead("its lease has ended"),
        Database::Primary { .. } | Database::Starting => runs(None),
        Database::Unresponsive { silent_for } => runs(Some(Finding::UnresponsivePrimary {
            instance: primary.clone(),
            lasting: *silent_for >= UNRESPONSIVE_AFTER,
        })),
        Database::Absent => dead("its data folder is empty"),
        Database::Standby { .. } => dead("it runs as a standby"),
        Database::Stopped(Stopped::Died) => dead("its postmaster ended"),
        Database::Stopped(Stopped::LeaseEnded) => dead("it was stopped because its lease ended"),
        Database::Stopped(Stopped::Found | Stopped::Ordered) => dead("it is stopped"),
    }
}

fn silent(state: &ClusterState, view: &View) -> Vec<Finding> {
    let Some(primary) = state.cluster.primary.clone() else {
        return vec![];
    };
    let lease_ended = view.now > view.leases_lapse_at;
    let connected = view
        .instances
        .get(&primary)
        .is_some_and(|seen| seen.connected);
    if connected && view.now.since(view.awake_since) <= SILENT_AFTER {
        return vec![];
    }
    let heard_by = view.heard_by_others(&primary);
    let is_minority = heard_by.is_some_and(|peers| peers * 2 < view.peers);
    if is_minority || lease_ended {
        return vec![Finding::SilentPrimary {
            instance: primary,
            connection_closed: !connected,
            lease_ended,
        }];
    }
    vec![Finding::UnreachablePrimary {
        instance: primary,
        heard_by,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, report, standby, view};
    use crate::model::{Durability, Incarnation, Timestamp};
    use crate::state::example::at_rest;

    /// Somebody gave another host the name of the primary, whose server goes on.
    #[test]
    fn who_has_other_data_cannot_declare_the_primary_dead() {
        let state = at_rest(cluster(
            &["a", "b", "c"],
            Durability::Quorum { standbys: 1 },
        ));
        let check = |database: Database, incarnation, may_veto| {
            let mut a = report(database);
            a.incarnation = incarnation;
            let b = standby(&state.cluster, "b", at(2, 50));
            let mut view = view([("a", a), ("b", b)]);
            let findings = analyze(&state, &view);
            assert!(findings[0].calls_for_handover(), "{findings:?}");
            assert_eq!(
                findings[0].standbys_may_veto(&view),
                may_veto,
                "{findings:?}"
            );
            view.now = Timestamp(view.leases_lapse_at.0 + 1);
            assert!(!findings[0].standbys_may_veto(&view));
        };
        let found = || Database::Stopped(Stopped::Found);
        check(found(), Some(Incarnation(1)), false);
        check(found(), Some(Incarnation(7)), true);
        check(Database::Absent, None, true);
    }
}
