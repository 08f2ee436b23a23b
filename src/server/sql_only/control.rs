//! The loop of a leader over one cluster without agents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use raft::ConfirmError;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::probe::ASK_WITHIN;
use super::{execute, walk};
use crate::clock;
use crate::decision::sql_only::SqlPlan;
use crate::decision::sql_only::walks::Walks;
use crate::model::{Address, ClusterName, InstanceId, Opinion, Timestamp};
use crate::recovery::sql_only::SqlStep;
use crate::server::hooks::Work;
use crate::server::standing::{Key, key_over_sql};
use crate::server::{Peer, expect_no_panic};
use crate::state::SqlChange;

/// How often a cluster is looked at while something is going on.
const BUSY: Duration = Duration::from_millis(50);
/// How often while nothing is; a look at an instance that tells anything new wakes it as well.
const IDLE: Duration = Duration::from_secs(1);
/// A change that the record refused, and a step that ended, is not repeated before this.
const HOLD: Duration = Duration::from_millis(250);

/// Runs the loops of all clusters without agents, once the record that it decides on is the newest.
pub(in crate::server) async fn run(peer: Arc<Peer>) {
    loop {
        let confirmed = peer.consensus.confirm_leadership(Duration::from_secs(1));
        match confirmed.await {
            Ok(_) => break,
            Err(ConfirmError::Unconfirmed) => {}
            Err(ConfirmError::NotLeader { .. }) => sleep(BUSY).await,
            Err(ConfirmError::Stopped(_)) => return,
        }
    }
    peer.note_recoveries();
    let mut watch = peer.consensus.watch();
    let mut known = BTreeSet::new();
    let mut loops = JoinSet::new();
    loop {
        watch.mark_unchanged();
        let names = peer
            .consensus
            .read(|state| state.sql.keys().cloned().collect::<Vec<_>>());
        for name in names {
            if known.insert(name.clone()) {
                loops.spawn(Cycle::new(peer.clone(), name).run());
            }
        }
        tokio::select! {
            changed = watch.changed() => if changed.is_err() {
                return;
            },
            Some(ended) = loops.join_next() => if let Some(name) = expect_no_panic(ended) {
                known.remove(&name);
                peer.standing.forget(&name);
                peer.turns.forget(&name);
            },
        }
    }
}

struct Cycle {
    peer: Arc<Peer>,
    name: ClusterName,
    proposals: JoinSet<(SqlChange, bool)>,
    proposed: Vec<SqlChange>,
    refused: Vec<(Timestamp, SqlChange)>,
    steps: JoinSet<execute::Key>,
    held: BTreeMap<execute::Key, Timestamp>,
    looks: JoinSet<InstanceId>,
    looking: BTreeSet<InstanceId>,
    walks: JoinSet<()>,
    walked: Walks,
    hooks: Work,
    /// What was logged last: what was found, and what is waited for.
    said: (Vec<Key>, Vec<String>),
    /// Whether nothing was to be done or waited for when it was looked at last.
    is_quiet: bool,
}

impl Cycle {
    fn new(peer: Arc<Peer>, name: ClusterName) -> Self {
        Cycle {
            peer,
            name,
            proposals: JoinSet::new(),
            proposed: vec![],
            refused: vec![],
            steps: JoinSet::new(),
            held: BTreeMap::new(),
            looks: JoinSet::new(),
            looking: BTreeSet::new(),
            walks: JoinSet::new(),
            walked: Walks::default(),
            hooks: Work::default(),
            said: Default::default(),
            is_quiet: false,
        }
    }

