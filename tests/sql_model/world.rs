//! A primary `p` and two standbys; what can happen to them, and what must never.

mod bounds;
mod data;
pub mod directed;
mod nature;
mod rules;
mod seen;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use primacy::decision::sql_only::decide;
use primacy::model::{
    Address, ClusterName, Epoch, FenceDemand, InstanceId, Lineage, Lsn, Order, SqlCopy, SqlMember,
    SyncRule, SystemIdentifier, Timeline, WalPosition,
};
use primacy::recovery::sql_only::SqlStep;
use primacy::state::{
    Adopted, Entry, FeatureLevel, History, Observed, SqlChange, SqlCommand, SqlState, State,
};

pub use bounds::Bounds;
use bounds::Happened;
pub use rules::Rule;

const NAMES: [&str; 3] = ["p", "s1", "s2"];
/// Takes what may happen next: in words, and what it does to a world.
type Add<'a> = dyn FnMut(String, &dyn Fn(&mut World)) + 'a;
const PEERS: usize = 3;

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
    /// Which copy of the data it holds, as the times of its contents tell.
    copy: u64,
    /// How often the entries of its files alone were changed.
    touched: u64,
    /// How often it was started over other data, or may have been.
    starts: u64,
    /// Its volume was put back.
    is_rolled_back: bool,
    /// Its commits, each by its own number: what it has, not what the number of its timeline says.
    wal: Vec<u8>,
    /// Where it left older timelines.
    left_at: BTreeMap<u32, usize>,
    follows: usize,
    /// It was told to promote and has not done it yet.
    is_told: bool,
    /// Somebody undid its revocation: an old primary may acknowledge by it, and nobody can keep it from that.
    is_loose: bool,
    /// It opened because the leader told it to.
    is_ours: bool,
    /// New transactions are read-only unless they say otherwise.
    is_quiet: bool,
    /// Any one of these must have flushed a commit; none if nobody must.
    names: BTreeSet<usize>,
    /// What some of its processes go by still, if the names were changed and not all have read them.
    old_names: Option<BTreeSet<usize>>,
    /// Which peers reach it.
    reached_by: [bool; PEERS],
    /// Whether it and `p` reach each other.
    has_link: bool,
}

const PRIMARY: u8 = 0;
const STANDBY: u8 = 1;
const DETACHED: u8 = 2;

impl Server {
    fn end(&self) -> WalPosition {
        WalPosition {
            timeline: Timeline(self.timeline),
            lsn: Lsn(self.wal.len() as u64),
        }
    }

    /// What its processes have commits wait for, each by what it has read.
    fn goes_by(&self) -> impl Iterator<Item = &BTreeSet<usize>> {
        [&self.names].into_iter().chain(&self.old_names)
    }

    fn is_primary(&self) -> bool {
        self.is_alive && self.role == PRIMARY
    }

    /// Ends recovery on the next timeline, as the server numbers them.
    fn open(&mut self, is_ours: bool) {
        self.left_at.insert(self.timeline, self.wal.len());
        self.timeline += 1;
        (self.is_told, self.is_ours, self.is_quiet) = (false, is_ours, false);
        self.role = PRIMARY;
    }
}

/// Everything.
#[derive(Clone)]
pub struct World {
    state: State,
    servers: [Server; 3],
    /// Commits that were acknowledged, and must not be lost.
    acknowledged: BTreeSet<u8>,
    /// Commits that were acknowledged while nobody was waited for: they may be lost until it is recorded that nothing is.
    unguarded: BTreeSet<u8>,
    /// Where the primary ended when the leader saw the copy of a server first that is not proven; and who was it.
    goals: [Option<(usize, WalPosition)>; 3],
    /// The last step that was not carried out.
    failed: Option<(usize, Order)>,
    happened: Happened,
    bounds: Bounds,
    pub violation: Option<Rule>,
}

fn cluster() -> ClusterName {
    ClusterName::new("demo").unwrap()
}

