//! Does the primary live, and does it serve? Evidence of death is specific: what its own agent says, or silence here *and*
//! with a majority of peers. An answer of any kind is a sign of life. What silence means, the standbys say: see
//! [`Counts`].

use crate::model::view::{SILENT_AFTER, UNRESPONSIVE_AFTER};
use crate::model::{Database, InstanceId, Stopped, View};
use crate::recovery::Handover;
use crate::state::ClusterState;

use super::super::finding::{Death, Finding, Heard, Silence};
use super::counts::{Counts, PrimaryAnswer, Verdict};
use super::stalled_primary;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    let Some(primary) = &cluster.primary else {
        return vec![];
    };
    // Before it is promoted its absence is the handover's own matter.
    if matches!(
        state.handover,
        Some(Handover::Promoting { .. } | Handover::Creating { .. })
    ) {
        return vec![];
    }
    let Some(report) = view.fresh(primary) else {
        return silent(state, primary, view).into_iter().collect();
    };
    let recorded = cluster.members.get(primary).map(|it| it.incarnation);
    let dead = |says: &str| {
        vec![Finding::DeadPrimary {
            instance: primary.clone(),
            death: Death::Told {
                says: says.to_owned(),
                has_the_data: recorded.is_some() && report.incarnation == recorded,
            },
        }]
    };
    let runs = |otherwise: Option<Finding>| {
        let stalled = stalled_primary::finding(primary, view);
        stalled.or(otherwise).into_iter().collect()
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

fn silent(state: &ClusterState, primary: &InstanceId, view: &View) -> Option<Finding> {
    let lease_ended = view.now > view.leases_lapse_at;
    let seen = view.instances.get(primary);
    let connected = seen.is_some_and(|seen| seen.connected);
    if connected && view.now.since(view.awake_since) <= SILENT_AFTER {
        return None;
    }
    let instance = primary.clone();
    let counts = Counts::of(&state.cluster, view, PrimaryAnswer::Nothing);
    let heard_by = view.heard_by_others(primary);
    let is_minority = heard_by.is_some_and(|peers| peers * 2 < view.peers);
    if !is_minority && !lease_ended {
        let heard = heard_by.map_or(Heard::NotAsked, Heard::ByPeers);
        return Some(Finding::UnreachablePrimary {
            instance,
            heard,
            counts,
        });
    }
    let silence = Silence {
        connection_closed: !connected,
        lease_ended,
    };
    match counts.verdict() {
        Verdict::DeadPrimary => Some(Finding::DeadPrimary {
            instance,
            death: Death::Silent { silence, counts },
        }),
        Verdict::DeadPrimaryWithoutStandbys => {
            Some(Finding::DeadPrimaryWithoutStandbys { instance, silence })
        }
        Verdict::DeadPrimaryAndSomeStandbys => Some(Finding::DeadPrimaryAndSomeStandbys {
            instance,
            silence,
            counts,
        }),
        Verdict::UnreachablePrimary => Some(Finding::UnreachablePrimary {
            instance,
            heard: Heard::ByStandbys,
            counts,
        }),
        // Those of a primary that answers.
        Verdict::Well | Verdict::AllStandbyNotReplicating | Verdict::StandbyNotReplicating => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, id, primary, report, standby, view};
    use crate::model::{Answer, Durability, Incarnation, Timestamp};
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
            assert!(findings[0].is_actionable(), "{findings:?}");
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

    /// The agent of `a` is silent with everybody; of the others each streams, is stopped, or is silent too.
    #[test]
    fn a10_what_the_silence_of_an_agent_means_its_standbys_say() {
        let check = |standbys: &[(&'static str, &str)], code, is_actionable| {
            let names = ["a", "b", "c"];
            let names = &names[..=standbys.len()];
            let cluster = cluster(names, Durability::Quorum { standbys: 1 });
            let mut reports = vec![("a", primary(&cluster, "a"))];
            for (name, what) in standbys {
                reports.push((
                    *name,
                    match *what {
                        "streams" => standby(&cluster, name, at(2, 50)),
                        _ => report(Database::Stopped(Stopped::Found)),
                    },
                ));
            }
            let mut view = view(reports);
            view.instances.get_mut(&id("a")).unwrap().connected = false;
            let state = at_rest(cluster);
            let unproven = analyze(&state, &view);
            assert_eq!(unproven[0].code(), "UnreachablePrimary");
            assert!(!unproven[0].is_actionable() && !unproven[0].calls_for_asking());
            let now = view.now;
            view.looks.insert(id("a"), (now, 0));
            for (name, _) in standbys.iter().filter(|(_, what)| *what == "silent") {
                view.instances.get_mut(&id(name)).unwrap().connected = false;
            }
            let found = analyze(&state, &view);
            assert_eq!(found.len(), 1, "{found:?}");
            let finding = &found[0];
            assert_eq!(
                (finding.code(), finding.is_actionable()),
                (code, is_actionable),
                "{standbys:?}: {finding}"
            );
            assert!(finding.calls_for_asking(), "{finding}");
        };
        check(&[], "DeadPrimaryWithoutStandbys", false);
        let (some, all) = ("DeadPrimaryAndSomeStandbys", "UnreachablePrimary");
        check(&[("b", "stopped"), ("c", "stopped")], "DeadPrimary", true);
        check(&[("b", "stopped"), ("c", "silent")], "DeadPrimary", true);
        check(&[("b", "silent"), ("c", "silent")], some, false);
        check(&[("b", "streams"), ("c", "stopped")], some, false);
        check(&[("b", "streams"), ("c", "silent")], some, false);
        check(&[("b", "streams"), ("c", "streams")], all, false);
    }

    /// Too many connections (53300) and a refused password (28P01) make an agent say that its server does not answer it for
    /// no time, as often as it asks; one that is starting (57P03) that it starts.
    #[test]
    fn a10_a_primary_that_refuses_is_not_dead() {
        let cluster = cluster(&["a", "b"], Durability::Async);
        let state = at_rest(cluster);
        let silent_for = std::time::Duration::ZERO;
        for refuses in [Database::Starting, Database::Unresponsive { silent_for }] {
            let down = report(Database::Stopped(Stopped::Found));
            let view = view([("a", report(refuses)), ("b", down)]);
            for finding in analyze(&state, &view) {
                assert_eq!(finding.code(), "UnresponsivePrimary");
                assert!(!finding.is_actionable() && !finding.calls_for_asking());
            }
        }
    }

    #[test]
    fn a_standby_that_was_just_asked_knows_best_and_nobody_once_the_lease_has_ended() {
        let cluster = cluster(&["a", "b"], Durability::Quorum { standbys: 1 });
        let mut view = view([("b", standby(&cluster, "b", at(2, 50)))]);
        let state = at_rest(cluster);
        let now = view.now;
        view.looks.insert(id("a"), (now, 0));
        assert_eq!(analyze(&state, &view)[0].code(), "UnreachablePrimary");
        let answers = |view: &mut View, hears_primary| {
            let answer = Answer {
                epoch: state.cluster.epoch.next(),
                would_promise: true,
                hears_primary,
                incarnation: Some(Incarnation(1)),
            };
            view.instances.get_mut(&id("b")).unwrap().answer = Some((now, answer));
        };
        answers(&mut view, false);
        assert!(analyze(&state, &view)[0].is_actionable());
        answers(&mut view, true);
        assert!(!analyze(&state, &view)[0].is_actionable());
        view.leases_lapse_at = Timestamp(now.0 - 1);
        assert!(analyze(&state, &view)[0].is_actionable());
    }
}
