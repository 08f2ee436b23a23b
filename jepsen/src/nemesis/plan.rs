//! What shall happen when: a function of a seed.

use serde::Serialize;

use super::fault::Fault;
use super::target::Target;
use crate::expectations::Expectations;
use crate::hosts::process::Part;
use crate::random::Random;

/// One fault at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Strike {
    /// When it is installed, in milliseconds after the beginning.
    pub at_ms: u64,
    /// How long after that it is healed.
    pub lasts_ms: u64,
    /// What.
    pub fault: Fault,
    /// Whom.
    pub target: Target,
}

/// Every strike, in the order of their times. The same seed gives the same plan.
///
/// The faults are shuffled, and each happens before any happens twice. A strike begins in the first second of
/// its share of the time, and is healed early enough to leave the calm that is expected.
pub fn plan(seed: u64, faults: &[Fault], strikes: usize, expected: &Expectations) -> Vec<Strike> {
    let (every_ms, calm_ms) = (expected.strike_every_ms, expected.calm_ms);
    let mut random = Random::new(seed);
    let mut left: Vec<Fault> = vec![];
    let mut plan = vec![];
    for number in 0..strikes {
        if left.is_empty() {
            left = faults.to_vec();
        }
        let Some(last) = left.len().checked_sub(1) else {
            return plan;
        };
        let fault = left.swap_remove(draw(&mut random, last + 1));
        let targets = fault.targets();
        let (shortest, longest) = fault.lasts_ms(expected);
        let late_ms = random.below(1_000);
        let lasts_ms = shortest + random.below(longest - shortest + 1);
        plan.push(Strike {
            at_ms: number as u64 * every_ms + late_ms,
            lasts_ms: lasts_ms.min(every_ms.saturating_sub(calm_ms + late_ms)),
            fault,
            target: targets[draw(&mut random, targets.len())],
        });
    }
    plan
}

/// From one pause to the next, in milliseconds, shortest and longest.
const PAUSE_EVERY_MS: (u64, u64) = (1_500, 4_000);
/// How long a pause lasts: an agent is silent after 1.2 s.
const PAUSED_FOR_MS: (u64, u64) = (200, 800);

const PAUSES: [Fault; 5] = [
    Fault::Pause(Part::Postmaster),
    Fault::Pause(Part::Postgres),
    Fault::Pause(Part::Agent),
    Fault::Pause(Part::Leash),
    Fault::Pause(Part::Peer),
];

/// Nothing but noise for so long, none if that is zero: one part after the other is stopped meanwhile, for less than it
/// takes to be missed.
pub fn noise(seed: u64, lasts_ms: u64) -> Vec<Strike> {
    if lasts_ms == 0 {
        return vec![];
    }
    let everybody = Strike {
        at_ms: 0,
        lasts_ms,
        fault: Fault::Noise,
        target: Target::Everybody,
    };
    let mut plan = vec![everybody];
    let mut random = Random::new(seed);
    let mut at_ms = between(&mut random, PAUSE_EVERY_MS);
    while at_ms + PAUSED_FOR_MS.1 < lasts_ms {
        let fault = PAUSES[draw(&mut random, PAUSES.len())];
        let targets = fault.targets();
        plan.push(Strike {
            at_ms,
            lasts_ms: between(&mut random, PAUSED_FOR_MS),
            fault,
            target: targets[draw(&mut random, targets.len())],
        });
        at_ms += between(&mut random, PAUSE_EVERY_MS);
    }
    plan
}

fn between(random: &mut Random, (least, most): (u64, u64)) -> u64 {
    least + random.below(most - least + 1)
}

fn draw(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectations::Network;

    #[test]
    fn a_seed_is_a_plan_and_each_fault_comes_before_any_comes_twice() {
        let count = Fault::ALL.len();
        let lan = Network::Lan.expectations();
        let one = plan(7, Fault::ALL, 2 * count, &lan);
        assert_eq!(one, plan(7, Fault::ALL, 2 * count, &lan));
        assert_ne!(one, plan(8, Fault::ALL, 2 * count, &lan));
        for half in one.chunks(count) {
            let mut faults: Vec<_> = half.iter().map(|strike| strike.fault).collect();
            faults.sort_unstable();
            faults.dedup();
            assert_eq!(faults.len(), count);
        }
    }

    #[test]
    fn noise_lasts_all_the_time_and_no_pause_is_long() {
        assert_eq!(noise(1, 0), []);
        let found = noise(1, 60_000);
        assert_eq!((found[0].fault, found[0].lasts_ms), (Fault::Noise, 60_000));
        assert!(found.len() > 15);
        for pause in &found[1..] {
            assert!(pause.lasts_ms <= PAUSED_FOR_MS.1);
            assert!(pause.at_ms + pause.lasts_ms < 60_000);
        }
    }

    #[test]
    fn strikes_do_not_meet_and_leave_time_to_recover() {
        for network in [Network::Lan, Network::Wan] {
            let expected = network.expectations();
            for pair in plan(3, Fault::ALL, 100, &expected).windows(2) {
                let ends = pair[0].at_ms + pair[0].lasts_ms;
                assert!(ends + expected.calm_ms <= pair[1].at_ms, "{pair:?}");
            }
            assert!(plan(3, &[], 5, &expected).is_empty());
        }
    }
}
