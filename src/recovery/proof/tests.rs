//! Which promises elect whom, and what the log refuses.

use std::time::Duration;

use super::*;
use crate::model::example::{at, cluster, id, primary, view};
use crate::model::{
    DiskTrouble, Durability, Incarnation, Lineage, Order, PlannedStop, Reads, Ruled, Timestamp,
};

fn promise(position: WalPosition) -> Promise {
    Promise {
        incarnation: Some(Incarnation(1)),
        position: Some(position),
        running: true,
    }
}

pub(super) fn promises(of: &[(&str, WalPosition)]) -> BTreeMap<InstanceId, Promise> {
    of.iter()
        .map(|(name, position)| (id(name), promise(*position)))
        .collect()
}

#[test]
fn the_promises_meet_every_set_that_could_acknowledge() {
    let quorum = |standbys| Durability::Quorum { standbys };
    for (members, durability, needed) in [
        (3, quorum(1), 2),
        (3, quorum(2), 1),
        (5, quorum(1), 4),
        (5, quorum(2), 3),
        (2, quorum(1), 1),
        (3, Durability::Async, 3),
    ] {
        let names = &["a", "b", "c", "d", "e"][..members];
        let cluster = cluster(names, durability);
        assert_eq!(promises_needed(&cluster), needed, "{members} {durability}");
        let (n, w) = (members, durability.standby_acks());
        assert!(
            needed + w + 1 > n && needed + w <= n,
            "{members} {durability}"
        );
    }
}

#[test]
fn a_quorum_of_standbys_is_preferred_over_an_old_primary_that_is_ahead() {
    let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let all = promises(&[("a", at(2, 99)), ("b", at(2, 20)), ("c", at(2, 30))]);
    let (candidate, proof) = elect(&cluster, &all, &view([]), true).unwrap();
    assert_eq!(candidate, id("c"));
    assert!(check(&cluster, &all, &candidate, &proof).is_ok());
}

#[test]
fn an_old_primary_is_elected_when_its_promise_is_needed() {
    let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let two = promises(&[("a", at(2, 99)), ("b", at(2, 20))]);
    assert!(
        elect(&cluster, &two, &view([]), false).is_err(),
        "c may still promise"
    );
    let (candidate, _) = elect(&cluster, &two, &view([]), true).unwrap();
    assert_eq!(candidate, id("a"));
}

fn example_of_five() -> Cluster {
    let durability = Durability::Quorum { standbys: 1 };
    let mut five = cluster(&["a", "b", "c", "d", "e"], durability);
    five.lineage = Lineage::before_promotion(at(2, 40));
    five
}

#[test]
fn the_last_primary_alone_is_enough_if_its_data_is_all_there() {
    let mut cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    for standby in ["b", "c"] {
        cluster.members.get_mut(&id(standby)).unwrap().standing = Standing::Recovering;
    }
    let alone = promises(&[("a", at(2, 99)), ("b", at(2, 20))]);
    let proof = FenceProof::OldPrimaryPromised;
    let elected = elect(&cluster, &alone, &view([]), true);
    assert_eq!(elected, Ok((id("a"), proof.clone())));
    assert_eq!(check(&cluster, &alone, &id("a"), &proof), Ok(at(2, 99)));
    assert!(elect(&cluster, &alone, &view([]), false).is_err());
    let five = example_of_five();
    let ahead = promises(&[("a", at(2, 50)), ("b", at(2, 60))]);
    let offered = elect(&five, &ahead, &view([]), true);
    assert!(offered.is_err(), "the log would refuse it: b holds more");
    let short = promises(&[("a", at(1, 5))]);
    assert!(elect(&cluster, &short, &view([]), true).is_err());
    assert!(check(&cluster, &short, &id("a"), &proof).is_err());
    let mut refilled = cluster.clone();
    refilled.members.get_mut(&id("a")).unwrap().incarnation = Incarnation(2);
    assert!(check(&refilled, &alone, &id("a"), &proof).is_err());
    let mut shortened = cluster;
    shortened.lineage = Lineage::before_promotion(at(2, 100));
    assert!(check(&shortened, &alone, &id("a"), &proof).is_err());
}

#[test]
fn after_a_group_began_anew_no_quorum_is_enough_while_somebody_may_hold_a_lease() {
    let mut cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let all = promises(&[("b", at(2, 50)), ("c", at(2, 20))]);
    let early = view([]);
    assert!(elect(&cluster, &all, &early, true).is_ok());
    // By asynchronous commits, if that was recorded since.
    cluster.primary = None;
    cluster.holders = cluster.members.keys().cloned().collect();
    cluster.planned_stop = Some(PlannedStop {
        instance: id("a"),
        order: Order {
            epoch: cluster.epoch,
            number: 1,
        },
        length: PlannedStop::LONGEST,
        at: 0,
    });
    let by = vec![id("a")];
    let waits = Err(Reason::LeaseMayBeHeld { by });
    assert_eq!(elect(&cluster, &all, &early, true), waits);
    let mut late = early.clone();
    late.now = late.leases_lapse_at.after(Duration::from_millis(1));
    assert_eq!(elect(&cluster, &all, &late, true).unwrap().0, id("b"));
}

