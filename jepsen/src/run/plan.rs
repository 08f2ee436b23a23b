//! Which rounds a run has: a function of what was asked for.
//!
//! A round is one cluster with one load and the faults of one seed. Its seed and its faults say everything about
//! it, so that one line repeats it alone.

use serde::Serialize;

use super::choice::Choice;
use crate::expectations::{Expectations, Network};
use crate::nemesis::fault::Fault;
use crate::nemesis::plan::{Strike, noise, plan};
use crate::random::Random;

/// So many rounds of a soak in a row share durability and number of nodes, so that hosts are brought up seldom.
const BLOCK: usize = 8;

/// What a commit waits for, in one round or in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// So many standbys.
    Quorum(usize),
    /// Nobody.
    Async,
    /// The first half of the rounds one standby, the rest nobody.
    Mixed,
}

impl std::str::FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Durability, String> {
        let refused = || format!("{text} is none of quorum:K, async and mixed");
        match text {
            "async" => Ok(Durability::Async),
            "mixed" => Ok(Durability::Mixed),
            _ => {
                let count = text.strip_prefix("quorum:").ok_or_else(refused)?;
                let count = count.parse().ok().filter(|count| *count > 0);
                count.map(Durability::Quorum).ok_or_else(refused)
            }
        }
    }
}

