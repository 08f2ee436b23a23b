//! One step over SQL: sent only by a confirmed leader, ended before anybody else can lead, looked at again afterwards.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::sleep;

use crate::clock;
use crate::model::sql_only::end_of;
use crate::model::{
    Address, ClusterName, Failure, InstanceId, Position, Role, Timestamp, WalPosition,
};
use crate::provider::{DatabaseProvider, Extent, Operation, Provider, ProviderError};
use crate::recovery::sql_only::promotion::{why_not_elected, why_not_quiet};
use crate::recovery::sql_only::{SqlAction, SqlEvidence, SqlStep};
use crate::server::Peer;
use crate::state::{Observed, SqlChange};

/// How long a majority may take to confirm the leader; what is left of its time is the change's.
const CONFIRM: Duration = Duration::from_millis(150);
/// A change that has less than this left is not begun.
const LEAST: Duration = Duration::from_millis(20);
/// Before an attempt is made again.
const AGAIN: Duration = Duration::from_millis(10);
/// A read needs no leader.
const READ_WITHIN: Duration = Duration::from_millis(500);

/// What makes two steps the same.
pub(super) type Key = (InstanceId, &'static str);

pub(super) fn key(step: &SqlStep) -> Key {
    (step.instance.clone(), step.action.name())
}

/// The steps under way, by cluster.
#[derive(Default)]
pub(super) struct UnderWay {
    steps: Mutex<BTreeMap<ClusterName, BTreeMap<Key, SqlStep>>>,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, BTreeMap<Key, SqlStep>>> {
        self.steps.lock().expect("no holder of the steps panics")
    }

    pub(super) fn of(&self, cluster: &ClusterName) -> Vec<SqlStep> {
        let steps = self.lock();
        let of = steps.get(cluster);
        of.map(|steps| steps.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether the step is new; one that is under way already is left alone.
    pub(super) fn begin(&self, cluster: &ClusterName, step: &SqlStep) -> bool {
        let mut steps = self.lock();
        let steps = steps.entry(cluster.clone()).or_default();
        let is_new = !steps.contains_key(&key(step));
        if is_new {
            steps.insert(key(step), step.clone());
        }
        is_new
    }

    fn end(&self, cluster: &ClusterName, key: &Key) {
        if let Some(steps) = self.lock().get_mut(cluster) {
            steps.remove(key);
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

/// What a step came to.
enum End {
    /// Something to be recorded.
    Evidence(SqlEvidence),
    /// Something that is so from now on.
    Observed(Observed),
    /// It is done, and the next look shows it.
    Shown,
}

/// Why a step did not come to anything.
enum Stuck {
    /// The instance refuses or does not answer; nothing was changed, or what was is seen at the next look.
    Failed(String),
    /// What became of a change must be looked at before anything else.
    Unknown(String),
}

impl From<ProviderError> for Stuck {
    fn from(error: ProviderError) -> Stuck {
        match error.outcome_unknown() {
            true => Stuck::Unknown(error.to_string()),
            false => Stuck::Failed(error.to_string()),
        }
    }
}

/// Carries out a step, and has what it brought recorded.
pub(super) async fn carry_out(
    peer: Arc<Peer>,
    cluster: ClusterName,
    address: Address,
    step: SqlStep,
) -> Key {
    let key = key(&step);
    tracing::debug!(%cluster, %step, "step begins");
    let ends = clock::monotonic().after(step.action.timeout());
    let end = match peer.provider_of(&cluster) {
        Some(provider) => {
            let hand = Hand {
                peer: &peer,
                provider: &provider,
                of: &address,
                step: &step,
                ends,
            };
            hand.perform().await
        }
        None => Err("this peer has no table [postgresql]".to_owned()),
    };
    match end {
        Ok(End::Evidence(evidence)) => {
            let order = step.order;
            record(
                &peer,
                &cluster,
                &step,
                SqlChange::Record { order, evidence },
            )
            .await;
        }
        Ok(End::Observed(observed)) => {
            let order = step.order;
            record(
                &peer,
                &cluster,
                &step,
                SqlChange::Observe { order, observed },
            )
            .await;
        }
        Ok(End::Shown) => tracing::debug!(%cluster, %step, "step ended"),
        Err(reason) => {
            tracing::warn!(%cluster, %step, reason, "step failed");
            let (order, at) = (step.order, clock::monotonic());
            let failure = Failure {
                order,
                at,
                reason,
                backs: false,
            };
            peer.sql.board.failure(&cluster, &step.instance, failure);
        }
    }
    // What it changed is seen at once.
    peer.sql.board.again(&cluster, &step.instance).notify_one();
    peer.sql.under_way.end(&cluster, &key);
    key
}

async fn record(peer: &Peer, cluster: &ClusterName, step: &SqlStep, change: SqlChange) {
    tracing::info!(%cluster, %step, ?change, "step brought evidence");
    match peer.propose_sql(cluster.clone(), change).await {
        Ok(Ok(_)) => {}
        Ok(Err(rejection)) => {
            tracing::info!(%cluster, %step, %rejection, "the evidence was not taken");
        }
        Err(error) => {
            tracing::warn!(%cluster, %step, %error, "the evidence may not be recorded");
        }
    }
}

/// All that a step needs.
struct Hand<'a> {
    peer: &'a Peer,
    provider: &'a Provider,
    of: &'a Address,
    step: &'a SqlStep,
    ends: Timestamp,
}

impl Hand<'_> {
    /// Tries until it is done, refused, or out of time. A change whose answer was lost is looked at, not made again blindly:
    /// every attempt begins with a look.
    async fn perform(&self) -> Result<End, String> {
        loop {
            let why = match self.attempt().await {
                Ok(end) => return Ok(end),
                Err(Stuck::Failed(why)) => return Err(why),
                Err(Stuck::Unknown(why)) => why,
            };
            if clock::monotonic().after(LEAST) >= self.ends {
                return Err(why);
            }
            sleep(AGAIN).await;
        }
    }

    /// Who acts, until when. A follower refuses its vote to others for some time after it heard its leader, so what was
    /// confirmed by a majority now ends before another one can lead.
    async fn operation(&self) -> Result<Operation, Stuck> {
        let asked_at = clock::monotonic();
        let confirmed = self.peer.consensus.confirm_leadership(CONFIRM).await;
        if confirmed.is_err() {
            return Err(Stuck::Unknown(
                "this peer does not lead, or cannot reach a majority".to_owned(),
            ));
        }
        let alone_until = asked_at.after(self.peer.consensus.timing().lease());
        let within = alone_until.min(self.ends).since(clock::monotonic());
        if within < LEAST {
            return Err(Stuck::Unknown(
                "it took too long to confirm the leader".to_owned(),
            ));
        }
        Ok(Operation {
            epoch: self.step.order.epoch,
            recovery: self.step.order.to_string(),
            within,
            dry_run: false,
        })
    }

    async fn attempt(&self) -> Result<End, Stuck> {
        let (provider, of) = (self.provider, self.of);
        let instance = self.step.instance.clone();
        match &self.step.action {
            SqlAction::Quiet => {
                let by = self.operation().await?;
                provider.fence(&by, of).await?;
                let seen = provider.discover(of, READ_WITHIN).await?;
                let end = end_of(&seen).filter(|_| seen.role == Role::Primary);
                let position = end.ok_or_else(|| {
                    Stuck::Failed("it is no primary whose WAL can be located".to_owned())
                })?;
                Ok(End::Evidence(SqlEvidence::Quieted { instance, position }))
            }
            SqlAction::Fence => {
                let by = self.operation().await?;
                provider.fence(&by, of).await?;
                Ok(End::Shown)
            }
            SqlAction::Unquiet => {
                let by = self.operation().await?;
                provider.set_read_only(&by, of, false).await?;
                Ok(End::Evidence(SqlEvidence::Unquieted { instance }))
            }
            SqlAction::Await { to } => {
                let left = self.ends.since(clock::monotonic());
                let to = Position::Wal(*to);
                provider
                    .wait_position(of, Extent::Received, &to, left)
                    .await?;
                Ok(End::Evidence(SqlEvidence::CaughtUp { instance }))
            }
            SqlAction::Revoke => {
                let by = self.operation().await?;
                let position = match provider.revoke(&by, of).await? {
                    Some(Position::Wal(at)) => Some(at),
                    Some(_) | None => None,
                };
                Ok(End::Evidence(SqlEvidence::Revoked { instance, position }))
            }
            SqlAction::Promote {
                at_least,
                sync,
                beside,
            } => {
                if let Some(why) = self.why_not_now(*at_least, beside.as_ref()).await? {
                    return Ok(End::Evidence(SqlEvidence::CannotPromote { instance, why }));
                }
                if let Some(policy) = sync {
                    let by = self.operation().await?;
                    provider.set_sync(&by, of, policy).await?;
                }
                let by = self.operation().await?;
                match provider.promote(&by, of).await {
                    // The next look says on which timeline.
                    Ok(_) | Err(ProviderError::WrongRole { .. }) => Ok(End::Shown),
                    Err(error) if error.outcome_unknown() => Ok(End::Shown),
                    Err(error) => Err(error.into()),
                }
            }
            SqlAction::Repoint { to } => {
                let by = self.operation().await?;
                provider.reparent(&by, of, to).await?;
                let by = self.operation().await?;
                provider.start_replication(&by, of).await?;
                self.until_it_receives(to).await
            }
            SqlAction::Restore => {
                let by = self.operation().await?;
                provider.reattach(&by, of).await?;
                let by = self.operation().await?;
                provider.start_replication(&by, of).await?;
                Ok(End::Shown)
            }
            SqlAction::Prove { rule, policy } => {
                let left = self.ends.since(clock::monotonic());
                provider.prove_sync(of, policy, left).await?;
                let rule = rule.clone();
                Ok(End::Observed(Observed::Rule { rule }))
            }
        }
    }

    /// Waits until it receives. Nobody is kept waiting by one that cannot: what it lacks is said in its log.
    async fn until_it_receives(&self, from: &Address) -> Result<End, Stuck> {
        loop {
            if self
                .provider
                .is_replica_running(self.of, READ_WITHIN)
                .await?
            {
                return Ok(End::Shown);
            }
            if clock::monotonic().after(LEAST) >= self.ends {
                let why = format!("it does not receive from {from}; its log says why");
                return Err(Stuck::Failed(why));
            }
            sleep(AGAIN).await;
        }
    }

    /// Why it must not be promoted now; none if it may be.
    async fn why_not_now(
        &self,
        at_least: WalPosition,
        beside: Option<&Address>,
    ) -> Result<Option<String>, Stuck> {
        if let Some(beside) = beside {
            let seen = self.provider.discover(beside, READ_WITHIN).await;
            let seen = seen.as_ref().map_err(|error| error as &dyn Display);
            if let Some(why) = why_not_quiet(beside, seen) {
                return Ok(Some(why));
            }
        }
        let seen = self.provider.discover(self.of, READ_WITHIN).await?;
        Ok(why_not_elected(at_least, &seen))
    }
}
