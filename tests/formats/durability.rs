//! What is replicated of a durability that is changed: of a cluster of three, to more, to fewer, to none and back.

use std::collections::BTreeMap;

use primacy::model::{
    Address, ClusterName, Durability, Incarnation, InstanceId, Lineage, Lsn, Order, Reads,
    SystemIdentifier, Timeline, WalPosition, Zone,
};
use primacy::recovery::{Evidence, Grounds, Reason};
use primacy::state::command::NewMember;
use primacy::state::{Change, Command, Entry, NewCluster, NewDurability, State};

const AT: u64 = 1_700_000_000_000;

fn name() -> ClusterName {
    ClusterName::new("durable").unwrap()
}

fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn create() -> Change {
    let member = |host: &str| {
        let address = Address {
            host: host.to_owned(),
            port: 5434,
        };
        NewMember {
            address: address.clone(),
            health: address,
            zone: Zone::new("eu-a").unwrap(),
        }
    };
    Change::Create(NewCluster {
        durability: Durability::Quorum { standbys: 1 },
        reads: Reads::Fast,
        members: BTreeMap::from(["a", "b", "c"].map(|it| (id(it), member(it)))),
        first: id("a"),
    })
}

fn ask(standbys: u8) -> Change {
    Change::PlanDurability(NewDurability {
        to: match standbys {
            0 => Durability::Async,
            standbys => Durability::Quorum { standbys },
        },
        owner: "ana".to_owned(),
        reason: "why".to_owned(),
    })
}

/// Every change says what it was decided on, so each is made when those before it took effect.
struct Script {
    state: State,
    entries: Vec<(&'static str, Entry)>,
}

impl Script {
    fn order(&self) -> Order {
        self.state.clusters[&name()].order()
    }

    fn change(&mut self, word: &'static str, change: Change) {
        let entry = Entry::Cluster(Command {
            cluster: name(),
            at: AT,
            change,
        });
        self.state.apply_entry(entry.clone());
        self.entries.push((word, entry));
    }

    fn record(&mut self, word: &'static str, evidence: Evidence) {
        let order = self.order();
        self.change(word, Change::Record { order, evidence });
    }

    fn admit(&mut self, instance: &str) {
        let instance = id(instance);
        let epoch = self.order().epoch;
        let (who, cause) = (instance.clone(), "why".to_owned());
        self.change(
            "durable_rejoin",
            Change::BeginRejoin {
                epoch,
                instance: who,
                cause,
            },
        );
        let (it, why) = (instance.clone(), "why".to_owned());
        self.record(
            "durable_diverged",
            Evidence::CannotFollow { instance: it, why },
        );
        let (it, grounds) = (instance.clone(), Grounds::Uncounted { found: None });
        self.record(
            "durable_permitted",
            Evidence::RebuildPermitted {
                instance: it,
                grounds,
            },
        );
        let (it, incarnation) = (instance.clone(), Incarnation(1));
        self.record(
            "durable_rebuilt",
            Evidence::Rebuilt {
                instance: it,
                incarnation,
            },
        );
        let (it, target) = (instance.clone(), Lsn(7));
        self.record(
            "durable_located",
            Evidence::Located {
                instance: it,
                target,
            },
        );
        let flushed = at(2, 7);
        self.record("durable_admitted", Evidence::Admitted { instance, flushed });
    }

    /// The agent of the primary has put the recorded names in force.
    fn confirm(&mut self, label: &'static str) {
        let cluster = &self.state.clusters[&name()].cluster;
        let evidence = Evidence::Confirmed {
            instance: id("a"),
            synchronous_standby_names: cluster.synchronous_standby_names(&id("a")),
        };
        self.record(label, evidence);
    }
}

fn at(timeline: u32, lsn: u64) -> WalPosition {
    WalPosition {
        timeline: Timeline(timeline),
        lsn: Lsn(lsn),
    }
}

/// In the order in which each takes effect.
pub fn entries(level: Entry) -> Vec<(&'static str, Entry)> {
    let mut script = Script {
        state: State::default(),
        entries: vec![],
    };
    script.state.apply_entry(level);
    script.change("durable_create", create());
    script.record(
        "durable_initialised",
        Evidence::Initialised {
            instance: id("a"),
            identity: SystemIdentifier(12),
            position: at(1, 5),
        },
    );
    script.record(
        "durable_promoted",
        Evidence::Promoted {
            instance: id("a"),
            lineage: Lineage {
                current: Timeline(2),
                left_at: BTreeMap::from([(Timeline(1), Lsn(5))]),
            },
        },
    );
    script.record(
        "durable_first_commit",
        Evidence::FirstCommit { lsn: Lsn(6) },
    );
    script.admit("b");
    script.admit("c");
    script.change("durable_more", ask(2));
    let order = script.order();
    script.change("durable_confirming", Change::BeginConfirming { order });
    let order = script.order();
    let reason = Reason::TooFewStandbys {
        streaming: 1,
        needed: 2,
    };
    script.change("durable_stopped", Change::StopConfirming { order, reason });
    let order = script.order();
    script.change("durable_again", Change::BeginConfirming { order });
    script.confirm("durable_confirmed");
    let cluster = &script.state.clusters[&name()].cluster;
    assert_eq!(cluster.durability, Durability::Quorum { standbys: 2 });
    script.change("durable_fewer", ask(1));
    script.change("durable_none", ask(0));
    let order = script.order();
    script.change("durable_none_known", Change::BeginConfirming { order });
    script.confirm("durable_none_confirmed");
    let order = script.order();
    script.change("durable_none_lapsed", Change::RecordLapsed { order });
    let cluster = &script.state.clusters[&name()].cluster;
    assert_eq!(cluster.durability, Durability::Async);
    script.change("durable_one", ask(1));
    let order = script.order();
    script.change("durable_one_confirming", Change::BeginConfirming { order });
    script.confirm("durable_one_confirmed");
    script.change("durable_more_again", ask(2));
    let order = script.order();
    script.change(
        "durable_handover",
        Change::Begin {
            seen: order.epoch,
            cause: "why".to_owned(),
        },
    );
    script.entries
}
