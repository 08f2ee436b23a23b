//! What is asked of an instance less often than its looks are made: whether a primary's disk takes writes, where its looks
//! leave that open; and now and then whether anything is missing that a failover would need there.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::adoption::receivers;
use super::probe::number_of;
use crate::clock;
use crate::decision::sql_only::write_path::{Tried, WritePath};
use crate::model::{Address, ClusterName, InstanceFacts, InstanceId, Role, Timestamp};
use crate::provider::{DatabaseProvider, Outcome, Phase, Provider, ProviderError};
use crate::server::{Peer, expect_no_panic};

/// How long a commit may take before it is given up: long enough to end by itself if the disk was only busy.
const COMMIT_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to say what is missing.
const PREFLIGHT_WITHIN: Duration = Duration::from_secs(2);
/// From one preflight to the next, where nothing is missing: rights and settings change rarely, and hundreds of instances are
/// to cost a peer little.
const PREFLIGHT_EVERY: Duration = Duration::from_secs(600);
/// Where something is missing: a person who mends it wants to see that it is mended.
const PREFLIGHT_AGAIN: Duration = Duration::from_secs(20);
/// Where it could not be made: the instance is looked at meanwhile, and that says what is wrong.
const PREFLIGHT_RETRY: Duration = Duration::from_secs(60);
/// The first one comes up to so much later than that, so that those of many instances are spread.
const PREFLIGHT_SPREAD_MS: u64 = 40_000;

/// What a task brought back.
enum Found {
    /// Of a commit.
    Tried(Tried),
    /// Of a preflight; none if it could not be made.
    Lacks(Option<Vec<String>>),
}

/// The checks of one instance. They end with it.
pub(super) struct Checks {
    peer: Arc<Peer>,
    cluster: ClusterName,
    instance: InstanceId,
    address: Address,
    provider: Arc<Provider>,
    path: WritePath,
    /// The next preflight, unless something is known to be missing.
    preflight_at: Timestamp,
    preflight_ended: Timestamp,
    /// One commit and one preflight at most.
    tasks: JoinSet<Found>,
    is_trying: bool,
    is_asking: bool,
}

impl Checks {
    pub(super) fn new(
        peer: Arc<Peer>,
        (cluster, instance, address): (ClusterName, InstanceId, Address),
        provider: Arc<Provider>,
    ) -> Checks {
        let number = number_of(&cluster, &instance);
        let spread = Duration::from_millis(number % PREFLIGHT_SPREAD_MS);
        Checks {
            peer,
            cluster,
            instance,
            address,
            provider,
            path: WritePath::default(),
            preflight_at: clock::monotonic().after(PREFLIGHT_AGAIN + spread),
            preflight_ended: clock::monotonic(),
            tasks: JoinSet::new(),
            is_trying: false,
            is_asking: false,
        }
    }

    /// After a look that began at `at` and brought these facts; none if it brought none, which says nothing of a disk.
    pub(super) fn after_look(&mut self, facts: Option<&InstanceFacts>, at: Timestamp) {
        while let Some(ended) = self.tasks.try_join_next() {
            match expect_no_panic(ended) {
                Some(Found::Tried(tried)) => {
                    self.is_trying = false;
                    self.path.ended(tried, at);
                }
                Some(Found::Lacks(lacks)) => {
                    self.is_asking = false;
                    self.note_lacks(lacks, at);
                }
                None => {}
            }
        }
        let Some(facts) = facts else {
            return;
        };
        let log = facts.log.filter(|_| facts.role == Role::Primary);
        if self.path.note(log, at) && !self.is_trying {
            self.is_trying = true;
            self.path.begun(at);
            self.commit();
        }
        let stall = self.path.stall(at);
        let board = &self.peer.sql.board;
        board.stalled(&self.cluster, &self.instance, stall);
        let may_be_mended = board.is_lacking(&self.cluster, &self.instance)
            && at.since(self.preflight_ended) >= PREFLIGHT_AGAIN;
        if (at >= self.preflight_at || may_be_mended) && !self.is_asking {
            self.is_asking = true;
            self.preflight();
        }
    }

    fn commit(&mut self) {
        let (provider, address) = (self.provider.clone(), self.address.clone());
        self.tasks.spawn(async move {
            let ended = provider.probe_write(&address, COMMIT_WITHIN).await;
            Found::Tried(tried(&ended))
        });
    }

    fn preflight(&mut self) {
        let now = clock::monotonic();
        let seen = self.peer.sql.board.all_fresh(&self.cluster, now);
        let instances = seen.iter().map(|it| (&it.address, &**it));
        let receivers = receivers(instances, &self.address);
        let (provider, address) = (self.provider.clone(), self.address.clone());
        self.tasks.spawn(async move {
            let Provider::Postgres(provider) = &*provider else {
                return Found::Lacks(Some(vec![]));
            };
            let asked = provider.preflight(&address, &receivers, PREFLIGHT_WITHIN);
            let needed = asked.await.ok().map(|lacks| {
                let needed = lacks.into_iter().filter(|it| it.is_needed);
                needed.map(|it| it.what).collect()
            });
            Found::Lacks(needed)
        });
    }

    fn note_lacks(&mut self, lacks: Option<Vec<String>>, at: Timestamp) {
        self.preflight_ended = at;
        let pause = match lacks {
            Some(_) => PREFLIGHT_EVERY,
            None => PREFLIGHT_RETRY,
        };
        self.preflight_at = at.after(pause);
        if let Some(lacks) = lacks {
            let board = &self.peer.sql.board;
            board.lacks(&self.cluster, &self.instance, lacks);
        }
    }
}

/// How a commit ended, as far as it speaks of the disk.
fn tried(ended: &Result<(), ProviderError>) -> Tried {
    match ended {
        Ok(()) => Tried::Confirmed,
        Err(ProviderError::Timeout {
            outcome: Outcome::Unknown,
            ..
        }) => Tried::Silent,
        Err(
            error @ ProviderError::Timeout {
                phase: Phase::Startup | Phase::Query,
                outcome: Outcome::NotApplied,
                ..
            },
        ) => Tried::NotLetIn(error.to_string()),
        Err(ProviderError::Server { sqlstate, message }) if is_of_a_disk(sqlstate) => {
            Tried::Refused(message.clone())
        }
        Err(_) => Tried::NotSent,
    }
}

/// `disk_full`, and the class of errors of the system (PostgreSQL's manual, appendix A).
fn is_of_a_disk(sqlstate: &str) -> bool {
    sqlstate == "53100" || sqlstate.starts_with("58")
}
