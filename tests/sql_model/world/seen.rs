//! What the leader sees of the world.

use primacy::model::sql_only::{Look, Outcome, SqlSighting};
use primacy::model::{
    CopyMark, Failure, InstanceFacts, Lsn, Position, ReplicaFacts, ReplicationStatus, Role,
    SourceFacts, SqlView, SyncPolicy, SyncState, SystemIdentifier, Timeline, Timestamp,
};

use super::{NAMES, PEERS, PRIMARY, STANDBY, World, address, id};

impl World {
    /// What the leader, the first peer, sees now. It remembers nothing of before but the goals of copies that are not proven: it
    /// may have begun to lead just now.
    pub(super) fn view(&self) -> SqlView {
        let now = Timestamp(1_000_000);
        let mut view = SqlView {
            now,
            peers: PEERS,
            may_record_copies: true,
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
                // What was told to promote has done it or never will once time enough has passed.
                seen.same_since = Some(match self.servers[it].is_told {
                    true => now,
                    false => Timestamp(0),
                });
                seen.goals = self.goals[it]
                    .map(|(of, end)| (id(of), end))
                    .into_iter()
                    .collect();
                seen.failure = self
                    .failed
                    .filter(|(at, _)| *at == it)
                    .map(|(_, order)| Failure {
                        order,
                        at: now,
                        reason: String::new(),
                        backs: false,
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

    pub(super) fn facts(&self, it: usize) -> InstanceFacts {
        let server = &self.servers[it];
        let role = match server.role {
            PRIMARY => Role::Primary,
            STANDBY => Role::Standby,
            _ => Role::Detached,
        };
        let at = Some(Position::Wal(server.end()));
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
            started: it as u64 + 10 * server.starts,
            copy: self.bounds.sees_marks.then_some(CopyMark {
                changed: 100 * server.copy + server.touched,
                written: server.copy,
            }),
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
            replicas: self.replicas(it),
            unused_slots: vec![],
            read_only_default: server.is_quiet,
            sync: SyncState {
                policy: Some(match server.names.is_empty() {
                    false => SyncPolicy::Any {
                        n: 1,
                        of: server
                            .names
                            .iter()
                            .map(|it| NAMES[*it].to_owned())
                            .collect(),
                    },
                    true => SyncPolicy::Async,
                }),
                text: String::new(),
                commits_wait: true,
                weak: vec![],
                waiting: 0,
            },
            can_be_rewound: true,
            receiver_timeout: None,
            log: None,
            observed_at: Timestamp(0),
        }
    }

    fn replicas(&self, of: usize) -> Vec<ReplicaFacts> {
        let streams = |it: &usize| self.servers[*it].follows == of && self.streams(*it);
        let replica = |it: usize| ReplicaFacts {
            application_name: NAMES[it].to_owned(),
            host: None,
            state: "streaming".to_owned(),
            sync_state: match self.servers[of].names.contains(&it) {
                true => "quorum",
                false => "async",
            }
            .to_owned(),
            flushed: Some(Lsn(self.servers[it].wal.len() as u64)),
            replayed: None,
        };
        (0..3).filter(streams).map(replica).collect()
    }
}
