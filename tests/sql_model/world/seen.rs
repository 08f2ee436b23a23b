//! What the leader sees of the world.

use std::collections::BTreeSet;

use primacy::model::sql_only::{Look, Outcome, SqlSighting};
use primacy::model::{
    InstanceFacts, Lsn, Position, ReplicationStatus, Role, SourceFacts, SqlView, SyncPolicy,
    SyncState, SystemIdentifier, Timeline, Timestamp, WalPosition,
};

use super::{NAMES, PEERS, PRIMARY, STANDBY, World, address, id};

impl World {
    /// What the leader, the first peer, sees now.
    pub(super) fn view(&self) -> SqlView {
        let now = Timestamp(1_000_000);
        let mut view = SqlView {
            now,
            peers: PEERS,
            rule_since: None,
            // What was told to promote has done it or never will: time enough has passed.
            leaderless_since: (!self.servers.iter().any(|it| it.is_told && it.is_alive))
                .then_some(Timestamp(0)),
            ..SqlView::default()
        };
        for it in 0..3 {
            let server = &self.servers[it];
            let mut seen = SqlSighting::default();
            let is_there = |peer: usize| server.is_alive && server.reached_by[peer];
            if is_there(0) {
                seen.note(Look {
                    at: now,
                    outcome: Outcome::Facts(self.facts(it).into()),
                });
            } else {
                for at in [now.0 - 100, now.0] {
                    seen.note(Look {
                        at: Timestamp(at),
                        outcome: Outcome::Gone(String::new()),
                    });
                }
            }
            view.instances.insert(id(it), seen);
            let others = (1..PEERS).filter(|peer| !is_there(*peer)).count();
            view.gone.insert(id(it), (now, others));
        }
        view
    }

    fn facts(&self, it: usize) -> InstanceFacts {
        let server = &self.servers[it];
        let role = match server.role {
            PRIMARY => Role::Primary,
            STANDBY => Role::Standby,
            _ => Role::Detached,
        };
        let at = Some(Position::Wal(WalPosition {
            timeline: Timeline(server.timeline),
            lsn: Lsn(server.lsn),
        }));
        let hears = self.streams(it);
        let source = (role == Role::Standby).then(|| SourceFacts {
            address: address(server.follows),
            application_name: NAMES[it].to_owned(),
            user: String::new(),
            slot: None,
        });
        InstanceFacts {
            address: address(it),
            own_port: 5432,
            started: it as u64,
            system: SystemIdentifier(7),
            version: "15".to_owned(),
            role,
            timeline: Some(Timeline(server.timeline)),
            status: ReplicationStatus {
                replica_running: hears,
                sql_thread_running: role == Role::Standby,
                io_thread_running: hears,
                position: String::new(),
                lag: 0,
                received: at.clone().filter(|_| role != Role::Primary),
                applied: at,
                receiver_silent_for_ms: hears.then_some(0),
                apply_paused: role == Role::Detached,
                caught_up: None,
            },
            source,
            replicas: vec![],
            read_only_default: false,
            sync: SyncState {
                // The names of a standby that was promoted are its matter.
                policy: Some(match self.is_quorum {
                    true => SyncPolicy::Any {
                        n: 1,
                        of: BTreeSet::from(["s1".to_owned(), "s2".to_owned()]),
                    },
                    false => SyncPolicy::Async,
                }),
                text: String::new(),
                commits_wait: true,
                waiting: 0,
            },
            can_be_rewound: true,
            receiver_timeout: None,
            observed_at: Timestamp(0),
        }
    }
}
