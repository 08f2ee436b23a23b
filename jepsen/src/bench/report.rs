//! The table and the JSON.

use serde_json::{Value, json};

use super::faults::{Fault, REJOIN_BAR};
use super::floor::Machine;
use super::trial::{Outcome, Trial};

/// All trials of one fault.
#[derive(Debug)]
pub struct Series {
    /// Which.
    pub fault: Fault,
    /// Those that took place.
    pub outcomes: Vec<Outcome>,
    /// Why the others did not.
    pub failed: Vec<String>,
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    machine: Machine,
    ground: String,
    series: Vec<Series>,
}

/// What a trial calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// It went wrong or was slow: its logs are of interest.
    pub keep_evidence: bool,
    /// The next one gets a fresh cluster.
    pub start_anew: bool,
}

/// The median and the worst of some times; a time that never came is worse than any other.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    worst: f64,
}

fn spread(times: impl Iterator<Item = Option<f64>>) -> Option<Spread> {
    let mut times: Vec<_> = times.map(|it| it.unwrap_or(f64::INFINITY)).collect();
    times.sort_by(f64::total_cmp);
    Some(Spread {
        // Of an even number the greater one of the middle: never better than what was seen.
        median: *times.get(times.len() / 2)?,
        worst: *times.last()?,
    })
}

fn shown(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms.is_infinite() => "never".to_owned(),
        Some(ms) => format!("{ms:.0}"),
    }
}

impl Series {
    /// No trial yet.
    pub fn new(fault: Fault) -> Series {
        Series {
            fault,
            outcomes: vec![],
            failed: vec![],
        }
    }

    /// Adds a trial and tells of it.
    pub fn add(&mut self, number: usize, of: usize, trial: Trial) -> After {
        let name = self.fault.name();
        match trial {
            Trial::Measured(outcome) => {
                eprintln!("{name} {number}/{of}: {outcome}");
                let is_slow = outcome.outage.is_none_or(|it| it > self.fault.bar().median);
                let after = After {
                    keep_evidence: is_slow || !outcome.is_safe(),
                    start_anew: !outcome.is_safe(),
                };
                self.outcomes.push(*outcome);
                after
            }
            Trial::NotSetUp(error) => {
                eprintln!("{name} {number}/{of}: not set up: {error:#}");
                self.failed.push(format!("{error:#}"));
                After {
                    keep_evidence: false,
                    start_anew: true,
                }
            }
        }
    }

    fn spread(&self, of: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        spread(self.outcomes.iter().map(of))
    }

    fn lost(&self) -> usize {
        self.outcomes
            .iter()
            .flat_map(|it| it.lost.unwrap_or([0, 0]))
            .sum()
    }

    fn sum(&self, of: impl Fn(&Outcome) -> usize) -> usize {
        self.outcomes.iter().map(of).sum()
    }

    fn two_writable(&self) -> f64 {
        self.outcomes
            .iter()
            .map(|it| it.two_writable)
            .fold(0.0, f64::max)
    }

    fn is_safe(&self) -> bool {
        !self.outcomes.is_empty() && self.outcomes.iter().all(Outcome::is_safe)
    }

    fn is_fast(&self) -> bool {
        let bar = self.fault.bar();
        let outage = self.spread(|it| it.outage);
        let rejoin = self.spread(|it| it.rejoin);
        outage.is_some_and(|it| it.median <= bar.median && it.worst <= bar.worst)
            && rejoin.is_some_and(|it| it.median <= REJOIN_BAR)
            && self.failed.is_empty()
    }

    fn row(&self) -> [String; 13] {
        let bar = self.fault.bar();
        let outage = self.spread(|it| it.outage);
        let gap = self.spread(|it| it.server_gap);
        let rejoin = self.spread(|it| it.rejoin);
        [
            self.fault.name().to_owned(),
            self.outcomes.len().to_string(),
            self.failed.len().to_string(),
            shown(outage.map(|it| it.median)),
            shown(outage.map(|it| it.worst)),
            format!("{:.0}/{:.0}", bar.median, bar.worst),
            shown(bar.rival),
            shown(gap.map(|it| it.median)),
            self.lost().to_string(),
            format!("{:.0}", self.two_writable()),
            self.sum(|it| it.stale).to_string(),
            format!(
                "{}/{}",
                shown(rejoin.map(|it| it.median)),
                shown(rejoin.map(|it| it.worst))
            ),
            match (self.is_safe(), self.is_fast()) {
                (false, _) => "UNSAFE or not recovered",
                (true, false) => "slow",
                (true, true) => "met",
            }
            .to_owned(),
        ]
    }
}