    /// Ends, with its name, when the cluster is no longer recorded.
    async fn run(mut self) -> ClusterName {
        let board = |cycle: &Cycle| {
            let board = &cycle.peer.sql.board;
            (board.watch(&cycle.name), board.watch_news(&cycle.name))
        };
        let (mut seen, mut news) = board(&self);
        let mut recorded = self.peer.consensus.watch();
        loop {
            seen.mark_unchanged();
            news.mark_unchanged();
            recorded.mark_unchanged();
            self.note_times();
            let looked = self.peer.look_over_sql_on(&self.name, |state, view, plan| {
                let members = state.cluster.members.iter();
                let addresses: BTreeMap<InstanceId, Address> = members
                    .map(|(id, member)| (id.clone(), member.address.clone()))
                    .collect();
                let stand = plan.stand(state, view.directives.priority);
                (plan, stand, addresses)
            });
            let Some((plan, stand, addresses)) = looked else {
                return self.name;
            };
            let plan = plan.in_turn(self.peer.turns.note(&self.name, stand));
            let (now, wall) = (clock::monotonic(), clock::wall_millis());
            let found = plan.findings.iter().map(key_over_sql);
            self.peer.standing.note(&self.name, found, now, wall);
            self.peer.hooks.note(&self.name, plan.condition);
            self.say(&plan);
            let tick = self.start(plan, &addresses);
            let changed = async {
                match self.is_quiet {
                    true => news.changed().await,
                    false => seen.changed().await,
                }
            };
            tokio::select! {
                // Its board was forgotten with it, and it was adopted again.
                changed = changed => if changed.is_err() {
                    (seen, news) = board(&self);
                },
                _ = recorded.changed() => {}
                Some(ended) = self.proposals.join_next() => self.proposal_ended(expect_no_panic(ended)),
                Some(ended) = self.steps.join_next() => if let Some(key) = expect_no_panic(ended) {
                    self.held.insert(key, clock::monotonic().after(HOLD));
                },
                Some(ended) = self.looks.join_next() => if let Some(instance) = expect_no_panic(ended) {
                    self.looking.remove(&instance);
                },
                Some(ended) = self.walks.join_next() => {
                    expect_no_panic(ended);
                }
                Some(()) = self.hooks.ended() => {}
                () = sleep(tick) => {}
            }
        }
    }

    /// Notes since when there has been no primary.
    fn note_times(&self) {
        let (peer, name) = (&self.peer, &self.name);
        peer.consensus.read(|state| {
            let Some(state) = state.sql.get(name) else {
                return;
            };
            let now = clock::monotonic();
            let cluster = &state.cluster;
            let is_leaderless = cluster.primary.is_none() && state.handover.is_none();
            peer.sql.board.leaderless(name, is_leaderless, now);
        });
    }

    /// Starts what the plan asks for and is not under way; answers with the time to the next look.
    fn start(&mut self, plan: SqlPlan, addresses: &BTreeMap<InstanceId, Address>) -> Duration {
        let now = clock::monotonic();
        self.refused.retain(|(until, _)| *until > now);
        self.held.retain(|_, until| *until > now);
        self.is_quiet =
            plan.proposals.is_empty() && plan.steps.is_empty() && plan.waiting.is_empty();
        for change in plan.proposals {
            let is_refused = self.refused.iter().any(|(_, refused)| *refused == change);
            if !is_refused && !self.proposed.contains(&change) {
                self.propose(change);
            }
        }
        for step in plan.steps {
            self.carry_out(step, addresses);
        }
        for instance in plan.again {
            self.peer
                .sql
                .board
                .again(&self.name, &instance)
                .notify_one();
        }
        for instance in plan.looks {
            if self.looking.insert(instance.clone()) {
                let (peer, name) = (self.peer.clone(), self.name.clone());
                self.looks.spawn(look(peer, name, instance));
            }
        }
        if plan.strangers.is_empty() {
            self.peer.sql.board.unfound(&self.name, vec![]);
        } else if self.walks.is_empty() && self.walked.begin(&plan.strangers, now) {
            let (peer, name) = (self.peer.clone(), self.name.clone());
            self.walks.spawn(walk::again(peer, name));
        }
        if let Some(step) = plan.hook {
            self.hooks.begin(&self.peer, &self.name, step);
        }
        if self.is_quiet { IDLE } else { BUSY }
    }