impl Durability {
    /// As it is given to `primacy cluster create`; what is mixed is quorum 1 in the first half of the rounds.
    fn of_round(self, number: usize, rounds: usize) -> String {
        match self {
            Durability::Quorum(count) => format!("quorum:{count}"),
            Durability::Mixed if number * 2 < rounds => "quorum:1".to_owned(),
            Durability::Mixed | Durability::Async => "async".to_owned(),
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The seed of the first round; each round has the next one.
    pub seed: u64,
    /// How many rounds.
    pub rounds: usize,
    /// How many faults a round has.
    pub strikes: usize,
    /// Which faults: each comes once before any comes twice.
    pub faults: Vec<Choice>,
    /// How many nodes.
    pub nodes: usize,
    /// How far zones are apart, one way, in milliseconds.
    pub apart_ms: u64,
    /// How long the round without faults lasts that each durability has besides; 0 for none.
    pub quiet_ms: u64,
    /// How long the round with nothing but noise lasts that each durability has besides; 0 for none.
    pub noise_ms: u64,
    /// What a commit waits for.
    pub durability: Durability,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoundPlan {
    /// Decides whom it strikes, when and for how long, and what clients do.
    pub seed: u64,
    /// `quorum:K` or `async`.
    pub durability: String,
    /// How many nodes.
    pub nodes: usize,
    /// How far zones are apart, one way, in milliseconds.
    pub apart_ms: u64,
    /// What is struck.
    pub strikes: Vec<Strike>,
    /// How long nothing is struck, in a round that is about just that; 0 in all others.
    pub quiet_ms: u64,
    /// How long there is nothing but noise, in a round that is about just that; 0 in all others.
    pub noise_ms: u64,
}

impl RoundPlan {
    /// Whether the hosts must have clocks that can be set wrong.
    pub fn needs_clocks(&self) -> bool {
        self.strikes
            .iter()
            .any(|strike| strike.fault.needs_clocks())
    }

    /// What is expected of its network.
    pub fn expectations(&self) -> Expectations {
        Network::for_zones(self.apart_ms).expectations()
    }

    /// The names of its faults, or that there are none.
    pub fn faults(&self) -> Vec<String> {
        if self.quiet_ms > 0 {
            return vec![format!("quiet for {} s", self.quiet_ms / 1_000)];
        }
        if self.noise_ms > 0 {
            return vec![format!("noise for {} s", self.noise_ms / 1_000)];
        }
        let names = self.strikes.iter().map(|strike| strike.fault.name());
        names.collect()
    }

    fn choices(&self) -> Vec<String> {
        let choices = self.strikes.iter().map(|strike| Choice {
            fault: strike.fault,
            target: Some(strike.target),
        });
        choices.map(|choice| choice.to_string()).collect()
    }

    /// The line that repeats it.
    pub fn replay(&self) -> String {
        let apart = match self.apart_ms {
            0 => String::new(),
            apart => format!(" --apart-ms {apart}"),
        };
        let what = match (self.quiet_ms, self.noise_ms) {
            (0, 0) => format!(
                "--strikes {} --faults {}",
                self.strikes.len(),
                self.choices().join(",")
            ),
            (0, noise) => format!("--noise {}s", noise / 1_000),
            (quiet, _) => format!("--quiet {}s", quiet / 1_000),
        };
        format!(
            "jepsen replay {} --durability {} --nodes {}{apart} {what}",
            self.seed, self.durability, self.nodes,
        )
    }
}

/// The rounds, those that share hosts in a row.
pub fn rounds(wanted: &Wanted) -> Vec<RoundPlan> {
    let order = shuffled(wanted.seed, &wanted.faults);
    let mut turns = order.iter().copied().cycle();
    let seeds = wanted.seed..;
    let mut rounds: Vec<RoundPlan> = seeds
        .take(wanted.rounds)
        .enumerate()
        .map(|(number, seed)| {
            let faults: Vec<Choice> = turns.by_ref().take(wanted.strikes).collect();
            round(seed, wanted, number, &faults)
        })
        .collect();
    rounds.extend(long_rounds(wanted));
    // Stable: within those of one kind seeds rise.
    rounds.sort_by_key(|round| (round.durability == "async", round.needs_clocks()));
    rounds
}

/// One of each kind for each durability, on the hosts of its other rounds.
fn long_rounds(wanted: &Wanted) -> Vec<RoundPlan> {
    let kinds = [(wanted.quiet_ms, 0), (0, wanted.noise_ms)];
    let kinds = kinds.iter().filter(|kind| **kind != (0, 0));
    let rounds = wanted.rounds.max(1);
    let mut durabilities: Vec<_> = (0..rounds)
        .map(|number| wanted.durability.of_round(number, rounds))
        .collect();
    durabilities.dedup();
    let durabilities = &durabilities;
    let each = kinds.flat_map(|kind| {
        durabilities
            .iter()
            .map(move |durability| (kind, durability))
    });
    let seeds = wanted.seed + wanted.rounds as u64..;
    let rounds = seeds.zip(each);
    let rounds = rounds.map(|(seed, (&(quiet_ms, noise_ms), durability))| RoundPlan {
        seed,
        durability: durability.clone(),
        nodes: wanted.nodes,
        apart_ms: wanted.apart_ms,
        strikes: noise(seed, noise_ms),
        quiet_ms,
        noise_ms,
    });
    rounds.collect()
}

fn round(seed: u64, wanted: &Wanted, number: usize, choices: &[Choice]) -> RoundPlan {
    // Whoever repeats the round names its faults in the order of the strikes: the order must not matter.
    let mut choices = choices.to_vec();
    choices.sort_unstable();
    let faults: Vec<Fault> = choices.iter().map(|choice| choice.fault).collect();
    let expected = Network::for_zones(wanted.apart_ms).expectations();
    let mut strikes = plan(seed, &faults, wanted.strikes, &expected);
    for strike in &mut strikes {
        let of_fault = choices.iter().position(|it| it.fault == strike.fault);
        if let Some(chosen) = of_fault.map(|at| choices.remove(at)) {
            strike.target = chosen.target.unwrap_or(strike.target);
        }
    }
    RoundPlan {
        seed,
        durability: wanted.durability.of_round(number, wanted.rounds),
        nodes: wanted.nodes,
        apart_ms: wanted.apart_ms,
        strikes,
        quiet_ms: 0,
        noise_ms: 0,
    }
}

fn shuffled(seed: u64, faults: &[Choice]) -> Vec<Choice> {
    let mut random = Random::new(seed);
    let mut left = faults.to_vec();
    let mut order = vec![];
    while !left.is_empty() {
        let chosen = usize::try_from(random.below(left.len() as u64)).unwrap_or(0);
        order.push(left.swap_remove(chosen));
    }
    order
}

/// The rounds number `block` of a soak: durability and number of nodes take turns, and with each of them every fault
/// comes once before any comes twice.
pub fn block_of_soak(seed: u64, block: usize) -> Vec<RoundPlan> {
    const KINDS: [(Durability, usize); 4] = [
        (Durability::Quorum(1), 3),
        (Durability::Async, 3),
        (Durability::Quorum(2), 5),
        (Durability::Async, 5),
    ];
    let (durability, nodes) = KINDS[block % KINDS.len()];
    let visit = block / KINDS.len();
    let all = everything();
    let order = shuffled(seed, &all);
    let faults = order
        .iter()
        .copied()
        .cycle()
        .skip(visit * BLOCK % all.len());
    rounds(&Wanted {
        seed: seed + (block * BLOCK) as u64,
        rounds: BLOCK,
        strikes: 1,
        faults: faults.take(BLOCK).collect(),
        nodes,
        apart_ms: 0,
        quiet_ms: 0,
        noise_ms: 0,
        durability,
    })
}

/// Every fault there is.
pub fn everything() -> Vec<Choice> {
    Fault::ALL.iter().copied().map(Choice::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(rounds: usize, strikes: usize) -> Wanted {
        Wanted {
            seed: 7,
            rounds,
            strikes,
            faults: everything(),
            nodes: 3,
            apart_ms: 0,
            quiet_ms: 0,
            noise_ms: 0,
            durability: Durability::Mixed,
        }
    }

    #[test]
    fn every_fault_comes_once_and_half_of_the_rounds_are_async() {
        let all = everything().len();
        let rounds = rounds(&wanted(all, 1));
        let mut faults: Vec<_> = rounds.iter().flat_map(RoundPlan::faults).collect();
        faults.sort_unstable();
        faults.dedup();
        assert_eq!(faults.len(), all);
        let is_async = |round: &&RoundPlan| round.durability == "async";
        assert_eq!(rounds.iter().filter(is_async).count(), all / 2);
        let changes = rounds
            .windows(2)
            .filter(|pair| pair[0].durability != pair[1].durability);
        assert_eq!(changes.count(), 1);
    }

    #[test]
    fn a_round_can_be_repeated_alone() {
        for found in rounds(&wanted(20, 2)) {
            let named = found.choices().into_iter();
            let faults = named.map(|name| name.parse().unwrap()).collect();
            let alone = rounds(&Wanted {
                seed: found.seed,
                rounds: 1,
                faults,
                durability: found.durability.parse().unwrap(),
                ..wanted(1, 2)
            });
            assert_eq!(alone, [found]);
        }
    }

    #[test]
    fn each_durability_has_its_quiet_round_that_can_be_repeated_alone() {
        let wanted = Wanted {
            apart_ms: 50,
            quiet_ms: 120_000,
            ..wanted(4, 1)
        };
        let found = rounds(&wanted);
        let quiet: Vec<_> = found.iter().filter(|it| it.quiet_ms > 0).collect();
        let told: Vec<_> = quiet.iter().map(|it| it.replay()).collect();
        assert_eq!(
            told,
            [
                "jepsen replay 11 --durability quorum:1 --nodes 3 --apart-ms 50 --quiet 120s",
                "jepsen replay 12 --durability async --nodes 3 --apart-ms 50 --quiet 120s"
            ]
        );
        assert_eq!(found.len(), 6);
        for one in quiet {
            let alone = rounds(&Wanted {
                seed: one.seed,
                rounds: 0,
                durability: one.durability.parse().unwrap(),
                ..wanted.clone()
            });
            assert_eq!(alone, std::slice::from_ref(one));
        }
    }

    #[test]
    fn a_soak_shows_every_fault_with_every_kind_of_cluster_and_counts_its_seeds_up() {
        let all = everything().len();
        let visits = all.div_ceil(BLOCK);
        for kind in 0..4 {
            let blocks = (0..visits).flat_map(|visit| block_of_soak(3, visit * 4 + kind));
            let mut faults: Vec<_> = blocks.flat_map(|round| round.faults()).collect();
            faults.sort_unstable();
            faults.dedup();
            assert_eq!(faults.len(), all);
        }
        let mut seeds: Vec<_> = (0..9)
            .flat_map(|block| block_of_soak(3, block))
            .map(|round| round.seed)
            .collect();
        seeds.sort_unstable();
        assert_eq!(seeds, (3..3 + 72).collect::<Vec<u64>>());
    }

    #[test]
    fn durability_is_read() {
        assert_eq!("quorum:2".parse(), Ok(Durability::Quorum(2)));
        assert_eq!("mixed".parse(), Ok(Durability::Mixed));
        for text in ["quorum", "quorum:0", "quorum:x", "sync"] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }
}
