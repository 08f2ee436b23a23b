//! Do the standbys of a primary that serves stream from it? Rejoins mend it; the finding tells the operator.

use crate::model::{InstanceId, View};
use crate::state::ClusterState;

use super::super::Finding;
use super::counts::{Counts, PrimaryAnswer, Verdict};

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    let Some((primary, _)) = super::serving(state, view) else {
        return vec![];
    };
    let is_missing = |id: &&InstanceId| *id != primary && !view.streams(cluster, id);
    let missing = cluster.members.keys().filter(is_missing);
    let missing: Vec<_> = missing
        .map(|id| (id.clone(), view.fresh(id).is_some()))
        .collect();
    let all = Counts::of(cluster, view, PrimaryAnswer::Serves);
    // Those who were asked a moment ago may have said something else: what is told is told of one reading.
    let counts = Counts {
        replicating: all.known - missing.len(),
        ..all
    };
    match counts.verdict() {
        Verdict::AllStandbyNotReplicating => {
            vec![Finding::AllStandbyNotReplicating { counts, missing }]
        }
        Verdict::StandbyNotReplicating => vec![Finding::StandbyNotReplicating { counts, missing }],
        // Those of a primary that does not answer.
        Verdict::Well
        | Verdict::DeadPrimary
        | Verdict::DeadPrimaryWithoutStandbys
        | Verdict::DeadPrimaryAndSomeStandbys
        | Verdict::UnreachablePrimary => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, primary, report, standby, view};
    use crate::model::{Database, Durability, Stopped};
    use crate::state::example::at_rest;

    #[test]
    fn a10_some_or_all_standbys_do_not_replicate() {
        let check = |streaming: &[&'static str], stopped: &[&'static str], says: &[&str]| {
            let cluster = cluster(&["a", "b", "c"], Durability::Async);
            let mut reports = vec![("a", primary(&cluster, "a"))];
            let of = |name| (name, standby(&cluster, name, at(2, 50)));
            reports.extend(streaming.iter().map(|name| of(name)));
            let down = || report(Database::Stopped(Stopped::Found));
            reports.extend(stopped.iter().map(|&name| (name, down())));
            let found = analyze(&at_rest(cluster), &view(reports));
            let found: Vec<_> = found
                .iter()
                .map(|it| format!("{}: {it}", it.code()))
                .collect();
            assert_eq!(found, says, "{streaming:?} {stopped:?}");
        };
        check(&["b", "c"], &[], &[]);
        check(
            &["b"],
            &["c"],
            &["StandbyNotReplicating: 1 of 2 standbys does not stream from the primary: c"],
        );
        check(
            &["b"],
            &[],
            &[
                "StandbyNotReplicating: 1 of 2 standbys does not stream from the primary: c (its agent is silent)",
            ],
        );
        check(
            &[],
            &["b"],
            &[
                "AllStandbyNotReplicating: none of 2 standbys streams from the primary: b, c (its agent is silent)",
            ],
        );
    }

    #[test]
    fn of_a_primary_that_does_not_serve_its_own_finding_is_enough() {
        let cluster = cluster(&["a", "b"], Durability::Async);
        let down = report(Database::Stopped(Stopped::Died));
        let found = analyze(&at_rest(cluster), &view([("a", down)]));
        assert_eq!(found, []);
    }
}
