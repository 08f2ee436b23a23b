//! What an operator's word covers, and what it does not.

use std::time::Duration;

use super::tests::promises;
use super::*;
use crate::model::example::{at, cluster, id, standby, view};
use crate::model::{Durability, Forced, Incarnation, Timeline, Timestamp};

#[test]
fn what_may_be_lost_is_an_operators_word_and_no_lease_is_cut_short_by_it() {
    let mut quorum = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    let alone = promises(&[("c", at(2, 20))]);
    let waits = view([]);
    let mut lapsed = view([]);
    lapsed.now = lapsed.leases_lapse_at.after(Duration::from_millis(1));
    let not_proven = elect(&quorum, &alone, &lapsed, true);
    assert!(matches!(not_proven, Err(Reason::NotProven { .. })));
    let counted = BTreeSet::from([id("c")]);
    let forced = FenceProof::Forced { counted };
    assert!(check(&quorum, &alone, &id("c"), &forced).is_err());

    quorum.forced = Some(Forced {
        owner: "ana".to_owned(),
        reason: "a zone is gone".to_owned(),
        until: 0,
        accepted: at(2, 20),
        patient_until: 0,
        old_is_off: false,
    });
    let alone_or_not = elect(&quorum, &alone, &lapsed, true);
    let (instance, helpers) = (id("a"), vec![id("b")]);
    let may_serve_on = Reason::MayServeOn { instance, helpers };
    assert_eq!(alone_or_not, Err(may_serve_on));
    quorum.forced.as_mut().unwrap().old_is_off = true;
    let held = elect(&quorum, &alone, &waits, true);
    assert!(matches!(held, Err(Reason::LeaseMayBeHeld { .. })));
    let elected = elect(&quorum, &alone, &lapsed, true);
    assert_eq!(elected, Ok((id("c"), forced.clone())));
    assert!(check(&quorum, &alone, &id("c"), &forced).is_ok());
    // Of two the better one; and with a quorum nothing is lost, whatever was said.
    let two = promises(&[("b", at(2, 21)), ("c", at(2, 20))]);
    assert!(check(&quorum, &two, &id("c"), &forced).is_err());
    let (candidate, proof) = elect(&quorum, &two, &waits, true).unwrap();
    assert_eq!(candidate, id("b"));
    assert!(matches!(proof, FenceProof::Quorum { .. }));
}

#[test]
fn no_word_covers_more_than_was_accepted_and_who_is_heard_is_waited_for() {
    let mut quorum = cluster(
        &["a", "b", "c", "d", "e"],
        Durability::Quorum { standbys: 1 },
    );
    quorum.forced = Some(Forced {
        owner: "ana".to_owned(),
        reason: "a zone is gone".to_owned(),
        until: 0,
        accepted: at(2, 20),
        patient_until: 0,
        old_is_off: true,
    });
    let mut lapsed = view([]);
    lapsed.now = lapsed.leases_lapse_at.after(Duration::from_millis(1));
    let counted = || FenceProof::Forced {
        counted: BTreeSet::from([id("c")]),
    };
    let elected = |at| elect(&quorum, &promises(&[("c", at)]), &lapsed, true);
    let checked = |at| check(&quorum, &promises(&[("c", at)]), &id("c"), &counted());
    assert_eq!(elected(at(2, 20)), Ok((id("c"), counted())));
    assert!(checked(at(2, 20)).is_ok());
    let more = Reason::WouldLoseMore {
        instance: id("c"),
        at: at(2, 19),
        accepted: at(2, 20),
    };
    assert_eq!(elected(at(2, 19)), Err(more));
    let refused = checked(at(2, 19)).unwrap_err();
    assert!(refused.to_string().contains("not accepted"), "{refused}");

    // Another one is heard, and has not promised: what it holds need not be lost.
    let mut heard = view([("b", standby(&quorum, "b", at(2, 30)))]);
    heard.leases_lapse_at = Timestamp::default();
    let alone = promises(&[("c", at(2, 20))]);
    heard.awaits_the_slow = true;
    let slow = elect(&quorum, &alone, &heard, true);
    let instances = vec![id("b")];
    assert_eq!(slow, Err(Reason::SlowToPromise { instances }));
    let mut unread = promises(&[("b", at(2, 30)), ("c", at(2, 20))]);
    unread.get_mut(&id("b")).unwrap().position = None;
    let slow = elect(&quorum, &unread, &heard, true);
    assert!(matches!(slow, Err(Reason::SlowToPromise { .. })));
    heard.awaits_the_slow = false;
    let elected = elect(&quorum, &alone, &heard, true);
    assert_eq!(elected, Ok((id("c"), counted())));
    // Whose data is another filling never counts.
    heard.awaits_the_slow = true;
    let b = &mut heard.instances.get_mut(&id("b")).unwrap().report;
    b.incarnation = Some(Incarnation(7));
    assert!(elect(&quorum, &alone, &heard, true).is_ok());
}

/// `c` was elected by a word at 2:10, and may have opened timeline 3 before it was given up.
#[test]
fn a_timeline_that_was_given_up_makes_nobody_the_furthest() {
    let mut quorum = cluster(&["a", "b", "c"], Durability::Quorum { standbys: 1 });
    quorum.forsaken = BTreeMap::from([(Timeline(3), at(2, 10))]);
    quorum.holders = quorum.members.keys().cloned().collect();
    let promise = |position| Promise {
        incarnation: Some(Incarnation(1)),
        position: Some(position),
        running: true,
    };
    let of_c = (id("c"), promise(at(3, 12)));
    let with_b = |lsn| BTreeMap::from([(id("b"), promise(at(2, lsn))), of_c.clone()]);
    for (lsn, best) in [(50, "b"), (9, "c")] {
        let promises = with_b(lsn);
        let (candidate, proof) = elect(&quorum, &promises, &view([]), true).unwrap();
        assert_eq!(candidate, id(best));
        assert!(matches!(proof, FenceProof::Quorum { .. }));
        let own = promises[&candidate].position.unwrap();
        assert_eq!(check(&quorum, &promises, &candidate, &proof), Ok(own));
        let other = id(if best == "b" { "c" } else { "b" });
        assert!(check(&quorum, &promises, &other, &proof).is_err());
    }
}
