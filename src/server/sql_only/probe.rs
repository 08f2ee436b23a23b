//! Every peer looks at every instance of every cluster without agents, twice in a second, over a session that is kept; and at
//! once when the server or the network ends that session, which is how a server that dies makes itself known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::model::sql_only::{LOOK_FRESH_FOR, LOOKS_APART, Look, Outcome};
use crate::model::{Address, ClusterName, InstanceId, Opinion, SystemIdentifier};
use crate::provider::{DatabaseProvider, ProviderError};
use crate::server::{Peer, expect_no_panic};

/// From one look to the next, where nothing speaks for a hurry: so long that hundreds of instances cost a peer little, and so
/// short that what a quick look has seen counts until the next has ended, however slow that is. A host that vanishes without
/// a word is found by these looks alone; whoever hangs up is looked at at once.
const EVERY: Duration = Duration::from_millis(500);
/// Whether nobody is there is looked at again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(LOOKS_APART.as_millis() as u64 + 10);
/// How long a look may take. A server that needs longer is looked at again anyway.
const WITHIN: Duration = Duration::from_secs(1);
const _: () = assert!(EVERY.as_millis() + WITHIN.as_millis() <= LOOK_FRESH_FOR.as_millis());
/// So many looks at once; the others wait their turn.
const AT_ONCE: usize = 128;
/// How long another peer waits for a look of ours: time for two of them.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// Whom to look at.
type Target = (ClusterName, InstanceId, Address);

/// Looks for ever.
pub(in crate::server) async fn run(peer: Arc<Peer>) -> String {
    if peer.sql.access.is_none() {
        // There is nothing to look with.
        std::future::pending::<()>().await;
    }
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut watch = peer.consensus.watch();
    let mut looking: BTreeMap<Target, AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        watch.mark_unchanged();
        let wanted = peer.consensus.read(|state| {
            let of = |(name, state): (&ClusterName, &crate::state::SqlState)| {
                let (name, system) = (name.clone(), state.cluster.system);
                let members = state.cluster.members.clone().into_iter();
                members.map(move |(id, it)| ((name.clone(), id, it.address), system))
            };
            let all: BTreeMap<Target, SystemIdentifier> = state.sql.iter().flat_map(of).collect();
            all
        });
        let of_now: BTreeSet<&ClusterName> = wanted.keys().map(|(name, ..)| name).collect();
        let known = looking.keys().map(|(name, ..)| name);
        let gone: BTreeSet<ClusterName> = known
            .filter(|name| !of_now.contains(name))
            .cloned()
            .collect();
        looking.retain(|target, task| {
            let is_wanted = wanted.contains_key(target);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
        peer.sql.forget(&gone);
        for (target, system) in wanted {
            looking
                .entry(target.clone())
                .or_insert_with(|| tasks.spawn(look(peer.clone(), target, system, places.clone())));
        }
        tokio::select! {
            changed = watch.changed() => if changed.is_err() {
                return "the replicated log ended".to_owned();
            },
            Some(ended) = tasks.join_next() => {
                expect_no_panic(ended);
            }
        }
    }
}

async fn look(
    peer: Arc<Peer>,
    (cluster, instance, address): Target,
    system: SystemIdentifier,
    places: Arc<Semaphore>,
) {
    let Some(provider) = peer.provider_of(&cluster) else {
        return;
    };
    let again = peer.sql.board.again(&cluster, &instance);
    loop {
        let place = places.acquire().await.expect("nobody closes it");
        let at = clock::monotonic();
        let outcome = match provider.discover(&address, WITHIN).await {
            Ok(facts) if facts.system != system => {
                Outcome::Unclear(format!("another history answers there, {}", facts.system))
            }
            Ok(facts) => Outcome::Facts(Arc::new(facts)),
            Err(error) => outcome_of(&error),
        };
        drop(place);
        let is_gone = matches!(outcome, Outcome::Gone(_));
        let now = clock::monotonic();
        let look = Look { at, outcome };
        let opinion = peer.sql.board.note(&cluster, &instance, look, now);
        let is_undecided = is_gone && opinion != Opinion::Gone;
        let every = if is_undecided { AGAIN_AFTER } else { EVERY };
        let left = at.after(every).since(clock::monotonic());
        tokio::select! {
            () = sleep(left) => {}
            () = again.notified() => {}
            () = provider.hung_up(&address) => {}
        }
    }
}

fn outcome_of(error: &ProviderError) -> Outcome {
    let words = error.to_string();
    match (error.evidence_of_death(), error.is_answer()) {
        (true, _) => Outcome::Gone(words),
        (false, true) => Outcome::Refused(words),
        (false, false) => Outcome::Unclear(words),
    }
}

impl Peer {
    /// What this peer thinks of an instance, from looks of which the last began now. For other peers.
    pub async fn sql_opinion(&self, cluster: &ClusterName, instance: &InstanceId) -> Opinion {
        let asked_at = clock::monotonic();
        let board = &self.sql.board;
        let is_member = self.consensus.read(|state| {
            let known = state.sql.get(cluster);
            known.is_some_and(|it| it.cluster.members.contains_key(instance))
        });
        if !is_member || self.sql.access.is_none() {
            return Opinion::Unsure;
        }
        let again = board.again(cluster, instance);
        let mut changes = board.watch(cluster);
        let decided = async {
            again.notify_one();
            loop {
                changes.mark_unchanged();
                match board.opinion(cluster, instance, clock::monotonic()) {
                    (Some(at), opinion) if at >= asked_at && opinion != Opinion::Unsure => {
                        return opinion;
                    }
                    _ => {}
                }
                if changes.changed().await.is_err() {
                    return Opinion::Unsure;
                }
            }
        };
        let decided = timeout(ANSWER_WITHIN, decided).await;
        decided.unwrap_or_else(|_| board.opinion(cluster, instance, clock::monotonic()).1)
    }
}
