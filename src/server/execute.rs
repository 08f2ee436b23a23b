//! Carries out one step: sends it, waits for its outcome, and has the evidence recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock;
use crate::duty::{Outcome, Refusal};
use crate::model::{ClusterName, Epoch, Failure, InstanceId};
use crate::recovery::{Action, Evidence, Step};
use crate::state::Change;
use crate::state::level::has_verdicts;

use super::Peer;
use super::sessions::CommandError;

/// How soon, and how often, an agent whose connection ended is looked for again to learn how its shutdown ended.
const JOIN_AFTER: Duration = Duration::from_millis(200);
const JOINS: u32 = 10;

/// What makes two steps the same: a step with a newer order but an equal key joins the one under way.
pub(super) type Key = (InstanceId, &'static str, Epoch, Option<String>);

pub(super) fn key(step: &Step) -> Key {
    let subject = match &step.action {
        Action::Locate { rejoining } => Some(rejoining.to_string()),
        Action::Configure {
            synchronous_standby_names,
            ..
        }
        | Action::Confirm {
            synchronous_standby_names,
            ..
        } => Some(synchronous_standby_names.clone()),
        Action::Ask { .. }
        | Action::Initialise { .. }
        | Action::Fence
        | Action::Promote { .. }
        | Action::Follow { .. }
        | Action::Rebuild { .. }
        | Action::TakeOver
        | Action::ShutDown => None,
    };
    (
        step.instance.clone(),
        step.action.name(),
        step.order.epoch,
        subject,
    )
}

/// The steps under way, by cluster.
#[derive(Default)]
pub(super) struct UnderWay {
    steps: Mutex<BTreeMap<ClusterName, BTreeMap<Key, Step>>>,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, BTreeMap<Key, Step>>> {
        self.steps.lock().expect("no holder of the steps panics")
    }

    pub(super) fn of(&self, cluster: &ClusterName) -> Vec<Step> {
        let steps = self.lock();
        let of = steps.get(cluster);
        of.map(|steps| steps.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether the step is new; one that is under way already takes over the newer order.
    pub(super) fn begin(&self, cluster: &ClusterName, step: &Step) -> bool {
        let mut steps = self.lock();
        let steps = steps.entry(cluster.clone()).or_default();
        steps.insert(key(step), step.clone()).is_none()
    }

    pub(super) fn end(&self, cluster: &ClusterName, key: &Key) -> Option<Step> {
        self.lock().get_mut(cluster)?.remove(key)
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

/// How a step ended, for the loop: whether sending it again at once makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// What it brought is on the record or on the board.
    Known,
    /// It is done, and the next report shows it.
    Shown,
    /// It failed, and the view says why.
    Failed,
}

/// Carries out `step`. The step stays under way until its evidence was applied, so that the loop never
/// sends it again in between.
pub(super) async fn carry_out(peer: Arc<Peer>, cluster: ClusterName, step: Step) -> (Key, End) {
    let key = key(&step);
    let deadline = step.action.timeout();
    tracing::debug!(%cluster, %step, "step begins");
    let sent = send(&peer, &cluster, &step);
    let mut backs = false;
    let end = match tokio::time::timeout(deadline, sent).await {
        Err(_) => Err(format!(
            "{} brought no outcome within {} ms",
            step.action.name(),
            deadline.as_millis()
        )),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(outcome)) => {
            backs = matches!(outcome, Outcome::Refused(Refusal::Backing { .. }));
            settle(&peer, &cluster, &step, outcome).await
        }
    };
    // One that joined meanwhile has a newer order; the failure speaks for it too.
    let latest = peer.under_way.end(&cluster, &key);
    match end {
        Ok(end) => {
            tracing::debug!(%cluster, %step, "step ended");
            (key, end)
        }
        Err(reason) => {
            // A question that fails is asked again; it is no news.
            if !matches!(step.action, Action::Ask { .. }) {
                tracing::warn!(%cluster, %step, reason, "step failed");
            }
            let order = latest.map_or(step.order, |latest| latest.order.max(step.order));
            let at = clock::monotonic();
            let failure = Failure {
                order,
                at,
                reason,
                backs,
            };
            peer.board.failure(&cluster, &step.instance, failure);
            (key, End::Failed)
        }
    }
}

/// Sends it. An agent whose connection ended goes on shutting its server down: it is asked how that ended, once, rather than
/// taken for one that does not.
async fn send(peer: &Peer, cluster: &ClusterName, step: &Step) -> Result<Outcome, CommandError> {
    let sent = peer.sessions.command(cluster, step.clone()).await;
    if sent != Err(CommandError::SessionEnded) || step.action != Action::ShutDown {
        return sent;
    }
    for _ in 0..JOINS {
        tokio::time::sleep(JOIN_AFTER).await;
        let joined = peer.sessions.command(cluster, step.clone()).await;
        if joined != Err(CommandError::NotConnected) {
            return joined;
        }
    }
    sent
}

async fn settle(
    peer: &Peer,
    cluster: &ClusterName,
    step: &Step,
    outcome: Outcome,
) -> Result<End, String> {
    let evidence = match outcome {
        Outcome::Evidence(evidence) if evidence.answers(step) => {
            let is_understood = peer.consensus.read(|state| has_verdicts(state.level));
            match is_understood {
                true => evidence.in_few_words(),
                false => evidence.in_few_words().in_plain_words(),
            }
        }
        Outcome::Evidence(evidence) => {
            tracing::error!(%cluster, %step, ?evidence, "an agent answered what it was not asked");
            return Err(format!(
                "{} was answered with something else",
                step.action.name()
            ));
        }
        Outcome::At(lsn) => match &step.action {
            Action::Locate { rejoining } => Evidence::Located {
                instance: rejoining.clone(),
                target: lsn,
            },
            _ => return Err(format!("{} answered with a place", step.action.name())),
        },
        Outcome::Done => return Ok(End::Shown),
        Outcome::Answer(answer) => {
            let at = clock::monotonic();
            peer.board.answer(cluster, &step.instance, at, answer);
            return Ok(End::Known);
        }
        Outcome::Refused(refusal) => return Err(format!("refused: {refusal}")),
        Outcome::Failed(why) => return Err(why),
    };
    tracing::info!(%cluster, %step, ?evidence, "step brought evidence");
    let change = Change::Record {
        order: step.order,
        evidence,
    };
    match peer.propose(cluster.clone(), change).await {
        Ok(Ok(_)) => {}
        // The record moved on, or this peer no longer leads: the loop looks again.
        Ok(Err(rejection)) => {
            tracing::info!(%cluster, %step, %rejection, "the evidence was not taken");
            return Ok(End::Shown);
        }
        Err(error) => {
            tracing::warn!(%cluster, %step, %error, "the evidence may not be recorded");
            return Ok(End::Shown);
        }
    }
    Ok(End::Known)
}