#[test]
fn a_lease_ends_early_only_by_the_promise_of_who_has_the_data() {
    let cluster = cluster(&["a", "b", "c"], Durability::Async);
    let over = |incarnation| {
        let mut all = promises(&[("a", at(2, 50)), ("b", at(2, 50)), ("c", at(2, 20))]);
        all.get_mut(&id("a")).unwrap().incarnation = incarnation;
        all
    };
    let mut early = view([]);
    let mut late = early.clone();
    early.now = early.leases_lapse_at;
    late.now = late.leases_lapse_at.after(Duration::from_millis(1));
    let proof = FenceProof::OldPrimaryPromised;
    let all = over(Some(Incarnation(1)));
    assert_eq!(elect(&cluster, &all, &early, true).unwrap().1, proof);
    for other in [None, Some(Incarnation(7))] {
        let all = over(other);
        let by = vec![id("a")];
        let waits = Err(Reason::LeaseMayBeHeld { by });
        assert_eq!(elect(&cluster, &all, &early, true), waits, "{other:?}");
        assert!(check(&cluster, &all, &id("b"), &proof).is_err());
        let elected = elect(&cluster, &all, &late, true).unwrap();
        assert_eq!(elected, (id("b"), FenceProof::LeaseLapsed));
    }
}

#[test]
fn a_younger_timeline_beats_a_longer_log() {
    let cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let two = promises(&[("b", at(2, 900)), ("c", at(3, 20))]);
    assert_eq!(elect(&cluster, &two, &view([]), true).unwrap().0, id("c"));
}

#[test]
fn what_does_not_count_proves_nothing() {
    let mut cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let position = at(2, 20);
    let other_filling = Promise {
        incarnation: Some(Incarnation(7)),
        ..promise(position)
    };
    let unscanned = Promise {
        position: None,
        ..promise(position)
    };
    for bad in [other_filling, unscanned] {
        let mut two = promises(&[("b", position)]);
        two.insert(id("c"), bad);
        assert!(elect(&cluster, &two, &view([]), true).is_err());
    }
    let two = promises(&[("b", position), ("c", position)]);
    assert!(elect(&cluster, &two, &view([]), true).is_ok());
    cluster.members.get_mut(&id("c")).unwrap().standing = Standing::Recovering;
    assert!(elect(&cluster, &two, &view([]), true).is_err());
}

#[test]
fn the_log_refuses_what_a_buggy_leader_claims() {
    let quorum = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let two = promises(&[("b", at(2, 20)), ("c", at(2, 30))]);
    let counted = |names: &[&str]| FenceProof::Quorum {
        counted: names.iter().map(|name| id(name)).collect(),
    };
    for (candidate, proof) in [
        ("c", counted(&["c"])),
        ("c", counted(&["c", "a"])),
        ("a", counted(&["b", "c"])),
        ("b", counted(&["b", "c"])),
        ("c", FenceProof::LeaseLapsed),
        ("c", FenceProof::OldPrimaryPromised),
        ("c", FenceProof::Created),
    ] {
        assert!(
            check(&quorum, &two, &id(candidate), &proof).is_err(),
            "{candidate} {proof:?}"
        );
    }
    assert_eq!(
        check(&quorum, &two, &id("c"), &counted(&["b", "c"])),
        Ok(at(2, 30))
    );
}

#[test]
fn an_async_cluster_waits_for_every_lease() {
    let cluster = cluster(&["a", "b", "c"], Durability::Async);
    let two = promises(&[("b", at(2, 20)), ("c", at(2, 30))]);
    let mut view = view([]);
    assert_eq!(
        elect(&cluster, &two, &view, true),
        Err(Reason::LeaseMayBeHeld { by: vec![id("a")] })
    );
    view.now = Timestamp(view.leases_lapse_at.0 + 1);
    assert_eq!(
        elect(&cluster, &two, &view, true),
        Ok((id("c"), FenceProof::LeaseLapsed))
    );
    let all = promises(&[("a", at(2, 40)), ("b", at(2, 20)), ("c", at(2, 30))]);
    assert_eq!(
        elect(&cluster, &all, &view, true),
        Ok((id("a"), FenceProof::OldPrimaryPromised))
    );
}

#[test]
fn strict_reads_wait_for_every_lease() {
    let mut cluster = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let two = promises(&[("b", at(2, 20)), ("c", at(2, 30))]);
    let mut view = view([]);
    assert!(elect(&cluster, &two, &view, true).is_ok());
    cluster.reads = Reads::Strict;
    let held = Err(Reason::LeaseMayBeHeld { by: vec![id("a")] });
    assert_eq!(elect(&cluster, &two, &view, true), held);
    let all = promises(&[("a", at(2, 40)), ("b", at(2, 20)), ("c", at(2, 30))]);
    assert_eq!(elect(&cluster, &all, &view, true).unwrap().0, id("c"));
    view.now = Timestamp(view.leases_lapse_at.0 + 1);
    assert_eq!(elect(&cluster, &two, &view, true).unwrap().0, id("c"));
}

