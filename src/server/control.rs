//! The loop of a leader: look, decide, have it recorded, have it done, look again.
//!
//! One task per cluster. It is woken by every observation and every applied command, and by a tick for
//! what only time changes. Nothing it starts outlives the term: its owner drops it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use raft::ConfirmError;
use tokio::task::JoinSet;

use crate::clock;
use crate::decision::{Finding, Plan, decide};
use crate::model::view::SILENT_AFTER;
use crate::model::{ClusterName, InstanceId, Timestamp, View};
use crate::recovery::Step;
use crate::state::Change;

use super::execute::{self, End, Key};
use super::hooks::Work;
use super::{Peer, expect_no_panic, standing};

/// How often a cluster is looked at while something is going on.
const BUSY: Duration = Duration::from_millis(50);
/// How often while nothing is.
const IDLE: Duration = Duration::from_millis(500);
/// A change that the record refused, and a step that failed or is not yet shown, is not repeated before this.
const HOLD: Duration = Duration::from_millis(150);
/// How long another peer may take to say whether it hears an agent. Below the age at which the answer expires, and time
/// for a new connection: with it a question takes three round trips, between distant peers of 100 ms each.
const LOOK_WITHIN: Duration = Duration::from_millis(450);

/// Runs the loops of all clusters. First it makes sure that the record it decides on is the newest.
pub(super) async fn run(peer: Arc<Peer>) {
    loop {
        match peer
            .consensus
            .confirm_leadership(Duration::from_secs(1))
            .await
        {
            Ok(_) => break,
            Err(ConfirmError::Unconfirmed) => {}
            Err(ConfirmError::NotLeader { .. }) => tokio::time::sleep(BUSY).await,
            Err(ConfirmError::Stopped(_)) => return,
        }
    }
    peer.note_recoveries();
    let mut watch = peer.consensus.watch();
    let mut known = BTreeSet::new();
    let mut loops = JoinSet::new();
    loop {
        watch.mark_unchanged();
        let names: Vec<_> = peer
            .consensus
            .read(|state| state.clusters.keys().cloned().collect());
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
            },
        }
    }
}