    fn propose(&mut self, change: SqlChange) {
        self.proposed.push(change.clone());
        let (peer, name) = (self.peer.clone(), self.name.clone());
        self.proposals.spawn(async move {
            let taken = match peer.propose_sql(name.clone(), change.clone()).await {
                Ok(Ok(order)) => {
                    tracing::info!(cluster = %name, %order, ?change, "recorded");
                    true
                }
                Ok(Err(rejection)) => {
                    tracing::info!(cluster = %name, %rejection, ?change, "not taken");
                    false
                }
                Err(error) => {
                    tracing::warn!(cluster = %name, %error, ?change, "may not be recorded");
                    false
                }
            };
            (change, taken)
        });
    }

    fn proposal_ended(&mut self, ended: Option<(SqlChange, bool)>) {
        let Some((change, taken)) = ended else {
            return;
        };
        self.proposed.retain(|proposed| *proposed != change);
        if !taken {
            let until = clock::monotonic().after(HOLD);
            self.refused.push((until, change));
        }
    }

    fn carry_out(&mut self, step: SqlStep, addresses: &BTreeMap<InstanceId, Address>) {
        let Some(address) = addresses.get(&step.instance) else {
            return;
        };
        if self.held.contains_key(&execute::key(&step)) {
            return;
        }
        if self.peer.sql.under_way.begin(&self.name, &step) {
            let (peer, name) = (self.peer.clone(), self.name.clone());
            self.steps
                .spawn(execute::carry_out(peer, name, address.clone(), step));
        }
    }

    /// Logs what was found and what is waited for, when it changes; not when its numbers alone do.
    fn say(&mut self, plan: &SqlPlan) {
        let found = plan.findings.iter().map(key_over_sql).collect();
        let waiting = plan.waiting.iter().map(|reason| format!("waits: {reason}"));
        let said = (found, waiting.collect());
        if said != self.said {
            let findings = plan.findings.iter().map(ToString::to_string);
            let words: Vec<_> = findings.chain(said.1.iter().cloned()).collect();
            if !words.is_empty() {
                tracing::info!(cluster = %self.name, "{}", words.join("; "));
            }
            self.said = said;
        }
    }
}

/// Asks the other voters whether they find an instance gone. Ends as soon as so many do that, with this peer, they are
/// more than half.
async fn look(peer: Arc<Peer>, cluster: ClusterName, instance: InstanceId) -> InstanceId {
    let (members, voters) = (peer.members(), peer.voters());
    let others = voters.iter().filter(|id| **id != peer.config.id);
    let path = format!("/internal/v1/sql/{cluster}/{instance}");
    let mut said_at = None;
    let mut asked = JoinSet::new();
    for address in others.filter_map(|id| members.get(id).cloned()) {
        let (calls, path) = (peer.calls.clone(), path.clone());
        asked.spawn(async move {
            let answer = calls.get(&address, &path, ASK_WITHIN).await;
            answer.is_ok_and(|(_, body)| {
                serde_json::from_slice::<Thought>(&body).is_ok_and(|it| it.opinion == Opinion::Gone)
            })
        });
    }
    let mut by = 0;
    while (by + 1) * 2 <= voters.len() {
        match asked.join_next().await.map(expect_no_panic) {
            // Counted from its answer: where a server hangs, that takes most of the time for which it counts.
            Some(Some(true)) => {
                by += 1;
                said_at.get_or_insert_with(clock::monotonic);
            }
            Some(Some(false) | None) => {}
            None => break,
        }
    }
    let (at, counted) = (said_at.unwrap_or_else(clock::monotonic), (by, voters.len()));
    peer.sql.board.gone(&cluster, &instance, at, counted);
    instance
}

/// The answer of a peer that was asked what it thinks of an instance.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Thought {
    /// From looks of which the last ended after it was asked.
    pub opinion: Opinion,
}
