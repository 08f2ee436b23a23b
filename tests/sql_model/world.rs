//! A primary `p` and two standbys; what can happen to them, and what must never.

mod directed;
mod rules;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use primacy::decision::sql_only::decide;
use primacy::model::{
    Address, ClusterName, Epoch, FenceDemand, InstanceId, Lineage, Lsn, SqlMember, SyncRule,
    SystemIdentifier, Timeline, WalPosition,
};
use primacy::recovery::sql_only::{SqlAction, SqlEvidence, SqlStep};
use primacy::state::{
    Adopted, Entry, FeatureLevel, History, Observed, SqlChange, SqlCommand, SqlState, State,
};

pub use rules::Rule;

const NAMES: [&str; 3] = ["p", "s1", "s2"];
/// Takes what may happen next: in words, and what it does to a world.
type Add<'a> = dyn FnMut(String, &dyn Fn(&mut World)) + 'a;
const PEERS: usize = 3;
/// Epochs and commits are cut off here, so that the world is finite.
const LAST_EPOCH: u64 = 4;
const LAST_COMMIT: u64 = 2;

fn id(number: usize) -> InstanceId {
    InstanceId::new(NAMES[number]).unwrap()
}

fn number(of: &InstanceId) -> usize {
    NAMES.iter().position(|name| *name == of.as_str()).unwrap()
}

