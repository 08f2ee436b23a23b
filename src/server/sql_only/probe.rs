//! Every peer looks at every instance of every cluster without agents over a session that is kept, at primaries twice in a
//! second and at standbys once; and at once when the server or the network ends that session, which is how a server that dies
//! makes itself known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::checks::Checks;
use crate::clock;
use crate::model::sql_only::{LOOK_FRESH_FOR, LOOKS_APART, Look, Outcome};
use crate::model::{Address, ClusterName, InstanceId, Opinion, SystemIdentifier, Timestamp};
use crate::provider::{DatabaseProvider, ProviderError};
use crate::server::{Peer, expect_no_panic};

/// From one look to the next, where nothing speaks for a hurry: so long that hundreds of instances cost a peer little, and so
/// short that what a quick look has seen counts until the next has ended, however slow that is. A host that vanishes without
/// a word is found by these looks alone; whoever hangs up is looked at at once.
const EVERY: Duration = Duration::from_millis(500);
/// The same for a standby: no write waits for it to be found dead, and whoever needs to know more of it has it looked at.
const STANDBY_EVERY: Duration = Duration::from_secs(1);
/// Whether nobody is there is looked at again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(LOOKS_APART.as_millis() as u64 + 10);
/// Where nothing hurries, looks begin together at multiples of this: to wake up costs a peer as much as a look does, and those
/// of many instances share it.
const TOGETHER: Duration = Duration::from_millis(100);
/// Those that are first looked at together are spread over so many parts of the time to their next look.
const SPREAD: u64 = 5;
/// How long a look may take. A server that needs longer is looked at again anyway, and what one look has seen counts until the
/// next has ended.
const WITHIN: Duration = Duration::from_millis(900);
const _: () = assert!(STANDBY_EVERY.as_millis() + WITHIN.as_millis() < LOOK_FRESH_FOR.as_millis());
const _: () = assert!(2 * WITHIN.as_millis() < LOOK_FRESH_FOR.as_millis());
/// So many looks at once at servers that answer; the others wait their turn.
const AT_ONCE: usize = 128;
/// And so many at those that let the whole time of their last look pass without an answer. Each of these looks takes
/// [`WITHIN`], so that of twice as many the word is fresh all the time.
const HANGING_AT_ONCE: usize = 64;
/// How long another peer waits for a look of ours: until one that is under way at a server that hangs has ended, and somewhat
/// more. Where there is an answer or a refusal, two looks take a few milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_millis(WITHIN.as_millis() as u64 + 100);
/// How long one that asks another peer for a look waits: as long, and for the way there and back.
pub(super) const ASK_WITHIN: Duration =
    Duration::from_millis(ANSWER_WITHIN.as_millis() as u64 + 150);

/// Where looks wait for their turn. Whoever hangs keeps its place for as long as a look may take: in a place of those that
/// answer it would have healthy servers seem silent.
struct Places {
    answering: Semaphore,
    hanging: Semaphore,
}

impl Places {
    fn new() -> Places {
        Places {
            answering: Semaphore::new(AT_ONCE),
            hanging: Semaphore::new(HANGING_AT_ONCE),
        }
    }

    /// Among whom one is looked at whose last look failed with this; none if it did not fail, or is the first.
    fn after(&self, failed: Option<&ProviderError>) -> &Semaphore {
        match failed {
            Some(ProviderError::Timeout { .. }) => &self.hanging,
            // An answer, or that nobody is there, takes no time.
            Some(_) | None => &self.answering,
        }
    }
}

/// Whom to look at.
type Target = (ClusterName, InstanceId, Address);

/// Looks for ever.
pub(in crate::server) async fn run(peer: Arc<Peer>) -> String {
    if peer.sql.access.is_none() {
        // There is nothing to look with.
        std::future::pending::<()>().await;
    }
    let places = Arc::new(Places::new());
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
    places: Arc<Places>,
) {
    let Some(provider) = peer.provider_of(&cluster) else {
        return;
    };
    let again = peer.sql.board.again(&cluster, &instance);
    let target = (cluster.clone(), instance.clone(), address.clone());
    let mut checks = Checks::new(peer.clone(), target, provider.clone());
    let mut first = Some(number_of(&cluster, &instance));
    let mut failed = None;
    loop {
        let place = places.after(failed.as_ref()).acquire().await;
        let place = place.expect("nobody closes it");
        let at = clock::monotonic();
        let found = provider.discover(&address, WITHIN).await;
        drop(place);
        let outcome = match found {
            Ok(facts) if facts.system != system => {
                failed = None;
                Outcome::Unclear(format!("another history answers there, {}", facts.system))
            }
            Ok(facts) => {
                failed = None;
                Outcome::Facts(Arc::new(facts))
            }
            Err(error) => outcome_of(failed.insert(error)),
        };
        checks.after_look(outcome.facts(), at);
        let pace = pace(&outcome);
        let now = clock::monotonic();
        let look = Look { at, outcome };
        let opinion = peer.sql.board.note(&cluster, &instance, look, now);
        let every = match opinion {
            Opinion::Gone => EVERY,
            Opinion::Lives | Opinion::Unsure => pace,
        };
        let next = next(at, every, first.take());
        let left = next.since(clock::monotonic());
        tokio::select! {
            () = sleep(left) => {}
            () = again.notified() => {}
            () = provider.hung_up(&address) => {}
        }
    }
}

