use super::super::example;
use super::*;
use crate::model::{LogEnds, Lsn, Position, Role, Timestamp};

fn look(at: u64, outcome: Outcome) -> Look {
    Look {
        at: Timestamp(at),
        outcome,
    }
}

#[test]
fn one_look_is_no_death_and_any_answer_is_life() {
    let gone = || Outcome::Gone("refused".to_owned());
    let refused = || Outcome::Refused("53300".to_owned());
    let mut seen = SqlSighting::default();
    assert_eq!(seen.opinion(Timestamp(0)), Opinion::Unsure);
    seen.note(look(100, gone()));
    assert_eq!(seen.opinion(Timestamp(120)), Opinion::Unsure);
    seen.note(look(120, gone()));
    assert_eq!(seen.opinion(Timestamp(120)), Opinion::Unsure, "too soon");
    seen.note(look(150, gone()));
    assert_eq!(seen.opinion(Timestamp(150)), Opinion::Gone);
    assert_eq!(seen.opinion(Timestamp(9150)), Opinion::Unsure, "stale");
    seen.note(look(200, refused()));
    assert_eq!(seen.opinion(Timestamp(200)), Opinion::Lives);
    seen.note(look(300, gone()));
    assert_eq!(seen.opinion(Timestamp(300)), Opinion::Unsure, "anew");
    seen.note(look(400, Outcome::Unclear("broke off".to_owned())));
    seen.note(look(450, gone()));
    assert_eq!(seen.opinion(Timestamp(450)), Opinion::Unsure);
}

#[test]
fn a_refusal_is_news_once_and_nobody_there_each_time() {
    let refused = |words: &str| Outcome::Refused(words.to_owned());
    let gone = || Outcome::Gone("refused".to_owned());
    let mut seen = SqlSighting::default();
    for (at, outcome, is_news) in [
        (0, refused("53300"), true),
        (1, refused("53300"), false),
        (2, refused("57P03"), true),
        (3, gone(), true),
        (4, gone(), true),
        (5, Outcome::Unclear("broke off".to_owned()), true),
        (6, Outcome::Unclear("broke off".to_owned()), false),
    ] {
        assert_eq!(
            seen.note(look(at, outcome.clone())),
            is_news,
            "{at} {outcome:?}"
        );
    }
}

#[test]
fn the_weaker_of_two_rules() {
    let any = |acks, names: &[&str]| SyncRule::Any {
        acks,
        voters: names
            .iter()
            .map(|name| InstanceId::new(name).unwrap())
            .collect(),
        unknown: 0,
    };
    let both = any(2, &["a", "b"]).or(&any(1, &["b", "c"]));
    assert_eq!(both, any(1, &["a", "b", "c"]));
    assert_eq!(any(1, &["a"]).or(&SyncRule::Async), SyncRule::Async);
}

/// A standby that applied up to `lsn`, of the server that started then, over the copy of that mark.
fn standby(started: u64, mark: u64, lsn: u64) -> Outcome {
    let mut facts = example::facts("s1");
    facts.role = Role::Standby;
    (facts.started, facts.copy) = (started, Some(example::mark(mark)));
    let at = Some(Position::Wal(example::at(1, lsn)));
    (facts.status.received, facts.status.applied) = (at.clone(), at);
    Outcome::Facts(facts.into())
}

#[test]
fn it_is_the_same_since_the_second_look_that_showed_it() {
    let mut seen = SqlSighting::default();
    for (at, outcome, since) in [
        (100, standby(1, 1, 10), None),
        (200, standby(1, 1, 10), Some(200)),
        (300, Outcome::Gone(String::new()), Some(200)),
        (400, standby(1, 1, 20), Some(200)),
        (500, standby(2, 1, 20), None),
        (600, standby(2, 1, 20), Some(600)),
        // Nothing is replaced below a server that runs.
        (700, standby(2, 2, 20), Some(600)),
    ] {
        seen.note(look(at, outcome));
        assert_eq!(seen.same_since, since.map(Timestamp), "{at}");
    }
}

/// A primary that has written up to `lsn`, of the server that started then.
fn primary(started: u64, lsn: u64) -> Outcome {
    let mut facts = example::facts("p");
    facts.started = started;
    facts.status.applied = Some(Position::Wal(example::at(1, lsn)));
    let (inserted, flushed) = (Lsn(lsn), Lsn(lsn - 1));
    facts.log = Some(LogEnds { inserted, flushed });
    Outcome::Facts(facts.into())
}