impl World {
    pub fn new(bounds: Bounds) -> World {
        let mut state = State::default();
        state.apply_entry(Entry::Raise(FeatureLevel::try_from(4).unwrap()));
        let member = |it: usize| SqlMember {
            address: address(it),
            application_name: Some(NAMES[it].to_owned()),
        };
        let names = match bounds.is_quorum {
            true => BTreeSet::from([1, 2]),
            false => BTreeSet::new(),
        };
        let rule = match bounds.is_quorum {
            true => SyncRule::Any {
                acks: 1,
                voters: names.iter().copied().map(id).collect(),
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
            copy: 1,
            touched: 0,
            starts: 0,
            is_rolled_back: false,
            wal: vec![],
            left_at: BTreeMap::new(),
            follows: 0,
            is_told: false,
            is_loose: false,
            is_ours: false,
            is_quiet: false,
            names: names.clone(),
            old_names: None,
            reached_by: [true; PEERS],
            has_link: true,
        };
        let mut world = World {
            state,
            servers: [server(0), server(1), server(2)],
            acknowledged: BTreeSet::new(),
            unguarded: BTreeSet::new(),
            goals: [None; 3],
            failed: None,
            happened: Happened::default(),
            bounds,
            violation: None,
        };
        world.propose(SqlChange::Adopt(adopted));
        for it in 0..if bounds.has_copies { 3 } else { 0 } {
            let (instance, facts) = (id(it), world.facts(it));
            let copy = SqlCopy {
                mark: facts.copy,
                started: facts.started,
                is_proven: true,
            };
            world.propose(SqlChange::Observe {
                order: world.record().order(),
                observed: Observed::Copy { instance, copy },
            });
        }
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
            (
                cluster.epoch,
                &cluster.rule,
                &cluster.lineage,
                &cluster.copies,
            ),
        );
        write!(
            to,
            "{roles:?}{known:?}{:?}{:?}{:?}",
            record.number, record.handover, record.quieted
        )?;
        let counted = (
            &self.acknowledged,
            &self.unguarded,
            &self.happened,
            &self.failed,
            &self.goals,
        );
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
            change: change.clone(),
        };
        let before = self.state.sql.get(&cluster()).cloned();
        self.state.apply_entry(Entry::Sql(command));
        if let Some(record) = self.state.sql.get_mut(&cluster()) {
            record.history = History::default();
        }
        if before.as_ref() == self.state.sql.get(&cluster()) {
            return;
        }
        let is_any = |rule: &SyncRule| matches!(rule, SyncRule::Any { .. });
        let was_any = before.is_some_and(|it| is_any(&it.cluster.rule));
        match (was_any, is_any(&self.record().cluster.rule)) {
            (false, true) => {
                // What a failover lost meanwhile is what the status said.
                let primary = self.record().cluster.primary.as_ref().map(number);
                let kept = primary.map(|it| self.servers[it].wal.clone());
                let kept = kept.unwrap_or_default();
                self.unguarded.retain(|commit| kept.contains(commit));
                self.acknowledged.append(&mut self.unguarded);
            }
            // From now on the status says that a failover may lose what was acknowledged.
            (true, false) => self.unguarded.append(&mut self.acknowledged),
            (false, false) | (true, true) => {}
        }
        if let SqlChange::Observe {
            observed: Observed::Primary { instance, .. },
            ..
        } = &change
        {
            self.note_choice(number(instance));
        }
    }

    /// Somebody else chose this primary: what it lacks was given up by whoever did.
    fn note_choice(&mut self, it: usize) {
        let server = &self.servers[it];
        if !server.is_ours {
            self.acknowledged
                .retain(|commit| server.wal.contains(commit));
        }
    }

    /// Whether WAL flows to a standby. PostgreSQL looks at numbers of timelines and at positions, not at what is there.
    fn streams(&self, it: usize) -> bool {
        let server = &self.servers[it];
        let source = &self.servers[server.follows];
        let is_linked = |end: usize| end == 0 || self.servers[end].has_link;
        let passes = match (it, server.follows) {
            (0, other) | (other, 0) => is_linked(other),
            _ => true,
        };
        let is_a_part = match source.timeline == server.timeline {
            true => source.wal.len() >= server.wal.len(),
            false => source
                .left_at
                .get(&server.timeline)
                .is_some_and(|left| server.wal.len() <= *left),
        };
        let wants = server.is_alive && server.role == STANDBY && server.follows != it;
        wants && source.is_alive && passes && is_a_part
    }

    /// The leader looks: of a copy that it may not count it keeps where the primary was when that was there already.
    fn look(&mut self) {
        let cluster = &self.record().cluster;
        let is_seen = |it: usize| self.servers[it].is_alive && self.servers[it].reached_by[0];
        let primary = cluster
            .primary
            .as_ref()
            .map(number)
            .filter(|it| is_seen(*it));
        let primary = primary.filter(|it| self.servers[*it].role == PRIMARY);
        let goal = |it: usize| {
            let started = self.facts(it).started;
            let recorded = cluster.copies.get(&id(it));
            let counts = recorded.is_some_and(|it| it.is_proven && it.started == started);
            if counts || cluster.primary == Some(id(it)) {
                return None;
            }
            let known = self.goals[it].filter(|(of, _)| cluster.primary == Some(id(*of)));
            let now = primary.filter(|_| is_seen(it));
            known.or(now.map(|of| (of, self.servers[of].end())))
        };
        self.goals = [0, 1, 2].map(goal);
    }

    /// Everything that can happen next.
    pub fn successors(&self) -> Vec<(String, World)> {
        let mut all = vec![];
        let mut add = |what: String, change: &dyn Fn(&mut World)| {
            let mut next = self.clone();
            change(&mut next);
            next.look();
            next.check();
            if next.record().cluster.epoch <= Epoch(self.bounds.epochs) {
                all.push((what, next));
            }
        };
        self.nature(&mut add);
        self.hands(&mut add);
        // A leader; every other one would see the same and do the same, so it may have changed in between.
        let plan = decide(self.record(), &self.view());
        for change in plan.proposals {
            add(format!("propose {change:?}"), &|next| {
                next.propose(change.clone())
            });
        }
        for step in plan.steps {
            self.steps(&step, &mut add);
        }
        all
    }

    fn steps(&self, step: &SqlStep, add: &mut Add<'_>) {
        add(format!("{step}, answered"), &|next| {
            next.perform(step, true)
        });
        add(format!("{step}, the answer is lost"), &|next| {
            next.perform(step, false)
        });
        if Self::gives_up(&step.action) {
            add(format!("{step} fails"), &|next| {
                next.failed = Some((number(&step.instance), step.order));
            });
        }
    }
}