fn address(number: usize) -> Address {
    Address {
        host: NAMES[number].to_owned(),
        port: 5432,
    }
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Server {
    is_alive: bool,
    role: u8,
    timeline: u32,
    lsn: u64,
    follows: usize,
    /// It was told to promote and has not done it yet.
    is_told: bool,
    /// Which peers reach it.
    reached_by: [bool; PEERS],
    /// Whether it and `p` reach each other.
    has_link: bool,
}

const PRIMARY: u8 = 0;
const STANDBY: u8 = 1;
const DETACHED: u8 = 2;

/// Everything.
#[derive(Clone)]
pub struct World {
    state: State,
    servers: [Server; 3],
    acknowledged: u64,
    crashes: u8,
    cuts: u8,
    is_quorum: bool,
    pub violation: Option<Rule>,
}

fn cluster() -> ClusterName {
    ClusterName::new("demo").unwrap()
}

impl World {
    pub fn new(is_quorum: bool) -> World {
        let mut state = State::default();
        state.apply_entry(Entry::Raise(FeatureLevel::try_from(2).unwrap()));
        let member = |it: usize| SqlMember {
            address: address(it),
            application_name: Some(NAMES[it].to_owned()),
        };
        let rule = match is_quorum {
            true => SyncRule::Any {
                acks: 1,
                voters: BTreeSet::from([id(1), id(2)]),
                unknown: 0,
            },
            false => SyncRule::Async,
        };
        let adopted = Adopted {
            system: SystemIdentifier(7),
            fence: FenceDemand::Courtesy,
            members: (0..3).map(|it| (id(it), member(it))).collect(),
            rule,
            primary: id(0),
            lineage: Lineage {
                current: Timeline(1),
                left_at: BTreeMap::new(),
            },
        };
        let server = |number: usize| Server {
            is_alive: true,
            role: if number == 0 { PRIMARY } else { STANDBY },
            timeline: 1,
            lsn: 0,
            follows: 0,
            is_told: false,
            reached_by: [true; PEERS],
            has_link: true,
        };
        let mut world = World {
            state,
            servers: [server(0), server(1), server(2)],
            acknowledged: 0,
            crashes: 0,
            cuts: 0,
            is_quorum,
            violation: None,
        };
        world.propose(SqlChange::Adopt(adopted));
        world
    }

    fn record(&self) -> &SqlState {
        &self.state.sql[&cluster()]
    }

    /// What tells this state from others, told to whoever takes it; what never changes and what is kept for people tell
    /// nothing.
    pub fn key(&self, to: &mut dyn Write) -> fmt::Result {
        let record = self.record();
        let cluster = &record.cluster;
        let (roles, known) = (
            (
                &cluster.primary,
                &cluster.suspects,
                &cluster.told,
                &cluster.strays,
            ),
            (cluster.epoch, &cluster.rule, &cluster.lineage),
        );
        write!(
            to,
            "{roles:?}{known:?}{:?}{:?}{:?}",
            record.number, record.handover, record.quieted
        )?;
        let counted = (self.acknowledged, self.crashes, self.cuts);
        write!(to, "{:?}{counted:?}", self.servers)
    }

    /// Has it recorded; what is refused changes nothing.
    fn propose(&mut self, change: SqlChange) {
        if let SqlChange::Begin { named: None, .. } = &change {
            self.check_begin();
        }
        let command = SqlCommand {
            cluster: cluster(),
            at: 0,
            change,
        };
        self.state.apply_entry(Entry::Sql(command));
        if let Some(record) = self.state.sql.get_mut(&cluster()) {
            record.history = History::default();
        }
    }

    /// Whether WAL flows to a standby.
    fn streams(&self, it: usize) -> bool {
        let server = &self.servers[it];
        let source = &self.servers[server.follows];
        let is_linked = |end: usize| end == 0 || self.servers[end].has_link;
        let passes = match (it, server.follows) {
            (0, other) | (other, 0) => is_linked(other),
            _ => true,
        };
        let is_behind = source.timeline > server.timeline
            || source.timeline == server.timeline && source.lsn >= server.lsn;
        server.is_alive && server.role == STANDBY && source.is_alive && passes && is_behind
    }

    /// Everything that can happen next.
    pub fn successors(&self) -> Vec<(String, World)> {
        let mut all = vec![];
        let mut add = |what: String, change: &dyn Fn(&mut World)| {
            let mut next = self.clone();
            change(&mut next);
            next.check();
            if next.record().cluster.epoch <= Epoch(LAST_EPOCH) {
                all.push((what, next));
            }
        };
        self.environment(&mut add);
        // A leader; every other one would see the same and do the same, so it may have changed in between.
        let plan = decide(self.record(), &self.view());
        for change in plan.proposals {
            let is_kept = matches!(
                change,
                SqlChange::Observe {
                    observed: Observed::Rule { .. },
                    ..
                }
            );
            if !is_kept {
                add(format!("propose {change:?}"), &|next| {
                    next.propose(change.clone())
                });
            }
        }
        for step in plan.steps {
            add(format!("{step}, answered"), &|next| {
                next.perform(&step, true)
            });
            add(format!("{step}, the answer is lost"), &|next| {
                next.perform(&step, false)
            });
        }
        all
    }

    fn environment(&self, add: &mut Add<'_>) {
        let p = &self.servers[0];
        if p.is_alive && p.role == PRIMARY && p.lsn < LAST_COMMIT {
            add("p writes".to_owned(), &|next| next.servers[0].lsn += 1);
        }
        for (it, name) in NAMES.iter().enumerate().skip(1) {
            let source = &self.servers[self.servers[it].follows];
            if self.streams(it) && self.servers[it].lsn < source.lsn {
                add(format!("{name} receives"), &|next| next.receive(it));
            }
            if self.servers[it].is_told && self.servers[it].is_alive {
                add(format!("{name} opens"), &|next| next.open(it));
            }
        }
        for (it, name) in NAMES.iter().enumerate() {
            if self.servers[it].is_alive && self.crashes < 2 {
                add(format!("{name} dies"), &|next| {
                    next.crashes += 1;
                    next.servers[it].is_alive = false;
                    next.servers[it].is_told = false;
                });
            }
            if !self.servers[it].is_alive {
                add(format!("{name} is started"), &|next| {
                    next.servers[it].is_alive = true;
                });
            }
        }
        let cut = |world: &mut World| world.cuts += 1;
        for peer in 0..PEERS {
            // Of the standbys only what the leader reaches matters to it.
            for it in if peer == 0 { 0..2 } else { 0..1 } {
                let is_reached = self.servers[it].reached_by[peer];
                if !is_reached || self.cuts < 4 {
                    let word = if is_reached { "loses" } else { "reaches" };
                    add(format!("peer {peer} {word} {}", NAMES[it]), &|next| {
                        next.servers[it].reached_by[peer] = !is_reached;
                        if is_reached {
                            cut(next);
                        }
                    });
                }
            }
        }
        for (it, name) in NAMES.iter().enumerate().skip(1) {
            let has_link = self.servers[it].has_link;
            if !has_link || self.cuts < 4 {
                add(
                    format!("the link of p and {name} is {}", !has_link),
                    &|next| {
                        next.servers[it].has_link = !has_link;
                        if has_link {
                            cut(next);
                        }
                    },
                );
            }
        }
    }

    fn receive(&mut self, it: usize) {
        let source = self.servers[self.servers[it].follows].clone();
        let server = &mut self.servers[it];
        (server.lsn, server.timeline) = (source.lsn, source.timeline);
        // The primary of before acknowledges what one standby has.
        let p = &self.servers[0];
        if self.servers[it].follows == 0 && p.is_alive && p.role == PRIMARY && p.timeline == 1 {
            self.acknowledged = self.acknowledged.max(self.servers[it].lsn);
        }
    }

    fn open(&mut self, it: usize) {
        let server = &mut self.servers[it];
        server.is_told = false;
        server.role = PRIMARY;
        server.timeline += 1;
    }

    /// Carries a step out, and has what it brought recorded unless its answer is lost.
    fn perform(&mut self, step: &SqlStep, is_answered: bool) {
        let it = number(&step.instance);
        let server = &self.servers[it];
        if !server.is_alive || !server.reached_by[0] {
            return;
        }
        let end = WalPosition {
            timeline: Timeline(server.timeline),
            lsn: Lsn(server.lsn),
        };
        let mut evidence = None;
        match &step.action {
            // One whose promotion has begun confirms no pause.
            SqlAction::Revoke if server.role != PRIMARY && !server.is_told => {
                self.servers[it].role = DETACHED;
                evidence = Some(SqlEvidence::Revoked {
                    instance: step.instance.clone(),
                    position: Some(end),
                });
            }
            SqlAction::Promote { .. } if server.role == DETACHED => {
                self.check_told(it);
                self.servers[it].is_told = true;
            }
            // Without revocation it is promoted where it stands.
            SqlAction::Promote { .. }
                if server.role == STANDBY && primacy::broken!(SqlRevocation) =>
            {
                self.servers[it].is_told = true;
            }
            SqlAction::Repoint { to } if server.role != PRIMARY && !server.is_told => {
                self.servers[it].follows = NAMES.iter().position(|name| *name == to.host).unwrap();
                self.servers[it].role = STANDBY;
            }
            SqlAction::Restore if server.role == DETACHED && !server.is_told => {
                self.servers[it].role = STANDBY;
            }
            SqlAction::Quiet
            | SqlAction::Unquiet
            | SqlAction::Fence
            | SqlAction::Await { .. }
            | SqlAction::Revoke
            | SqlAction::Promote { .. }
            | SqlAction::Repoint { .. }
            | SqlAction::Restore => {}
        }
        if let Some(evidence) = evidence.filter(|_| is_answered) {
            let order = step.order;
            self.propose(SqlChange::Record { order, evidence });
        }
    }
}
