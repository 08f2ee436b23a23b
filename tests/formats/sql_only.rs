//! What is replicated of clusters without agents: one that is adopted, fails over, and is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use primacy::model::{
    Address, ClusterName, CopyMark, Epoch, FenceDemand, InstanceId, Lineage, Lsn, Order, SqlCopy,
    SqlMember, SyncRule, SystemIdentifier, Timeline, WalPosition,
};
use primacy::recovery::sql_only::{SqlEvidence, SqlProof};
use primacy::state::{Adopted, Entry, FeatureLevel, Observed, SqlChange, SqlCommand};

fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn member(name: &str) -> SqlMember {
    SqlMember {
        address: Address {
            host: format!("db-{name}"),
            port: 5432,
        },
        application_name: Some(name.to_owned()),
    }
}

fn adopt() -> SqlChange {
    SqlChange::Adopt(Adopted {
        system: SystemIdentifier(9),
        fence: FenceDemand::Courtesy,
        members: ["p", "s1", "s2"]
            .map(|name| (id(name), member(name)))
            .into(),
        rule: SyncRule::Any {
            acks: 1,
            voters: BTreeSet::from([id("s1"), id("s2")]),
            unknown: 0,
        },
        primary: id("p"),
        lineage: Lineage {
            current: Timeline(3),
            left_at: BTreeMap::new(),
        },
    })
}

fn changes() -> Vec<(&'static str, SqlChange)> {
    let order = |epoch, number| Order {
        epoch: Epoch(epoch),
        number,
    };
    let position = WalPosition {
        timeline: Timeline(3),
        lsn: Lsn(0x0123_4567_89AB),
    };
    let record = |epoch, evidence| SqlChange::Record {
        order: order(epoch, 1),
        evidence,
    };
    let observe = |number, observed| SqlChange::Observe {
        order: order(1, number),
        observed,
    };
    let begin = |seen, named| SqlChange::Begin {
        seen: Epoch(seen),
        cause: "why".to_owned(),
        named,
    };
    let revoked = |name: &str, position| SqlEvidence::Revoked {
        instance: id(name),
        position,
    };
    let lineage = Lineage {
        current: Timeline(4),
        left_at: BTreeMap::from([(Timeline(3), position.lsn)]),
    };
    let counted = BTreeSet::from([id("s1"), id("s2")]);
    let quieted = SqlEvidence::Quieted {
        instance: id("p"),
        position,
    };
    let instance = || id("s1");
    let mut changes = vec![
        ("sql_adopt", adopt()),
        (
            "sql_member",
            observe(
                1,
                Observed::Member {
                    instance: id("s3"),
                    member: member("s3"),
                },
            ),
        ),
        (
            "sql_rule",
            observe(
                2,
                Observed::Rule {
                    rule: SyncRule::Unclear {
                        why: "why".to_owned(),
                    },
                },
            ),
        ),
        (
            "sql_rule_again",
            observe(
                3,
                Observed::Rule {
                    rule: SyncRule::Any {
                        acks: 1,
                        voters: counted.clone(),
                        unknown: 0,
                    },
                },
            ),
        ),
        ("sql_switchover", begin(1, Some(id("s1")))),
        ("sql_quieted", record(2, quieted)),
        (
            "sql_abandon",
            SqlChange::Abandon {
                epoch: Epoch(2),
                why: "why".to_owned(),
            },
        ),
        (
            "sql_unquieted",
            record(2, SqlEvidence::Unquieted { instance: id("p") }),
        ),
        ("sql_begin", begin(2, None)),
        ("sql_revoked", record(3, revoked("s1", Some(position)))),
        ("sql_revoked_too", record(3, revoked("s2", Some(position)))),
        ("sql_unknown_end", record(3, revoked("s3", None))),
        (
            "sql_elected",
            record(
                3,
                SqlEvidence::Elected {
                    candidate: instance(),
                    proof: SqlProof::Quorum { counted },
                    serves: SyncRule::Async,
                },
            ),
        ),
        (
            "sql_promoted",
            record(
                3,
                SqlEvidence::Promoted {
                    instance: instance(),
                    lineage: lineage.clone(),
                },
            ),
        ),
        (
            "sql_following",
            record(3, SqlEvidence::Following { instance: id("s2") }),
        ),
        (
            "sql_primary",
            SqlChange::Observe {
                order: order(3, 7),
                observed: Observed::Primary {
                    instance: id("s2"),
                    lineage: lineage.clone(),
                },
            },
        ),
    ];
    changes.extend(in_vain(&lineage));
    changes.push(("sql_forget", SqlChange::Forget));
    changes
}

