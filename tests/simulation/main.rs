//! Seeds of a simulated world: the product's own core, gate, lease and duties against peers, hosts,
//! PostgreSQL and a network that are values. A failing seed is printed and replays:
//! `SEED=17 cargo test --test simulation -- --nocapture replay`. Any number of seeds: `SEEDS=50000`.

#![expect(
    clippy::print_stdout,
    reason = "a simulation reports what it ran and how to replay it"
)]

mod faults;
mod host;
mod invariants;
mod network;
mod peer;
mod postgres;
mod random;
mod world;

use std::collections::BTreeMap;

use primacy::model::Durability;

use faults::{CLASSES, Faults};
use host::TICK;
use invariants::{Invariants, Violation, is_healthy};
use world::World;

/// The cluster settles, then faults for a minute, then everything works again.
const SETTLE: u64 = 10_000 / TICK;
const FAULTS: u64 = 60_000 / TICK;
const HEAL: u64 = 60_000 / TICK;
const DEFAULT_SEEDS: u64 = 2_000;

/// How one seed went.
struct Run {
    violation: Option<Violation>,
    handovers: u64,
    faults: BTreeMap<&'static str, u64>,
    healthy_at_end: bool,
    acknowledged: usize,
    trace: Vec<String>,
    waiting: String,
}

fn shape(seed: u64) -> (usize, Durability) {
    match seed % 6 {
        0 | 3 => (3, Durability::Quorum { standbys: 1 }),
        1 => (5, Durability::Quorum { standbys: 2 }),
        2 => (3, Durability::Async),
        4 => (5, Durability::Quorum { standbys: 1 }),
        _ => (5, Durability::Async),
    }
}

fn run(seed: u64, traced: bool) -> Run {
    let (members, durability) = shape(seed);
    let mut world = World::new(seed, members, durability);
    world.trace = traced.then(Vec::new);
    let mut invariants = Invariants::default();
    let mut faults = Faults::plan(&mut world, SETTLE, SETTLE + FAULTS);
    let mut outcome = Ok(());
    let mut healthy_for = 0;
    for tick in 0..SETTLE + FAULTS + HEAL {
        if tick == SETTLE + FAULTS {
            faults.heal(&mut world);
            world.say(|| "HEALED".to_owned());
        }
        faults.tick(&mut world);
        world.tick();
        outcome = invariants.tick(&world);
        if outcome.is_err() {
            break;
        }
        if tick > SETTLE + FAULTS {
            healthy_for = if is_healthy(&world) {
                healthy_for + 1
            } else {
                0
            };
            if healthy_for > 100 {
                break;
            }
        }
    }
    let outcome = outcome.and_then(|()| invariants.end(&world));
    Run {
        violation: outcome.err(),
        handovers: world.handovers,
        faults: faults.counts,
        healthy_at_end: healthy_for > 0,
        acknowledged: world.acknowledged.len(),
        waiting: format!("{:?}", world.plan.waiting),
        trace: {
            let mut trace = world.trace.take().unwrap_or_default();
            if traced {
                trace.push(format!("{:#?}", world.cluster().cluster));
                trace.push(format!("{:?}", world.plan));
                for host in &world.hosts {
                    trace.push(format!(
                        "{} {:?} {:?} {:?}",
                        host.id,
                        host.disk.end(),
                        host.agent,
                        host.postgres
                    ));
                }
            }
            trace
        },
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_seed_keeps_the_rules() {
    let seeds = number("SEEDS").unwrap_or(DEFAULT_SEEDS);
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let runs: Vec<(u64, Run)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let mine = (1..=seeds).filter(|seed| seed % workers == worker);
                    mine.map(|seed| (seed, run(seed, false)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().expect("a worker ends"))
            .collect()
    });
    let mut faults: BTreeMap<&str, u64> = CLASSES.iter().map(|class| (*class, 0)).collect();
    for (_, run) in &runs {
        for (class, count) in &run.faults {
            *faults.entry(class).or_default() += count;
        }
    }
    let with_handover = runs.iter().filter(|(_, run)| run.handovers > 0).count();
    let acknowledged: usize = runs.iter().map(|(_, run)| run.acknowledged).sum();
    let handovers: u64 = runs.iter().map(|(_, run)| run.handovers).sum();
    let unhealthy: Vec<_> = runs
        .iter()
        .filter(|(_, run)| !run.healthy_at_end && run.violation.is_none())
        .collect();
    println!(
        "{seeds} seeds, {handovers} handovers in {with_handover} of them, {acknowledged} acknowledged writes"
    );
    println!(
        "still waiting at the end, with a reason: {}",
        unhealthy.len()
    );
    for (seed, run) in unhealthy.iter().take(5) {
        println!("  seed {seed}: {}", run.waiting);
    }
    println!("faults: {faults:?}");
    let broken: Vec<_> = runs
        .iter()
        .filter_map(|(seed, run)| Some((seed, run.violation.as_ref()?)))
        .collect();
    for (seed, violation) in broken.iter().take(10) {
        println!(
            "seed {seed}: {violation}\n  replay: SEED={seed} cargo test --test simulation -- --nocapture replay"
        );
    }
    assert!(broken.is_empty(), "{} seeds broke a rule", broken.len());
    assert!(
        faults.values().all(|count| *count > 0),
        "a class of faults never occurred"
    );
    let fewest = runs
        .iter()
        .map(|(_, run)| run.faults.values().sum::<u64>())
        .min();
    println!("fewest faults in a seed: {fewest:?}");
    assert!(fewest >= Some(5), "a seed saw fewer than five faults");
    assert!(
        with_handover as u64 * 2 >= seeds,
        "fewer than half of the seeds saw a handover"
    );
    assert!(
        unhealthy.len() as u64 * 50 <= seeds,
        "too many seeds were still waiting at the end"
    );
}

/// Prints what happened in one seed.
#[test]
fn replay() {
    let Some(seed) = number("SEED") else { return };
    let run = run(seed, true);
    for line in &run.trace {
        println!("{line}");
    }
    println!(
        "{:?}: {:?}; handovers {}",
        shape(seed),
        run.violation,
        run.handovers
    );
}

/// Every safety rule, broken on purpose, is caught within the same seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_broken_rule_is_caught() {
    use primacy::recovery::Mutation;
    let seeds = number("SEEDS").unwrap_or(DEFAULT_SEEDS);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let found = std::sync::Mutex::new(Vec::new());
    let only = std::env::var("MUTATION").ok();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(rule) =
                    Mutation::ALL.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    if only
                        .as_ref()
                        .is_some_and(|only| *only != format!("{rule:?}"))
                    {
                        continue;
                    }
                    Mutation::set(Some(*rule));
                    let caught =
                        (1..=seeds).find_map(|seed| Some((seed, run(seed, false).violation?)));
                    Mutation::set(None);
                    found.lock().expect("no panic").push((*rule, caught));
                }
            });
        }
    });
    let found = found.into_inner().expect("no panic");
    for (rule, caught) in &found {
        match caught {
            Some((seed, violation)) => println!("{rule:?}: caught by seed {seed}: {violation}"),
            None => println!("{rule:?}: NOT CAUGHT by {seeds} seeds"),
        }
    }
    assert!(
        found.iter().all(|(_, caught)| caught.is_some()),
        "a broken rule was not caught"
    );
}