impl Report {
    /// Of these trials; `ground` says where they took place and what that cannot show.
    pub fn new(machine: Machine, ground: String, series: Vec<Series>) -> Report {
        Report {
            machine,
            ground,
            series,
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let head = [
            "fault (ms)",
            "n",
            "failed",
            "median",
            "worst",
            "bar",
            "rival",
            "server",
            "lost",
            "two",
            "stale",
            "rejoin",
            "verdict",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.series.iter().map(Series::row));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..head.len()).map(width).collect();
        let mut text = format!("{}\non {}\n\n", self.machine, self.ground);
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                match column {
                    0 => text.push_str(&format!("{cell:width$}")),
                    12 => text.push_str(&format!("  {cell}")),
                    _ => text.push_str(&format!("  {cell:>width$}")),
                }
            }
            text.push('\n');
        }
        let caught: usize = self
            .series
            .iter()
            .map(|it| it.sum(|it| it.confirmed_at_freeze))
            .sum();
        text.push_str(&format!(
            "\nmedian, worst: write outage at the client, last acknowledgement before to first after. failed: not set up.\n\
             rival: the best rival's median. server: the median gap at the prober. lost: rows acknowledged and missing.\n\
             two: most ms in which two nodes acknowledged. stale: acknowledgements beside another node's.\n\
             rejoin: median/worst from the node's return until all stream on the new timeline for 2 s; bar of the median {REJOIN_BAR:.0}.\n\
             Commits confirmed before a freeze and acknowledged after it, counted apart: {caught}."
        ));
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let series = self.series.iter().map(|it| {
            json!({
                "fault": it.fault,
                "bar": it.fault.bar(),
                "trials": it.outcomes,
                "failed": it.failed,
                "safe": it.is_safe(),
                "fast": it.is_fast(),
            })
        });
        json!({ "machine": self.machine, "ground": self.ground, "faults": series.collect::<Vec<_>>() })
    }

    /// Whether nothing was lost, no two nodes wrote and every trial recovered.
    pub fn is_safe(&self) -> bool {
        self.series.iter().all(Series::is_safe)
    }

    /// Whether every bar is met and every trial took place.
    pub fn is_fast(&self) -> bool {
        self.series.iter().all(Series::is_fast)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(outage: Option<f64>) -> Outcome {
        Outcome {
            outage,
            server_gap: outage,
            later_gap: outage,
            rejoin: Some(900.0),
            acknowledged: [100, 20],
            lost: Some([0, 0]),
            lost_ids: vec![],
            repeated: 0,
            two_writable: 0.0,
            stale: 0,
            confirmed_at_freeze: 0,
            errors: vec![],
        }
    }

    fn series(outcomes: Vec<Outcome>) -> Series {
        Series {
            fault: Fault::Postmaster,
            outcomes,
            failed: vec![],
        }
    }

    #[test]
    fn a_time_that_never_came_is_the_worst() {
        let times = [Some(3.0), None, Some(1.0)].into_iter();
        let found = spread(times).unwrap();
        assert_eq!((found.median, found.worst), (3.0, f64::INFINITY));
        assert_eq!(spread([].into_iter()), None);
    }

    #[test]
    fn the_verdict_needs_every_trial() {
        assert!(series(vec![outcome(Some(100.0))]).is_fast());
        assert!(!series(vec![]).is_safe());
        let mut slow = series(vec![outcome(Some(100.0)), outcome(Some(1_600.0))]);
        assert!(slow.is_safe() && !slow.is_fast());
        slow.outcomes[0].lost = Some([0, 1]);
        assert!(!slow.is_safe());
        let mut failed = series(vec![outcome(Some(100.0))]);
        failed.failed.push("no".to_owned());
        assert!(!failed.is_fast());
        let unread = Outcome {
            lost: None,
            ..outcome(Some(100.0))
        };
        assert!(!series(vec![unread]).is_safe());
    }
}
