//! Whom a switchover has elected.

use super::*;
use crate::model::example::{at, cluster, id, view};
use crate::model::{Incarnation, Switchover};

fn switched(durability: Durability, progress: Progress) -> Cluster {
    let mut cluster = cluster(&["a", "b", "c"], durability);
    cluster.switchover = Some(Switchover {
        to: id("c"),
        from: id("a"),
        owner: "ana".to_owned(),
        reason: "a kernel".to_owned(),
        until: 1,
        progress,
    });
    cluster
}

fn promises(of: &[(&str, u64)]) -> BTreeMap<InstanceId, Promise> {
    let promise = |lsn, running| Promise {
        incarnation: Some(Incarnation(1)),
        position: Some(at(2, lsn)),
        running,
    };
    let of = of.iter();
    of.map(|(name, lsn)| (id(name), promise(*lsn, *name != "a")))
        .collect()
}

#[track_caller]
fn elected(cluster: &Cluster, of: &[(&str, u64)], all_had_a_chance: bool) -> Option<InstanceId> {
    let promises = promises(of);
    let (candidate, proof) = elect(cluster, &promises, &view([]), all_had_a_chance).ok()?;
    let checked = check(cluster, &promises, &candidate, &proof);
    assert!(checked.is_ok(), "{checked:?}");
    Some(candidate)
}

const QUORUM: Durability = Durability::Quorum { standbys: 1 };

#[test]
fn the_named_one_that_holds_everything_is_elected_at_once() {
    let end = at(2, 60);
    let cluster = switched(QUORUM, Progress::Down { end });
    let all = [("b", 60), ("c", 60)];
    assert_eq!(elected(&cluster, &all, false), Some(id("c")));
    let all = [("a", 60), ("b", 60), ("c", 60)];
    assert_eq!(elected(&cluster, &all, true), Some(id("c")));
    let of_async = switched(Durability::Async, Progress::Down { end });
    assert_eq!(elected(&of_async, &all, true), Some(id("c")));
}

#[test]
fn else_the_old_primary_is_waited_for_and_elected_again() {
    let end = at(2, 60);
    for durability in [QUORUM, Durability::Async] {
        let cluster = switched(durability, Progress::Down { end });
        let standbys = [("b", 60), ("c", 59)];
        assert_eq!(elected(&cluster, &standbys, false), None);
        let all = [("a", 60), ("b", 60), ("c", 59)];
        assert_eq!(elected(&cluster, &all, true), Some(id("a")));
    }
    // If it does not come back, nobody waits for it for ever.
    let cluster = switched(QUORUM, Progress::Down { end });
    let standbys = [("b", 60), ("c", 59)];
    assert_eq!(elected(&cluster, &standbys, true), Some(id("b")));
}

#[test]
fn whose_end_is_not_known_is_waited_for() {
    let cluster = switched(QUORUM, Progress::ShuttingDown);
    let standbys = [("b", 60), ("c", 60)];
    assert_eq!(elected(&cluster, &standbys, false), None);
    let all = [("a", 60), ("b", 60), ("c", 60)];
    assert_eq!(elected(&cluster, &all, true), Some(id("c")));
    let all = [("a", 61), ("b", 60), ("c", 60)];
    assert_eq!(elected(&cluster, &all, true), Some(id("a")));
}

#[test]
fn the_log_takes_no_named_one_that_holds_less() {
    let cluster = switched(QUORUM, Progress::Down { end: at(2, 60) });
    let promises = promises(&[("b", 60), ("c", 59)]);
    let counted = [id("b"), id("c")].into();
    let proof = FenceProof::Quorum { counted };
    let refused = check(&cluster, &promises, &id("c"), &proof).unwrap_err();
    assert!(refused.to_string().contains("b holds more than c"));
}
