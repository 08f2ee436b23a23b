//! Do enough standbys stream for commits to be acknowledged?

use crate::model::{InstanceId, Member, Standing, View};
use crate::state::ClusterState;

use super::super::Finding;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    let Some((primary, report)) = super::serving(state, view) else {
        return vec![];
    };
    // Who is being rebuilt streams, and is not waited for: the primary does not count it.
    let voters = || {
        let members = cluster.members.iter();
        let counts =
            |(id, it): &(&InstanceId, &Member)| *id != primary && it.standing == Standing::Voter;
        members.filter(counts).map(|(id, _)| id)
    };
    let streaming = voters().filter(|id| view.streams(cluster, id)).count();
    let silent = voters().filter(|id| view.fresh(id).is_none()).count();
    let needed = cluster.acks_in_force();
    if streaming >= needed {
        return vec![];
    }
    vec![Finding::PrimaryBlockedOnSync {
        instance: primary.clone(),
        streaming,
        needed,
        may_be_more: streaming + silent >= needed,
        waiting: report.commits_waiting,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, id, primary, report, standby, view};
    use crate::model::{Database, Durability, Stopped};
    use crate::state::example::at_rest;

    #[test]
    fn it_is_told_when_commits_wait() {
        let check = |durability, streaming: &[&'static str], stopped: &[&'static str], says| {
            let cluster = cluster(&["a", "b", "c"], durability);
            let mut a = primary(&cluster, "a");
            a.commits_waiting = 7;
            let mut reports = vec![("a", a)];
            let of = |name| (name, standby(&cluster, name, at(2, 50)));
            reports.extend(streaming.iter().map(|name| of(name)));
            let down = || report(Database::Stopped(Stopped::Found));
            reports.extend(stopped.iter().map(|&name| (name, down())));
            let found = analyze(&at_rest(cluster), &view(reports));
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, says, "{streaming:?} {stopped:?}");
        };
        let quorum = |standbys| Durability::Quorum { standbys };
        let wait = |how, needed, known| {
            vec![format!(
                "commits on a {how}: they need {needed} of the standbys, {known} are known to stream; 7 sessions wait"
            )]
        };
        check(quorum(1), &["b"], &["c"], vec![]);
        check(Durability::Async, &[], &["b", "c"], vec![]);
        check(quorum(1), &[], &["b", "c"], wait("wait", 1, 0));
        check(quorum(1), &[], &["b"], wait("may wait", 1, 0));
        check(quorum(2), &["b"], &["c"], wait("wait", 2, 1));
    }

    #[test]
    fn a_standby_that_is_being_rebuilt_lets_no_commit_go_on() {
        let mut cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        for name in ["b", "c"] {
            cluster.members.get_mut(&id(name)).unwrap().standing = Standing::Recovering;
        }
        let of = |name| (name, standby(&cluster, name, at(2, 50)));
        let view = view([("a", primary(&cluster, "a")), of("b"), of("c")]);
        let expected = Finding::PrimaryBlockedOnSync {
            instance: id("a"),
            streaming: 0,
            needed: 1,
            may_be_more: false,
            waiting: 0,
        };
        assert_eq!(analyze(&at_rest(cluster), &view), [expected]);
    }

    #[test]
    fn nothing_is_said_of_commits_without_a_primary() {
        let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
        assert_eq!(analyze(&at_rest(cluster), &view([])), vec![]);
    }
}
