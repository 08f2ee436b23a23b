//! All rounds together.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::course::{Counts, Struck};
use super::{Round, Ruling, percentile};

/// What is known before the first round.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct About {
    /// The line that repeats the run.
    pub replay: String,
    /// The seed of the first round.
    pub seed: u64,
    /// The commit that was tested.
    pub commit: String,
    /// Of PostgreSQL; empty until a round has asked.
    pub postgres: String,
    /// Where it ran.
    pub ground: String,
    /// When it began, in ms since 1970.
    pub began_wall_ms: u64,
    /// What it does not show, whatever it says.
    pub not_tested: Vec<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What it is.
    pub about: About,
    /// Its rounds.
    pub rounds: Vec<Round>,
    /// How long it took so far, in seconds.
    pub seconds: f64,
    /// Whether it was told to end before it was complete.
    pub is_cut_short: bool,
}

/// The outages of one kind of fault, in ms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outages {
    /// The fault.
    pub fault: String,
    /// `primary`, `standby(0)` …
    pub role: String,
    /// `quorum:K` or `async`.
    pub durability: String,
    /// How often it was installed.
    pub count: usize,
    /// After how many of these nobody wrote again.
    pub never: usize,
    /// Of the zones that waited least.
    pub least: Spread,
    /// Of the median zones.
    pub median: Spread,
}

/// Percentiles in ms; none of none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half were no longer.
    pub p50: Option<f64>,
    /// 95 % were no longer.
    pub p95: Option<f64>,
    /// The longest.
    pub worst: Option<f64>,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let [p50, p95, worst] = [50, 95, 100].map(|it| percentile(&sorted, it));
        Spread { p50, p95, worst }
    }
}

/// What became of the attempts at one kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Attempts {
    /// It was there.
    pub installed: usize,
    /// Nothing was changed.
    pub skipped: usize,
    /// Perhaps something was.
    pub indeterminate: usize,
}

impl Summary {
    /// The worst of all rounds; a run without rounds proves nothing.
    pub fn ruling(&self) -> Ruling {
        let rulings = self.rounds.iter().map(|round| round.ruling);
        rulings.max().unwrap_or(Ruling::Unknown)
    }

    /// How many rounds came to this.
    pub fn count(&self, ruling: Ruling) -> usize {
        let alike = self.rounds.iter().filter(|round| round.ruling == ruling);
        alike.count()
    }

    fn strikes(&self) -> impl Iterator<Item = (&Round, &Struck)> {
        self.rounds.iter().flat_map(|round| {
            let strikes = round.course.iter().flat_map(|course| &course.strikes);
            strikes.map(move |strike| (round, strike))
        })
    }

    /// By fault, role and durability.
    pub fn outages(&self) -> Vec<Outages> {
        let mut all: BTreeMap<(&str, &str, &str), Vec<&Struck>> = BTreeMap::new();
        let installed = |(_, strike): &(&Round, &Struck)| strike.outcome == "installed";
        for (round, strike) in self.strikes().filter(installed) {
            let key = (
                strike.fault.as_str(),
                strike.role.as_str(),
                round.durability.as_str(),
            );
            all.entry(key).or_default().push(strike);
        }
        let rows = all.into_iter().map(|((fault, role, durability), strikes)| {
            let is_over = |strike: &&&Struck| strike.least_outage_ms.is_none();
            Outages {
                fault: fault.to_owned(),
                role: role.to_owned(),
                durability: durability.to_owned(),
                count: strikes.len(),
                never: strikes.iter().filter(is_over).count(),
                least: Spread::of(strikes.iter().filter_map(|it| it.least_outage_ms)),
                median: Spread::of(strikes.iter().filter_map(|it| it.outage_ms)),
            }
        });
        rows.collect()
    }

    /// By fault.
    pub fn attempts(&self) -> BTreeMap<String, Attempts> {
        let mut all: BTreeMap<String, Attempts> = BTreeMap::new();
        for (_, strike) in self.strikes() {
            let attempts = all.entry(strike.fault.clone()).or_default();
            match strike.outcome.split(':').next() {
                Some("installed") => attempts.installed += 1,
                Some("skipped") => attempts.skipped += 1,
                _ => attempts.indeterminate += 1,
            }
        }
        all
    }