/// `s1` is told to become the primary where nothing is waited for, `s2` is seen to be it, and `s1` to follow.
fn in_vain(lineage: &Lineage) -> [(&'static str, SqlChange); 8] {
    let order = |epoch, number| Order {
        epoch: Epoch(epoch),
        number,
    };
    let observe = |order, observed| SqlChange::Observe { order, observed };
    let record = |evidence| SqlChange::Record {
        order: order(5, 1),
        evidence,
    };
    let rule = SyncRule::Async;
    let begin = SqlChange::Begin {
        seen: Epoch(4),
        cause: "why".to_owned(),
        named: None,
    };
    let revoked = SqlEvidence::Revoked {
        instance: id("s1"),
        position: Some(WalPosition {
            timeline: lineage.current,
            lsn: Lsn(0x0123_4567_89AB),
        }),
    };
    let elected = SqlEvidence::Elected {
        candidate: id("s1"),
        proof: SqlProof::BestOf {
            counted: BTreeSet::from([id("s1")]),
        },
        serves: SyncRule::Async,
    };
    let abandon = SqlChange::Abandon {
        epoch: Epoch(5),
        why: "why".to_owned(),
    };
    let primary = Observed::Primary {
        instance: id("s2"),
        lineage: lineage.clone(),
    };
    let standby = Observed::Standby { instance: id("s1") };
    let stray = Observed::Stray { instance: id("s1") };
    [
        (
            "sql_rule_async",
            observe(order(4, 1), Observed::Rule { rule }),
        ),
        ("sql_begin_again", begin),
        ("sql_revoked_again", record(revoked)),
        ("sql_elected_best", record(elected)),
        ("sql_abandon_told", abandon),
        ("sql_primary_again", observe(order(5, 4), primary)),
        ("sql_standby", observe(order(6, 1), standby)),
        ("sql_stray", observe(order(6, 2), stray)),
    ]
}

/// Every entry about clusters without agents, and before them the level at which they are understood.
pub fn entries() -> Vec<(&'static str, Entry)> {
    let of = |(name, change)| {
        let command = SqlCommand {
            cluster: ClusterName::new("sql").unwrap(),
            at: 1_700_000_000_000,
            change,
        };
        (name, Entry::Sql(command))
    };
    let level = FeatureLevel::try_from(2).unwrap();
    let raise = ("raise_to_2", Entry::Raise(level));
    [raise]
        .into_iter()
        .chain(changes().into_iter().map(of))
        .collect()
}

/// Of which copies of the data the members of one are, and before them the level at which that is understood.
pub fn copies() -> Vec<(&'static str, Entry)> {
    let of = |(name, change)| {
        let command = SqlCommand {
            cluster: ClusterName::new("copies").unwrap(),
            at: 1_700_000_000_000,
            change,
        };
        (name, Entry::Sql(command))
    };
    let copy = |number, name, mark, is_proven| SqlChange::Observe {
        order: Order {
            epoch: Epoch(1),
            number,
        },
        observed: Observed::Copy {
            instance: id(name),
            copy: SqlCopy {
                mark,
                started: 1_700_000_000_000_000,
                is_proven,
            },
        },
    };
    let mark = Some(CopyMark {
        changed: 1_700_000_000,
        written: 1_690_000_000,
    });
    let changes = [
        ("sql_adopt_again", adopt()),
        ("sql_copy", copy(1, "s1", mark, true)),
        ("sql_copy_unmarked", copy(2, "s2", None, false)),
    ];
    let level = FeatureLevel::try_from(4).unwrap();
    let raise = ("raise_to_4", Entry::Raise(level));
    [raise].into_iter().chain(changes.map(of)).collect()
}

/// A state of level 1 is written as a build of that level reads it.
#[test]
fn below_its_level_nothing_of_it_is_written() {
    use primacy::state::State;
    let mut state = State::default();
    let before = crate::sealed(&state).len();
    state.apply_entry(Entry::Raise(FeatureLevel::try_from(2).unwrap()));
    assert!(crate::sealed(&state).len() > before);
}

#[test]
fn every_change_of_it_is_taken() {
    use primacy::state::{Answer, State};
    let mut state = State::default();
    for (name, entry) in entries() {
        let answer = state.apply_entry(entry);
        if let Answer::Cluster(reply) = answer {
            assert!(reply.is_ok(), "{name}: {reply:?}");
        }
    }
}