#[test]
fn the_first_end_of_a_primary_since_then_stays_the_goal() {
    let mut all = BTreeMap::new();
    let (p, s1) = (example::id("p"), example::id("s1"));
    let mut check = |at, of: &InstanceId, outcome, goal: Option<u64>| {
        note(&mut all, of, look(at, outcome));
        let found = all.get(&s1).and_then(|it| it.goals.get(&p));
        assert_eq!(found, goal.map(|lsn| example::at(1, lsn)).as_ref(), "{at}");
    };
    check(100, &s1, standby(1, 1, 10), None);
    check(110, &p, primary(1, 50), None);
    check(200, &s1, standby(1, 1, 10), None);
    // A look that began before says nothing of what was there then.
    check(199, &p, primary(1, 60), None);
    check(200, &p, primary(1, 70), Some(70));
    // However long it takes to come as far.
    for at in 1..1_000 {
        check(200 + at, &p, primary(1, 70 + at), Some(70));
        check(200 + at, &s1, standby(1, 1, 10), Some(70));
    }
    // Another start of the primary is another end, and another one of the standby another copy.
    check(2_000, &p, primary(2, 900), Some(900));
    check(2_100, &p, primary(2, 910), Some(900));
    check(2_200, &s1, standby(2, 1, 10), None);
}

#[test]
fn what_was_watched_through_its_starts_is_known_to_have_been() {
    let mut seen = SqlSighting::default();
    seen.note(look(100, standby(1, 1, 50)));
    seen.note(look(200, standby(2, 1, 50)));
    assert!(seen.is_watched_since(1) && seen.is_watched_since(2) && !seen.is_watched_since(0));
    seen.note(look(300, standby(3, 2, 50)));
    assert!(!seen.is_watched_since(2), "another copy");
    // One whose copy cannot be told from the next is another one after each start.
    let unmarked = |started| {
        let Outcome::Facts(facts) = standby(started, 1, 50) else {
            unreachable!("it is one")
        };
        let mut facts = (*facts).clone();
        facts.copy = None;
        Outcome::Facts(facts.into())
    };
    seen.note(look(400, unmarked(3)));
    assert!(seen.is_watched_since(3));
    seen.note(look(500, unmarked(4)));
    assert!(!seen.is_watched_since(3));
    for started in 5..20 {
        seen.note(look(600, standby(started, 1, 50)));
    }
    assert!(!seen.is_watched_since(5), "too long ago");
}

#[test]
fn what_a_primary_has_flushed_it_holds_as_a_standby() {
    let mut seen = SqlSighting::default();
    seen.note(look(100, primary(1, 50)));
    seen.note(look(200, standby(2, 1, 40)));
    assert_eq!(seen.fell_from(example::at(1, 48)), Some(example::at(1, 49)));
    assert_eq!(seen.fell_from(example::at(1, 49)), None);
}

#[test]
fn what_was_received_counts_before_it_is_applied_up_to_the_end_of_a_record() {
    // Its replay is delayed.
    let behind = |started, lsn, received| {
        let Outcome::Facts(facts) = standby(started, 1, lsn) else {
            unreachable!("it is one")
        };
        let mut facts = (*facts).clone();
        facts.status.received = Some(Position::Wal(example::at(1, received)));
        Outcome::Facts(facts.into())
    };
    let mut seen = SqlSighting::default();
    seen.note(look(100, behind(1, 40, 5_000)));
    assert_eq!(
        seen.fell_from(example::at(1, 4_000)),
        Some(example::at(1, 5_000))
    );
    assert_eq!(seen.fell_from(example::at(1, 5_000)), None);
    // The record that crosses the end of a page may not be whole, and then it is not there after a start.
    seen.note(look(200, behind(1, 40, 8_192)));
    assert_eq!(seen.fell_from(example::at(1, 5_000)), None);
    seen.note(look(300, behind(1, 8_192, 8_192)));
    assert!(seen.fell_from(example::at(1, 8_191)).is_some(), "applied");
}

#[test]
fn what_holds_less_than_it_applied_was_restored() {
    let mut seen = SqlSighting::default();
    seen.note(look(100, standby(1, 1, 50)));
    seen.note(look(200, standby(2, 1, 40)));
    assert_eq!(seen.fell_from(example::at(1, 40)), Some(example::at(1, 50)));
    assert_eq!(seen.fell_from(example::at(1, 50)), None);
    assert_eq!(seen.fell_from(example::at(2, 40)), None, "incomparable");
    // Another copy is known by its mark.
    seen.note(look(300, standby(3, 2, 40)));
    assert_eq!(seen.fell_from(example::at(1, 40)), None);
}