struct Cycle {
    peer: Arc<Peer>,
    name: ClusterName,
    proposals: JoinSet<(Change, bool)>,
    proposed: Vec<Change>,
    refused: Vec<(Timestamp, Change)>,
    steps: JoinSet<(Key, End)>,
    held: BTreeMap<Key, Timestamp>,
    looks: JoinSet<InstanceId>,
    looking: BTreeSet<InstanceId>,
    hooks: Work,
    /// What of it makes it worth saying again: numbers change all the time.
    said: Vec<String>,
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
            hooks: Work::default(),
            said: vec![],
        }
    }

    /// Ends, with its name, when the cluster is no longer recorded.
    async fn run(mut self) -> ClusterName {
        let mut seen = self.peer.board.watch(&self.name);
        let mut recorded = self.peer.consensus.watch();
        loop {
            seen.mark_unchanged();
            recorded.mark_unchanged();
            let looked = self.peer.look_on(&self.name, |state, view, programs| {
                let plan = decide(state, view).with(state, view, programs);
                let stand = plan.stand(state, view.directives.priority);
                (plan, stand, next_silence(view))
            });
            let Some((plan, stand, silence)) = looked else {
                self.peer.turns.forget(&self.name);
                return self.name;
            };
            let plan = plan.in_turn(self.peer.turns.note(&self.name, stand));
            let (now, wall) = (clock::monotonic(), clock::wall_millis());
            let found = plan.findings.iter().map(standing::key);
            self.peer.standing.note(&self.name, found, now, wall);
            self.peer.hooks.note(&self.name, plan.condition);
            self.say(&plan);
            let tick = self.start(plan).min(silence);
            tokio::select! {
                _ = seen.changed() => {}
                _ = recorded.changed() => {}
                Some(ended) = self.proposals.join_next() => self.proposal_ended(expect_no_panic(ended)),
                Some(ended) = self.steps.join_next() => self.step_ended(expect_no_panic(ended)),
                Some(ended) = self.looks.join_next() => if let Some(instance) = expect_no_panic(ended) {
                    self.looking.remove(&instance);
                },
                Some(()) = self.hooks.ended() => {}
                () = tokio::time::sleep(tick) => {}
            }
        }
    }

    /// Starts what the plan asks for and is not under way; answers with the time to the next look.
    fn start(&mut self, plan: Plan) -> Duration {
        let now = clock::monotonic();
        self.refused.retain(|(until, _)| *until > now);
        self.held.retain(|_, until| *until > now);
        let is_quiet = plan.proposals.is_empty()
            && plan.steps.is_empty()
            && plan.waiting.is_empty()
            && !plan.findings.iter().any(Finding::may_come_due);
        for change in plan.proposals {
            let is_refused = self.refused.iter().any(|(_, refused)| *refused == change);
            if !is_refused && !self.proposed.contains(&change) {
                self.propose(change);
            }
        }
        for step in plan.steps {
            self.carry_out(step);
        }
        for instance in plan.looks {
            if self.looking.insert(instance.clone()) {
                let (peer, name) = (self.peer.clone(), self.name.clone());
                self.looks.spawn(look(peer, name, instance));
            }
        }
        if let Some(step) = plan.hook {
            self.hooks.begin(&self.peer, &self.name, step);
        }
        if is_quiet { IDLE } else { BUSY }
    }

    fn propose(&mut self, change: Change) {
        self.proposed.push(change.clone());
        let (peer, name) = (self.peer.clone(), self.name.clone());
        self.proposals.spawn(async move {
            let taken = match peer.propose(name.clone(), change.clone()).await {
                Ok(Ok(order)) => {
                    tracing::info!(cluster = %name, %order, change = in_short(&change), "recorded");
                    true
                }
                Ok(Err(rejection)) => {
                    tracing::info!(cluster = %name, %rejection, change = in_short(&change), "not taken");
                    false
                }
                Err(error) => {
                    tracing::warn!(cluster = %name, %error, change = in_short(&change), "may not be recorded");
                    false
                }
            };
            (change, taken)
        });
    }

    fn proposal_ended(&mut self, ended: Option<(Change, bool)>) {
        let Some((change, taken)) = ended else {
            return;
        };
        self.proposed.retain(|proposed| *proposed != change);
        if !taken {
            let until = clock::monotonic().after(HOLD);
            self.refused.push((until, change));
        }
    }

    fn carry_out(&mut self, step: Step) {
        if self.held.contains_key(&execute::key(&step)) {
            return;
        }
        if self.peer.under_way.begin(&self.name, &step) {
            let (peer, name) = (self.peer.clone(), self.name.clone());
            self.steps.spawn(execute::carry_out(peer, name, step));
        }
    }

    fn step_ended(&mut self, ended: Option<(Key, End)>) {
        match ended {
            Some((key, End::Shown | End::Failed)) => {
                let until = clock::monotonic().after(HOLD);
                self.held.insert(key, until);
            }
            Some((_, End::Known)) | None => {}
        }
    }

    /// Logs what was found and what is waited for, when it changes.
    fn say(&mut self, plan: &Plan) {
        let kind = |finding: &Finding| {
            let (code, of) = (finding.code(), finding.instances());
            format!("{code} {of:?} {}", finding.is_actionable())
        };
        let waiting = || {
            plan.waiting.iter().map(|(subject, reason)| match subject {
                Some(instance) => format!("{instance} waits: {reason}"),
                None => format!("waits: {reason}"),
            })
        };
        let what: Vec<_> = plan.findings.iter().map(kind).chain(waiting()).collect();
        if what == self.said {
            return;
        }
        self.said = what;
        let words = plan.findings.iter().map(ToString::to_string);
        let words: Vec<_> = words.chain(waiting()).collect();
        if !words.is_empty() {
            tracing::info!(cluster = %self.name, "{}", words.join("; "));
        }
    }
}