/// From a look that found this to the next.
fn pace(found: &Outcome) -> Duration {
    match found {
        Outcome::Facts(facts) if facts.role.is_in_recovery() => STANDBY_EVERY,
        Outcome::Facts(_) | Outcome::Refused(_) | Outcome::Unclear(_) => EVERY,
        Outcome::Gone(_) => AGAIN_AFTER,
    }
}

/// When the next look begins, so long after one that began at `at`. Whoever is first seen now, with so many others, is spread
/// by its number.
fn next(at: Timestamp, every: Duration, first: Option<u64>) -> Timestamp {
    if every < TOGETHER {
        return at.after(every);
    }
    let pause = match first {
        Some(number) => every * (1 + (number % SPREAD) as u32) / SPREAD as u32,
        None => every,
    };
    let together = TOGETHER.as_millis() as u64;
    Timestamp(at.after(pause).0 / together * together)
}

/// Anything will do that differs from instance to instance.
pub(super) fn number_of(cluster: &ClusterName, instance: &InstanceId) -> u64 {
    let letters = cluster.as_str().bytes().chain(instance.as_str().bytes());
    letters.fold(0_u64, |number, letter| {
        number.wrapping_mul(31).wrapping_add(u64::from(letter))
    })
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
    /// What this peer thinks of an instance, from looks of which the last ended after now. For other peers. A look at a server
    /// that hangs ends when its time is over: nobody has answered until then, whenever it began.
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
                    (Some(ended), opinion) if ended >= asked_at && opinion != Opinion::Unsure => {
                        return opinion;
                    }
                    _ => {}
                }
                if changes.changed().await.is_err() {
                    return Opinion::Unsure;
                }
            }
        };
        // What was seen before it was asked is no answer: who asks has its own old looks.
        let decided = timeout(ANSWER_WITHIN, decided).await;
        decided.unwrap_or(Opinion::Unsure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Outcome as Change, Phase};

    fn silence(phase: Phase) -> ProviderError {
        ProviderError::Timeout {
            operation: "look",
            within: WITHIN,
            phase,
            outcome: Change::NotApplied,
        }
    }

    #[test]
    fn whoever_hangs_takes_no_place_of_one_that_answers() {
        let places = Places::new();
        let hung = [Phase::Tcp, Phase::Startup, Phase::Query].map(silence);
        let hung = hung.iter().cycle();
        let held: Vec<_> = hung
            .take(2 * AT_ONCE)
            .filter_map(|it| places.after(Some(it)).try_acquire().ok())
            .collect();
        assert_eq!(held.len(), HANGING_AT_ONCE);
        let refused = ProviderError::TooManyConnections(String::new());
        let gone = ProviderError::Unreachable {
            phase: Phase::Tcp,
            source: "refused".into(),
        };
        for answers in [None, Some(&refused), Some(&gone)] {
            let free = places.after(answers).available_permits();
            assert_eq!(free, AT_ONCE, "{answers:?}");
        }
    }

    #[test]
    fn looks_that_need_not_hurry_begin_together_and_as_often_as_they_would_alone() {
        let check = |at, every, first, expected| {
            assert_eq!(next(Timestamp(at), every, first), Timestamp(expected));
        };
        // One that began a little late is made up for.
        check(10_001, EVERY, None, 10_500);
        check(10_099, EVERY, None, 10_500);
        check(10_003, STANDBY_EVERY, None, 11_000);
        check(10_001, AGAIN_AFTER, None, 10_061);
        check(10_001, EVERY, Some(0), 10_100);
        check(10_001, EVERY, Some(9), 10_500);
        check(10_001, STANDBY_EVERY, Some(7), 10_600);
    }
}
