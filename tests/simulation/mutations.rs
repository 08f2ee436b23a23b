//! Every safety rule, broken on purpose, is caught: by several seeds, and by the invariant it belongs to.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use primacy::recovery::Mutation;

use crate::invariants::Rule;
use crate::{DEFAULT_SEEDS, number, run};

/// How many different seeds must catch each.
const CATCHES: usize = 5;

/// Which invariants a broken rule must be caught by at least once: one of these.
fn belongs(rule: Mutation) -> &'static [Rule] {
    use Mutation as M;
    use Rule as R;
    match rule {
        M::QuorumTest | M::ScannedPosition | M::DataIncarnation => &[R::NoAcknowledgedWriteLost],
        M::Gate | M::ProvenFence => &[R::FencedStaysFenced],
        M::PromotionFence => &[R::FencedStaysFenced, R::OneAcknowledges],
        M::GateOrder | M::PrePromises | M::Veto => &[R::HealthyIsLeftAlone],
        M::AllocatedTimeline => &[R::TimelinesAreUnique],
        M::OnlyRenewalGrants | M::HeartbeatBeforeGrant | M::LeashKillsAll | M::RecordedStop => {
            &[R::OneAcknowledges]
        }
        M::BackingWord
        | M::BackingMark
        | M::BackingPromised
        | M::BackingClock
        | M::BackingEnough => &[R::OneAcknowledges],
        M::Held => &[R::HeldIsLeftAlone],
        M::PromotionRule => &[R::MustNotIsNotElected],
        M::ForcedLease => &[R::OneAcknowledges],
        M::AcceptedLoss => &[R::NoAcknowledgedWriteLost],
        M::Recall => &[R::GivenUpIsLeftAlone],
        M::NamedHoldsAll => &[R::NoAcknowledgedWriteLost],
        M::PersistedPromise => &[R::EpochsOnlyGrow],
        M::OwnSynchronousNames => &[R::NoAcknowledgedWriteLost, R::OneAcknowledges],
        // Broken in the real binary only.
        M::LeaseEnd | M::LeaseClock | M::WholeLease | M::ConfirmedRead | M::BestCandidate => &[],
        // Of a durability that is changed: `tests/durability_model` breaks them.
        M::WeakerFirst
        | M::ConfirmingCommit
        | M::ConfirmedSenders
        | M::LateConfirmation
        | M::ConfirmedWaiting
        | M::ConfirmedNumber => &[],
        M::LongerLeases => &[R::OneAcknowledges],
        // Of clusters without agents: `tests/sql_model` breaks them.
        M::SqlMajority
        | M::SqlVeto
        | M::SqlRevocation
        | M::SqlBestCandidate
        | M::SqlUndecided
        | M::SqlTold
        | M::SqlQuiet
        | M::SqlCopies
        | M::SqlBranch
        | M::SqlGoal
        | M::SqlStart
        | M::SqlWritten
        | M::SqlReach
        | M::SqlBarrier => &[],
    }
}

/// What became of one broken rule.
#[derive(Default)]
struct Caught {
    first: Option<u64>,
    tried: u64,
    seeds: usize,
    by: BTreeMap<Rule, usize>,
}

impl Caught {
    fn is_enough(&self, rule: Mutation) -> bool {
        let own = belongs(rule).iter().any(|own| self.by.contains_key(own));
        self.seeds >= CATCHES && own
    }
}

fn hunt(rule: Mutation, seeds: u64) -> Caught {
    let mut caught = Caught::default();
    let all = number("ALL").is_some();
    Mutation::set(Some(rule));
    for seed in 1..=seeds {
        caught.tried = seed;
        let violations = run(seed, false).violations;
        if violations.is_empty() {
            continue;
        }
        caught.first = caught.first.or(Some(seed));
        caught.seeds += 1;
        for violation in violations {
            *caught.by.entry(violation.rule).or_default() += 1;
        }
        if caught.is_enough(rule) && !all {
            break;
        }
    }
    Mutation::set(None);
    caught
}

/// `MUTATION=Gate` hunts one rule only; `ALL=1` goes on through every seed.
#[test]
fn every_broken_rule_is_caught() {
    let seeds = number("SEEDS").unwrap_or(DEFAULT_SEEDS);
    let only = std::env::var("MUTATION").ok();
    let wanted = |rule: &&Mutation| {
        only.as_ref()
            .is_none_or(|name| *name == format!("{rule:?}"))
    };
    let rules: Vec<_> = Mutation::ALL.iter().filter(wanted).copied().collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(rule) = rules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let caught = hunt(*rule, seeds);
                    found.lock().expect("no panic").push((*rule, caught));
                }
            });
        }
    });
    let found = found.into_inner().expect("no panic");
    println!(
        "{:22} {:>6} {:>6} {:>7}  by",
        "rule", "first", "tried", "catches"
    );
    for (rule, caught) in &found {
        let first = caught
            .first
            .map_or("none".to_owned(), |seed| seed.to_string());
        println!(
            "{:22} {first:>6} {:>6} {:>7}  {:?}; must be by one of {:?}",
            format!("{rule:?}"),
            caught.tried,
            caught.seeds,
            caught.by,
            belongs(*rule)
        );
    }
    let missed: Vec<_> = found
        .iter()
        .filter(|(rule, caught)| !caught.is_enough(*rule))
        .map(|(rule, _)| rule)
        .collect();
    assert!(missed.is_empty(), "not caught as they must be: {missed:?}");
}
