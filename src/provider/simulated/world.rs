//! The instances, and how WAL spreads among them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    Address, InstanceFacts, Lineage, Lsn, Position, ReplicaFacts, ReplicationStatus, Role,
    SourceFacts, SyncPolicy, SyncState, SystemIdentifier, Timeline, Timestamp, WalPosition,
};

/// A source that was silent for longer is not heard.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// What became of a client's commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was acknowledged.
    Acknowledged,
    /// It waits for standbys.
    Waits,
    /// It was refused as read-only.
    Refused,
    /// Nobody answers.
    Silence,
}

/// What its process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Runs,
    Frozen,
    Dead,
}

/// One server.
#[derive(Debug)]
pub(super) struct Instance {
    pub system: SystemIdentifier,
    pub state: State,
    pub application_name: String,
    /// Whom it follows, even while it is detached; a primary follows nobody.
    pub follows: Option<Address>,
    pub is_detached: bool,
    pub is_paused: bool,
    pub is_read_only: bool,
    pub sync: SyncPolicy,
    /// Commits that wait.
    waiting: u32,
    pub lineage: Lineage,
    /// What is on its disk; on a primary all that it wrote.
    pub received: Lsn,
    pub applied: Lsn,
    heard_at: Timestamp,
    caught_up_at: Timestamp,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct World {
    now: Timestamp,
    pub instances: BTreeMap<Address, Instance>,
}

impl Instance {
    pub fn role(&self) -> Role {
        match (&self.follows, self.is_detached) {
            (None, _) => Role::Primary,
            (Some(_), true) => Role::Detached,
            (Some(_), false) => Role::Standby,
        }
    }

    /// The end of what it has.
    pub fn end(&self) -> WalPosition {
        WalPosition {
            timeline: self.lineage.current,
            lsn: self.received,
        }
    }

    pub fn sync_state(&self) -> SyncState {
        let list = |n: u8, of: &mut dyn Iterator<Item = &String>| {
            format!("{n} of {}", of.cloned().collect::<Vec<_>>().join(", "))
        };
        SyncState {
            policy: Some(self.sync.clone()),
            text: match &self.sync {
                SyncPolicy::Any { n, of } => list(*n, &mut of.iter()),
                SyncPolicy::First { n, of } => list(*n, &mut of.iter()),
                SyncPolicy::Async | SyncPolicy::SemiSync { .. } => String::new(),
            },
            commits_wait: true,
            weak: vec![],
            waiting: self.waiting,
        }
    }
}

impl World {
    pub fn at(&mut self, address: &Address) -> &mut Instance {
        let found = self.instances.get_mut(address);
        found.expect("it was found to answer")
    }

    pub fn add_primary(&mut self, at: &Address) {
        let system = SystemIdentifier(self.instances.len() as u64 + 1);
        let lineage = Lineage {
            current: Timeline(1),
            left_at: BTreeMap::new(),
        };
        let primary = self.instance(system, "", None, lineage, Lsn(1));
        self.instances.insert(at.clone(), primary);
    }

    pub fn add_standby(&mut self, at: &Address, application_name: &str, source: &Address) {
        let origin = &self.instances[source];
        let (system, lineage, end) = (origin.system, origin.lineage.clone(), origin.received);
        let follows = Some(source.clone());
        let standby = self.instance(system, application_name, follows, lineage, end);
        self.instances.insert(at.clone(), standby);
    }

    fn instance(
        &self,
        system: SystemIdentifier,
        application_name: &str,
        follows: Option<Address>,
        lineage: Lineage,
        end: Lsn,
    ) -> Instance {
        Instance {
            system,
            state: State::Runs,
            application_name: application_name.to_owned(),
            follows,
            is_detached: false,
            is_paused: false,
            is_read_only: false,
            sync: SyncPolicy::Async,
            waiting: 0,
            lineage,
            received: end,
            applied: end,
            heard_at: self.now,
            caught_up_at: self.now,
        }
    }

    pub fn set(&mut self, at: &Address, state: State) {
        self.at(at).state = state;
        self.spread();
    }

    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
        self.spread();
    }

    pub fn write(&mut self, at: &Address) -> Written {
        let it = self.at(at);
        if it.state != State::Runs {
            return Written::Silence;
        }
        if it.is_read_only || it.role() != Role::Primary {
            return Written::Refused;
        }
        it.received.0 += 1;
        it.applied = it.received;
        it.waiting += 1;
        self.spread();
        match self.instances[at].waiting {
            0 => Written::Acknowledged,
            _ => Written::Waits,
        }
    }

    /// Ends recovery on a timeline that nobody has used.
    pub fn promote(&mut self, at: &Address) {
        let used = self.instances.values().map(|it| it.lineage.current).max();
        let it = self.at(at);
        let left = it.lineage.current;
        it.lineage.left_at.insert(left, it.received);
        it.lineage.current = used.unwrap_or(left).next();
        it.applied = it.received;
        (it.follows, it.is_detached, it.is_paused, it.is_read_only) = (None, false, false, false);
    }

