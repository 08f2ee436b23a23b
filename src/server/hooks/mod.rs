//! The user's programs, run by the leader alone: recorded before they begin and after they end, so that no other leader runs
//! them again without knowing.

mod environment;
mod process;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Peer;
use super::propose::Hooked;
use crate::clock;
use crate::decision::{Condition, HookStep, Programs};
use crate::model::{Address, ClusterName, Epoch, HookRun, HookStage, InstanceId, Timestamp};
use crate::state::level::has_hooks;
use crate::state::{HookChange, State};
use environment::{Facts, variables, with_variables};

/// How long a majority may take to confirm that this peer leads, before a program is run.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);
/// What could not be recorded is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A beginning of which nobody knows whether it was recorded is looked for so often.
const LOOKS: u32 = 20;

/// What a leader knows of its own: what runs, and since when it has seen a primary to be well, or in trouble.
#[derive(Default)]
pub struct Hooks(Mutex<BTreeMap<ClusterName, Known>>);

#[derive(Default)]
struct Known {
    under_way: Option<(HookStage, u32)>,
    troubled_since: Option<Timestamp>,
    well_since: Option<Timestamp>,
}

impl Hooks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a primary is seen to be.
    pub(super) fn note(&self, cluster: &ClusterName, seen: Condition) {
        let now = clock::monotonic();
        let since = |is_so: bool, since: &mut Option<Timestamp>| match is_so {
            true => drop(since.get_or_insert(now)),
            false => *since = None,
        };
        let mut all = self.lock();
        let known = all.entry(cluster.clone()).or_default();
        since(seen.is_troubled, &mut known.troubled_since);
        since(seen.is_well, &mut known.well_since);
    }

    fn run(&self, cluster: &ClusterName, under_way: Option<(HookStage, u32)>) {
        self.lock().entry(cluster.clone()).or_default().under_way = under_way;
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

/// Is noted as running until it is dropped.
struct UnderWay<'a> {
    hooks: &'a Hooks,
    cluster: &'a ClusterName,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.hooks.run(self.cluster, None);
    }
}

impl Peer {
    /// What is known of the user's programs for a cluster.
    pub(super) fn programs(&self, state: &State, cluster: &ClusterName) -> Programs {
        let configured = self.config.hooks.0.keys().copied();
        let now = clock::monotonic();
        let all = self.hooks.lock();
        let known = all.get(cluster);
        let since = |of: fn(&Known) -> Option<Timestamp>| {
            let since = known.and_then(of);
            since.map_or(Duration::ZERO, |at| now.since(at))
        };
        Programs {
            // Older builds could not read what is recorded of them.
            configured: configured.filter(|_| has_hooks(state.level)).collect(),
            incident: state.hooks.of(cluster).cloned(),
            term: self.leading_term(),
            under_way: known.and_then(|it| it.under_way),
            troubled_for: since(|it| it.troubled_since),
            well_for: since(|it| it.well_since),
            wall: clock::wall_millis(),
        }
    }

    /// What is odd about them.
    pub fn hook_warnings(&self) -> Vec<String> {
        let is_too_low = self.consensus.read(|state| !has_hooks(state.level));
        match is_too_low && !self.config.hooks.0.is_empty() {
            true => {
                vec!["hooks: none of them runs before every peer is of this version".to_owned()]
            }
            false => vec![],
        }
    }
}

/// What is under way for one cluster, one at a time. Ends with its owner.
#[derive(Default)]
pub(super) struct Work(JoinSet<()>);

impl Work {
    /// Begins a step, if none is under way; what still runs of an incident that is closed is ended.
    pub fn begin(&mut self, peer: &Arc<Peer>, cluster: &ClusterName, step: HookStep) {
        if let HookStep::Close { .. } = step
            && peer
                .hooks
                .lock()
                .get(cluster)
                .is_some_and(|it| it.under_way.is_some())
        {
            self.0.abort_all();
            return;
        }
        if self.0.is_empty() {
            self.0.spawn(carry_out(peer.clone(), cluster.clone(), step));
        }
    }

    /// Resolves when a step has ended; none if none is under way.
    pub async fn ended(&mut self) -> Option<()> {
        self.0.join_next().await.map(|ended| {
            super::expect_no_panic(ended);
        })
    }
}