    /// By workload.
    pub fn operations(&self) -> BTreeMap<&'static str, Counts> {
        let mut all: BTreeMap<&'static str, Counts> = BTreeMap::new();
        for course in self.rounds.iter().filter_map(|round| round.course.as_ref()) {
            for (workload, counts) in &course.operations {
                let sum = all.entry(workload).or_default();
                *sum = sum.plus(*counts);
            }
        }
        all
    }

    /// Over all rounds and workloads.
    pub fn acknowledged_writes(&self) -> usize {
        let courses = self.rounds.iter().filter_map(|round| round.course.as_ref());
        courses.map(|course| course.acknowledged_writes).sum()
    }

    /// How often each checker said what.
    pub fn verdicts(&self) -> BTreeMap<&str, BTreeMap<&'static str, usize>> {
        let mut all: BTreeMap<&str, BTreeMap<&'static str, usize>> = BTreeMap::new();
        for said in self.rounds.iter().flat_map(|round| &round.verdicts) {
            let of_checker = all.entry(&said.checker).or_default();
            *of_checker.entry(said.verdict).or_default() += 1;
        }
        all
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "ruling": self.ruling(),
            "about": self.about,
            "seconds": self.seconds,
            "cut_short": self.is_cut_short,
            "totals": {
                "rounds": self.rounds.len(),
                "valid": self.count(Ruling::Valid),
                "violation": self.count(Ruling::Violation),
                "unknown": self.count(Ruling::Unknown),
                "acknowledged_writes": self.acknowledged_writes(),
            },
            "operations": self.operations(),
            "verdicts": self.verdicts(),
            "outages": self.outages(),
            "faults": self.attempts(),
            "rounds": self.rounds,
        })
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::super::Said;
    use super::super::course::{Course, Primary};
    use super::*;

    /// A round with one fault.
    pub fn round(number: usize, ruling: Ruling, outage_ms: Option<f64>) -> Round {
        let struck = Struck {
            fault: "isolate".to_owned(),
            host: "a".to_owned(),
            role: "primary".to_owned(),
            outcome: "installed".to_owned(),
            began_ms: 4_000.0,
            installed_ms: 4_003.0,
            healed_ms: Some(9_000.0),
            least_outage_ms: outage_ms.map(|outage| outage - 100.0),
            outage_ms,
            worst_outage_ms: outage_ms,
        };
        let primary = |node: &str, timeline, first_ms, last_ms| Primary {
            first_ms,
            last_ms,
            timeline,
            node: node.to_owned(),
            writes: 100,
        };
        let counts = Counts {
            invoke: 10,
            ok: 7,
            fail: 2,
            info: 1,
        };
        Round {
            number,
            seed: 40 + number as u64,
            durability: "quorum:1".to_owned(),
            nodes: 3,
            faults: vec!["isolate".to_owned()],
            replay: format!("jepsen replay {} --faults isolate", 40 + number),
            ruling,
            verdicts: vec![Said {
                checker: "set".to_owned(),
                verdict: if ruling == Ruling::Violation {
                    "invalid"
                } else {
                    "valid"
                },
                text: if ruling == Ruling::Violation {
                    "INVALID\n    lost: 3 values".to_owned()
                } else {
                    "valid".to_owned()
                },
            }],
            troubles: vec![],
            rate_before: 312.4,
            seconds: 21.5,
            course: Some(Course {
                lasted_ms: 12_000.0,
                operations: [("set", counts)].into(),
                acknowledged_writes: 5,
                primaries: vec![
                    primary("a", 1, 12.0, 4_000.0),
                    primary("b", 2, 5_530.0, 12_000.0),
                ],
                strikes: vec![struck],
                healed_ms: Some(10_500.0),
                rates: vec![300, 310, 320, 300, 50, 10],
            }),
            evidence: (ruling == Ruling::Violation).then(|| "round-2".to_owned()),
        }
    }

    /// A run of two rounds, one of them wrong.
    pub fn summary() -> Summary {
        Summary {
            about: About {
                replay: "jepsen run --seed 41 --rounds 2".to_owned(),
                seed: 41,
                commit: "0123abc".to_owned(),
                postgres: "15.14".to_owned(),
                ground: "hosts in network namespaces".to_owned(),
                began_wall_ms: 0,
                not_tested: vec!["torn sectors".to_owned()],
            },
            rounds: vec![
                round(1, Ruling::Valid, Some(1_530.0)),
                round(2, Ruling::Violation, None),
            ],
            seconds: 43.0,
            is_cut_short: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::summary;
    use super::*;

    #[test]
    fn rounds_are_counted_together() {
        let summary = summary();
        assert_eq!(summary.ruling(), Ruling::Violation);
        let outages = summary.outages();
        assert_eq!(outages.len(), 1);
        assert_eq!((outages[0].count, outages[0].never), (2, 1));
        assert_eq!(outages[0].least.worst, Some(1_430.0));
        assert_eq!(outages[0].median.p50, Some(1_530.0));
        assert_eq!(summary.operations()["set"].info, 2);
        assert_eq!(summary.attempts()["isolate"].installed, 2);
        let json = summary.json();
        assert_eq!(json["totals"]["acknowledged_writes"], 10);
        assert_eq!(json["verdicts"]["set"]["invalid"], 1);
    }

    #[test]
    fn a_run_without_rounds_proves_nothing() {
        let empty = Summary {
            rounds: vec![],
            ..summary()
        };
        assert_eq!(empty.ruling(), Ruling::Unknown);
    }
}