    /// Whether WAL flows to `at` now: it wants it, its source runs, and what it has is a part of the source's history.
    fn streams(&self, at: &Address) -> bool {
        let it = &self.instances[at];
        let Some(source) = it.follows.as_ref().and_then(|to| self.instances.get(to)) else {
            return false;
        };
        let both_run = it.state == State::Runs && source.state == State::Runs;
        let goes_on = source.end() >= it.end();
        both_run && !it.is_detached && source.lineage.contains(it.end()) && goes_on
    }

    /// Lets everything arrive that can.
    pub fn spread(&mut self) {
        let all: Vec<Address> = self.instances.keys().cloned().collect();
        let follows = |at: &&Address| self.instances[*at].follows.is_some();
        let standbys: Vec<Address> = all.iter().filter(follows).cloned().collect();
        // As often as a chain of cascades may be long.
        for _ in 0..all.len() {
            for at in &standbys {
                if self.streams(at) {
                    self.receive(at);
                }
                let now = self.now;
                let it = self.at(at);
                if it.state == State::Runs && !it.is_paused {
                    it.applied = it.received;
                }
                if it.applied == it.received {
                    it.caught_up_at = now;
                }
            }
        }
        for at in &all {
            if self.is_acknowledged(at) {
                self.at(at).waiting = 0;
            }
        }
    }

    fn receive(&mut self, at: &Address) {
        let source = self.instances[at].follows.clone();
        let source = &self.instances[&source.expect("it streams from somebody")];
        let (lineage, end, now) = (source.lineage.clone(), source.received, self.now);
        let it = self.at(at);
        (it.lineage, it.received, it.heard_at) = (lineage, end, now);
    }

    fn replicas(&self, of: &Address) -> impl Iterator<Item = &Instance> {
        let follows = move |(at, it): &(&Address, &Instance)| {
            it.follows.as_ref() == Some(of) && self.streams(at)
        };
        self.instances.iter().filter(follows).map(|(_, it)| it)
    }

    /// Whether the standbys have all that the policy at `at` asks for.
    pub fn is_acknowledged(&self, at: &Address) -> bool {
        let there = |name: &String| self.replicas(at).any(|it| it.application_name == *name);
        let (n, found) = match &self.instances[at].sync {
            SyncPolicy::Async | SyncPolicy::SemiSync { .. } => return true,
            SyncPolicy::Any { n, of } => (*n, of.iter().filter(|name| there(name)).count()),
            SyncPolicy::First { n, of } => (*n, of.iter().filter(|name| there(name)).count()),
        };
        found >= usize::from(n)
    }

    pub fn status(&self, it: &Instance) -> ReplicationStatus {
        let in_recovery = it.role().is_in_recovery();
        let silent_for = self.now.since(it.heard_at);
        let hears = in_recovery && !it.is_detached && silent_for <= HEARD_WITHIN;
        let applies = in_recovery && !it.is_paused;
        let is_caught_up = hears && it.applied == it.received;
        let at = |lsn| {
            Some(Position::Wal(WalPosition {
                timeline: it.lineage.current,
                lsn,
            }))
        };
        ReplicationStatus {
            replica_running: hears && applies,
            sql_thread_running: applies,
            io_thread_running: hears,
            position: it.received.to_string(),
            lag: match (in_recovery, hears, is_caught_up) {
                (false, _, _) | (true, true, true) => 0,
                (true, false, _) => -1,
                (true, true, false) => self.now.since(it.caught_up_at).as_secs() as i64,
            },
            received: at(it.received).filter(|_| in_recovery),
            applied: at(it.applied),
            receiver_silent_for_ms: hears.then_some(silent_for.as_millis() as u64),
            apply_paused: in_recovery && it.is_paused,
            caught_up: in_recovery.then_some(is_caught_up),
        }
    }

    pub fn facts(&self, address: &Address, it: &Instance) -> InstanceFacts {
        let sync_state = |replica: &Instance| match &it.sync {
            SyncPolicy::Any { of, .. } if of.contains(&replica.application_name) => "quorum",
            SyncPolicy::First { of, .. } if of.contains(&replica.application_name) => "sync",
            _ => "async",
        };
        let replica = |replica: &Instance| ReplicaFacts {
            application_name: replica.application_name.clone(),
            host: Some("127.0.0.1".to_owned()),
            state: "streaming".to_owned(),
            sync_state: sync_state(replica).to_owned(),
            flushed: Some(replica.received),
            replayed: Some(replica.applied),
        };
        let source = it.follows.as_ref().filter(|_| !it.is_detached);
        InstanceFacts {
            address: address.clone(),
            own_port: address.port,
            // One address, one server.
            started: u64::from(address.port),
            copy: None,
            system: it.system,
            version: "1".to_owned(),
            role: it.role(),
            timeline: Some(it.lineage.current),
            status: self.status(it),
            source: source.map(|source| SourceFacts {
                address: source.clone(),
                application_name: it.application_name.clone(),
                user: "replication".to_owned(),
                slot: Some(it.application_name.clone()),
            }),
            replicas: self.replicas(address).map(replica).collect(),
            unused_slots: vec![],
            read_only_default: it.is_read_only,
            sync: it.sync_state(),
            can_be_rewound: true,
            receiver_timeout: Some(HEARD_WITHIN),
            log: None,
            observed_at: self.now,
        }
    }
}