async fn carry_out(peer: Arc<Peer>, cluster: ClusterName, step: HookStep) {
    match step {
        HookStep::Open { seen, trouble } => {
            let change = HookChange::Open {
                seen,
                code: trouble.code.to_owned(),
                text: trouble.text,
                failed: trouble.failed,
            };
            peer.propose_hook(cluster, change).await;
        }
        HookStep::Close { incident } => {
            let change = HookChange::Close { incident };
            peer.propose_hook(cluster, change).await;
        }
        HookStep::Run {
            incident,
            stage,
            attempt,
        } => {
            let Some(term) = peer.leading_term() else {
                return;
            };
            peer.hooks.run(&cluster, Some((stage, attempt)));
            let _under_way = UnderWay {
                hooks: &peer.hooks,
                cluster: &cluster,
            };
            let run = Run {
                incident,
                stage,
                attempt,
                term,
            };
            if !begun(&peer, &cluster, run).await {
                return;
            }
            let (passed, output) = perform(&peer, &cluster, run).await;
            match passed {
                true => tracing::info!(%cluster, %stage, attempt, "programs did well"),
                false => tracing::warn!(%cluster, %stage, attempt, output, "a program failed"),
            }
            let end = HookChange::End {
                incident,
                stage,
                attempt,
                passed,
                output,
            };
            // As long as this peer leads: nobody else knows it.
            while peer.propose_hook(cluster.clone(), end.clone()).await == Hooked::Unknown {
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// One time that the programs of a stage run.
#[derive(Clone, Copy)]
struct Run {
    incident: u64,
    stage: HookStage,
    attempt: u32,
    term: u64,
}

impl Run {
    /// Whether it is recorded as running.
    fn is_recorded(self, state: &State, cluster: &ClusterName) -> bool {
        let incident = state.hooks.of(cluster);
        let run = incident
            .filter(|it| it.began_at == self.incident)
            .and_then(|it| it.runs.get(&self.stage));
        run == Some(&HookRun {
            attempt: self.attempt,
            term: self.term,
            ended: None,
        })
    }
}

/// Has the beginning recorded; answers whether it is.
async fn begun(peer: &Peer, cluster: &ClusterName, run: Run) -> bool {
    let change = HookChange::Begin {
        incident: run.incident,
        stage: run.stage,
        attempt: run.attempt,
        term: run.term,
    };
    match peer.propose_hook(cluster.clone(), change).await {
        Hooked::Taken => return true,
        Hooked::Refused => return false,
        Hooked::Unknown => {}
    }
    for _ in 0..LOOKS {
        if peer.consensus.read(|state| run.is_recorded(state, cluster)) {
            return true;
        }
        sleep(AGAIN_AFTER).await;
    }
    false
}

/// Runs the programs of a stage one after the other, until one fails; those that end with `&` are left to themselves. Answers
/// whether they did well, and what was said; of a failure, by the one that failed.
async fn perform(peer: &Arc<Peer>, cluster: &ClusterName, run: Run) -> (bool, String) {
    let programs = peer.config.hooks.0.get(&run.stage);
    let mut words = vec![];
    for program in programs.into_iter().flatten() {
        // A leader that was stopped for a while would run it after the next one has.
        if peer
            .consensus
            .confirm_leadership(CONFIRM_WITHIN)
            .await
            .is_err()
        {
            return (false, "its leader could not be sure to lead".to_owned());
        }
        let Some(variables) = told(peer, cluster, run) else {
            return (false, "the incident is over".to_owned());
        };
        let text = with_variables(program.trim(), &variables);
        let (text, is_aside) = match text.strip_suffix('&') {
            Some(text) => (format!("{{ {text}\n}} >/dev/null 2>&1 &"), true),
            None => (text, false),
        };
        let ended = process::run(&text, &variables).await;
        if !ended.passed && !is_aside {
            return (false, ended.words);
        }
        words.push(match is_aside {
            true => "aside".to_owned(),
            false => ended.words,
        });
    }
    (true, words.join("; "))
}

/// The variables of a program.
fn told(peer: &Peer, cluster: &ClusterName, run: Run) -> Option<Vec<(&'static str, String)>> {
    peer.consensus.read(|state| {
        if !run.is_recorded(state, cluster) {
            return None;
        }
        let incident = state.hooks.of(cluster)?;
        let (epoch, members) = members(state, cluster)?;
        let is_failed = |id: &InstanceId| incident.failed.as_ref() == Some(id);
        let failed = members.iter().find(|(id, _)| is_failed(id));
        let others = members.iter().filter(|(id, _)| !is_failed(id));
        let successor = state.published(cluster);
        let successor = successor.filter(|it| it.epoch > incident.seen);
        let successor = successor.map(|it| (it.instance.to_string(), it.address));
        let is_successful = successor.is_some();
        let asked = state.clusters.get(cluster);
        let asked = asked.and_then(|it| it.cluster.switchover.as_ref());
        let named = asked
            .filter(|_| incident.is_of_switchover())
            .map(|it| &it.to);
        let named = members.iter().find(|(id, _)| Some(id) == named);
        let named = named.map(|(id, at)| (id.to_string(), at.clone()));
        let here = peer.config.peers.get(&peer.config.id).cloned();
        let facts = Facts {
            cluster: cluster.clone(),
            failed: failed.map(|(_, at)| at.clone()),
            others: others.map(|(_, at)| at.clone()).collect(),
            successor: successor.or(named),
            is_successful,
            epoch,
            here: here.unwrap_or_default(),
            said: state.directives.in_force(cluster, clock::wall_millis()),
            stage: run.stage,
            attempt: run.attempt,
        };
        Some(variables(&facts, incident))
    })
}

/// The epoch of a cluster, and where its instances are.
fn members(state: &State, cluster: &ClusterName) -> Option<(Epoch, Vec<(InstanceId, Address)>)> {
    if let Some(of) = state.clusters.get(cluster) {
        let all = of.cluster.members.iter();
        let all = all.map(|(id, it)| (id.clone(), it.address.clone()));
        return Some((of.cluster.epoch, all.collect()));
    }
    let of = &state.sql.get(cluster)?.cluster;
    let all = of.members.iter();
    let all = all.map(|(id, it)| (id.clone(), it.address.clone()));
    Some((of.epoch, all.collect()))
}