/// The time until the next agent turns silent.
fn next_silence(view: &View) -> Duration {
    let left = |at: Timestamp| {
        let silent_at = at.after(SILENT_AFTER).after(Duration::from_millis(1));
        (silent_at > view.now).then(|| silent_at.since(view.now))
    };
    let connected = view.instances.values().filter(|seen| seen.connected);
    connected
        .filter_map(|seen| left(seen.received_at))
        .min()
        .unwrap_or(IDLE)
}

/// Asks the other peers whether they hear the agent of `instance`. Ends as soon as it is certain that
/// fewer than half of all peers do.
async fn look(peer: Arc<Peer>, cluster: ClusterName, instance: InstanceId) -> InstanceId {
    // Who has a vote counts, and nobody else.
    let (members, voters) = (peer.members(), peer.voters());
    let others: Vec<_> = voters
        .iter()
        .filter(|id| **id != peer.config.id)
        .filter_map(|id| members.get(id).cloned())
        .collect();
    let path = format!("/internal/v1/look/{cluster}/{instance}");
    let mut asked = JoinSet::new();
    for address in others {
        let (calls, path) = (peer.calls.clone(), path.clone());
        asked.spawn(async move {
            let answer = calls.get(&address, &path, LOOK_WITHIN).await;
            answer.is_ok_and(|(_, body)| {
                serde_json::from_slice::<Looked>(&body).is_ok_and(|looked| looked.heard)
            })
        });
    }
    let mut heard_by = 0;
    while (heard_by + asked.len()) * 2 >= voters.len() {
        match asked.join_next().await.map(expect_no_panic) {
            Some(Some(true)) => heard_by += 1,
            Some(Some(false) | None) => {}
            None => break,
        }
    }
    peer.board.look(
        &cluster,
        &instance,
        clock::monotonic(),
        heard_by,
        voters.len(),
    );
    instance
}

/// The answer of a peer that was asked for its look.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Looked {
    /// Whether it hears the agent.
    pub heard: bool,
}

fn in_short(change: &Change) -> String {
    match change {
        Change::Create(_) => "create".to_owned(),
        Change::Begin { cause, .. } => format!("begin: {cause}"),
        Change::Record { evidence, .. } => format!("{evidence:?}"),
        Change::Abandon { reason, .. } => format!("give up: {reason}"),
        Change::BeginRejoin { instance, .. } => format!("rejoin {instance}"),
        Change::EndRejoin {
            instance, reason, ..
        } => format!("end the rejoin of {instance}: {reason}"),
        Change::PlanStop { instance, .. } => format!("the agent of {instance} is being stopped"),
        Change::EndStop { order } => format!("the planned stop {order} is over"),
        Change::ForceFailover(new) => format!("failover forced by {}", new.owner),
        Change::PlanSwitchover(new) => format!("switchover to {}", new.to),
        Change::BeginShutDown { .. } => "the primary is told to shut down".to_owned(),
        Change::GiveUpSwitchover { why, .. } => format!("give the switchover up: {why}"),
        Change::EndSwitchover { order } => {
            format!("the switchover was given up, the agent admitted {order}")
        }
        Change::CallOffSwitchover { .. } => "the switchover is called off".to_owned(),
        Change::PlanDurability(new) => format!("durability {}", new.to),
        Change::BeginConfirming { .. } => "confirm the durability".to_owned(),
        Change::StopConfirming { reason, .. } => format!("stop confirming: {reason}"),
        Change::RecordLapsed { .. } => {
            "record async, because all that lasted longer has ended".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view::ANSWER_STALE_AFTER;

    #[test]
    fn a_look_between_distant_peers_comes_in_time() {
        let round_trip = Duration::from_millis(100);
        let connected_and_asked = 3 * round_trip;
        assert!(connected_and_asked + round_trip < LOOK_WITHIN);
        assert!(LOOK_WITHIN < ANSWER_STALE_AFTER);
    }
}