#[test]
fn an_async_cluster_leaves_aside_what_lies_on_a_disk_that_fails() {
    let cluster = cluster(&["a", "b", "c"], Durability::Async);
    let all = promises(&[("a", at(2, 99)), ("b", at(2, 20)), ("c", at(2, 30))]);
    let full = |name: &str, lasts| {
        let trouble = DiskTrouble {
            lasts: Duration::from_secs(lasts),
            still_for: Duration::ZERO,
            refusal: Some("no space left".to_owned()),
        };
        let mut report = primary(&cluster, name);
        report.disk = Some(trouble);
        report
    };
    let elected = |view: &View| elect(&cluster, &all, view, true).unwrap();
    assert_eq!(elected(&view([("a", full("a", 1))])).0, id("a"), "busy");
    let (candidate, proof) = elected(&view([("a", full("a", 9))]));
    assert_eq!(candidate, id("c"));
    assert_eq!(check(&cluster, &all, &candidate, &proof), Ok(at(2, 30)));
    // Nobody who was sent more is passed over, whatever becomes of its disk.
    let both = view([("a", full("a", 9)), ("c", full("c", 9))]);
    assert_eq!(elected(&both).0, id("c"));
    assert!(check(&cluster, &all, &id("b"), &proof).is_err());
}

#[test]
fn among_equals_one_that_can_write_is_elected() {
    let quorum = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let two = promises(&[("b", at(2, 20)), ("c", at(2, 20))]);
    let mut full = primary(&quorum, "b");
    full.disk = Some(DiskTrouble {
        lasts: Duration::from_secs(1),
        still_for: Duration::ZERO,
        refusal: None,
    });
    let seen = view([("b", full)]);
    assert_eq!(elect(&quorum, &two, &view([]), true).unwrap().0, id("b"));
    assert_eq!(elect(&quorum, &two, &seen, true).unwrap().0, id("c"));
}

/// A view in which operators said this of these.
fn ruled(rules: &[(&str, PromotionRule)]) -> View {
    let mut view = view([]);
    let until = None;
    let rules = rules.iter();
    view.directives.rules = rules
        .map(|(name, rule)| (id(name), Ruled { rule: *rule, until }))
        .collect();
    view
}

#[test]
fn a28_among_equals_whom_operators_prefer_is_elected_and_never_one_that_holds_less() {
    use PromotionRule::{Prefer, PreferNot};
    let quorum = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let equal = promises(&[("b", at(2, 20)), ("c", at(2, 20))]);
    let elected = |of, view: &View| elect(&quorum, of, view, true).unwrap().0;
    assert_eq!(elected(&equal, &ruled(&[])), id("b"));
    assert_eq!(elected(&equal, &ruled(&[("c", Prefer)])), id("c"));
    assert_eq!(elected(&equal, &ruled(&[("b", PreferNot)])), id("c"));
    let behind = promises(&[("b", at(2, 21)), ("c", at(2, 20))]);
    let rules = ruled(&[("c", Prefer), ("b", PreferNot)]);
    assert_eq!(elected(&behind, &rules), id("b"));
}

#[test]
fn a28_who_must_not_be_promoted_never_is_and_nothing_acknowledged_is_lost_for_it() {
    let rules = ruled(&[("c", PromotionRule::MustNot)]);
    let must_not = || Reason::MustNot {
        instances: vec![id("c")],
    };
    let quorum = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let equal = promises(&[("b", at(2, 20)), ("c", at(2, 20))]);
    assert_eq!(elect(&quorum, &equal, &rules, true).unwrap().0, id("b"));
    // b may lack what a acknowledged and c has.
    let behind = promises(&[("b", at(2, 19)), ("c", at(2, 20))]);
    assert_eq!(elect(&quorum, &behind, &rules, true), Err(must_not()));
    // With the promise of the old primary two are enough without c.
    let all = promises(&[("a", at(2, 20)), ("b", at(2, 19)), ("c", at(2, 20))]);
    let (candidate, proof) = elect(&quorum, &all, &rules, true).unwrap();
    assert_eq!(candidate, id("a"));
    assert!(check(&quorum, &all, &candidate, &proof).is_ok());

    let asynchronous = cluster(&["a", "b", "c"], Durability::Async);
    let mut late = rules.clone();
    late.now = late.leases_lapse_at.after(Duration::from_millis(1));
    assert_eq!(elect(&asynchronous, &behind, &late, true), Err(must_not()));
    let (candidate, proof) = elect(&asynchronous, &equal, &late, true).unwrap();
    assert_eq!(candidate, id("b"));
    assert!(check(&asynchronous, &equal, &candidate, &proof).is_ok());
}
