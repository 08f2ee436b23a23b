//! Rounds one after the other, with the summary kept up to date after each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use jepsen::checker::Verdict;

use super::clients;
use super::evidence::{Evidence, Keep};
use super::judgement::{Judgement, judge};
use super::plan::RoundPlan;
use super::round::{self, Taken};
use super::stage::Stage;
use super::surroundings::Surroundings;
use crate::clock::{self, Moment};
use crate::command;
use crate::report::course::{self, measure};
use crate::report::markdown::markdown;
use crate::report::plot::plot;
use crate::report::summary::{About, Summary};
use crate::report::{Round, Ruling, Said};

/// A series of rounds under way.
#[derive(Debug)]
pub struct Series<'a> {
    stage: Stage,
    evidence: Evidence,
    summary: Summary,
    began: Moment,
    stop: &'a AtomicBool,
}

impl<'a> Series<'a> {
    /// No round yet. `replay` is the line that repeats all of it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(
        program: PathBuf,
        folder: &Path,
        keep: Keep,
        (replay, seed): (String, u64),
        stop: &'a AtomicBool,
    ) -> anyhow::Result<Series<'a>> {
        Ok(Series {
            stage: Stage::new(program),
            evidence: Evidence::create(folder, keep)?,
            summary: Summary {
                about: About {
                    replay,
                    seed,
                    commit: commit(),
                    began_wall_ms: clock::wall_ms(),
                    not_tested: NOT_TESTED.map(str::to_owned).into(),
                    ..About::default()
                },
                rounds: vec![],
                seconds: 0.0,
                is_cut_short: false,
            },
            began: clock::now(),
            stop,
        })
    }

    /// Says in the summary what else it does not show.
    pub fn cannot_show(&mut self, what: String) {
        self.summary.about.not_tested.push(what);
    }

    /// What there is so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// How long it has taken so far, in seconds.
    pub fn seconds(&self) -> f64 {
        clock::now().since(self.began).as_secs_f64()
    }

    /// Whether it was told to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Runs one round and judges it. What goes wrong with it is part of the summary; if it was told to end, the round
    /// is forgotten.
    ///
    /// # Errors
    /// The evidence or the summary cannot be written.
    pub fn run(&mut self, plan: &RoundPlan) -> anyhow::Result<()> {
        let number = self.summary.rounds.len() + 1;
        let began = clock::now();
        eprintln!(
            "round {number}: seed {}, {}, {} nodes, {}",
            plan.seed,
            plan.durability,
            plan.nodes,
            plan.faults().join(", ")
        );
        let folder = self.evidence.logs(number);
        let taken = match self.stage.ready(plan) {
            Ok(ground) => {
                self.summary.about.ground = ground.describe();
                Surroundings::of(ground)
                    .and_then(|around| clients::end_sessions(&around))
                    .and_then(|()| round::run(ground, plan, &folder, self.stop))
            }
            Err(error) => Err(error.context("bring hosts up")),
        };
        let taken = match taken {
            Ok(Some(taken)) => Ok(taken),
            Ok(None) => return self.give_up(number),
            Err(_) if self.is_stopped() => return self.give_up(number),
            Err(error) => Err(format!("{error:#}")),
        };
        let mut round = self.settle(number, plan, taken)?;
        round.seconds = clock::now().since(began).as_secs_f64();
        tell(&round);
        self.summary.rounds.push(round);
        self.save()
    }

    fn give_up(&mut self, number: usize) -> anyhow::Result<()> {
        eprintln!("  round {number} is given up");
        self.summary.is_cut_short = true;
        self.evidence.forget(number)
    }

    fn settle(
        &mut self,
        number: usize,
        plan: &RoundPlan,
        taken: Result<Taken, String>,
    ) -> anyhow::Result<Round> {
        let (judgement, taken) = match taken {
            Ok(taken) => (judge(&taken, plan), Some(taken)),
            Err(why) => (Judgement::failed(why), None),
        };
        let ruling = judgement.ruling();
        let mut round = round_of(number, plan, &judgement);
        let mut picture = None;
        if let Some(taken) = &taken {
            self.summary
                .about
                .postgres
                .clone_from(&taken.server_version);
            round.rate_before = taken.rate;
            let (course, samples) = measure(&course::Evidence {
                history: &taken.history,
                places: &taken.places,
                clients: &taken.clients,
                records: &taken.records,
                began: taken.began,
                ended: taken.ended,
                healed: taken.healed.as_ref().ok().copied(),
            });
            let title = format!(
                "round {number}: {} ({}, {} nodes, seed {}): {}",
                round.faults.join(", "),
                round.durability,
                round.nodes,
                round.seed,
                ruling.word()
            );
            picture = Some(plot(&title, &course, &samples));
            round.course = Some(course);
        }
        let history = taken.as_ref().map(|taken| &taken.history);
        let kept = self.evidence.settle(
            number,
            (&judgement, ruling == Ruling::Valid),
            history,
            picture.as_deref(),
            self.stage.ground(),
        )?;
        round.evidence = kept.map(|folder| folder.display().to_string());
        // What a failed round left behind must not be blamed on the next.
        if ruling != Ruling::Valid {
            self.stage.clear();
        }
        Ok(round)
    }

    /// Takes the hosts down and writes the summary.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(&mut self, is_complete: bool) -> anyhow::Result<()> {
        self.stage.clear();
        self.summary.is_cut_short |= !is_complete;
        self.save()
    }

    /// Writes the summary so far.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&mut self) -> anyhow::Result<()> {
        self.summary.seconds = self.seconds();
        let json = serde_json::to_string_pretty(&self.summary.json())?;
        self.evidence.write("summary.json", &json)?;
        self.evidence.write("summary.md", &markdown(&self.summary))
    }
}

/// What no run of this version shows.
const NOT_TESTED: [&str; 5] = [
    "torn or rotten sectors: a power cut loses what was not synced, whole",
    "monotonic clocks that jump: no kernel lets them",
    "hypervisor pauses and snapshots that are restored: hosts are frozen instead",
    "real networks and disks: everything shares one machine, and syncs go to memory",
    "agents and leashes that both die while PostgreSQL lives on",
];

/// The commit of the working folder, with a mark if it was changed.
fn commit() -> String {
    let git = |arguments: &[&str]| command::run(Command::new("git").args(arguments), "");
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    match (commit, is_changed) {
        (Ok(commit), Ok(changes)) if changes.is_empty() => commit.trim().to_owned(),
        (Ok(commit), _) => format!("{} with changes", commit.trim()),
        (Err(_), _) => "unknown".to_owned(),
    }
}

fn round_of(number: usize, plan: &RoundPlan, judgement: &Judgement) -> Round {
    let said = |(checker, verdict): &(&str, Verdict)| Said {
        checker: (*checker).to_owned(),
        verdict: match verdict {
            Verdict::Valid => "valid",
            Verdict::Invalid(_) => "invalid",
            Verdict::Unknown(_) => "unknown",
        },
        text: verdict.to_string(),
    };
    Round {
        number,
        seed: plan.seed,
        durability: plan.durability.clone(),
        nodes: plan.nodes,
        faults: plan.faults(),
        replay: plan.replay(),
        ruling: judgement.ruling(),
        verdicts: judgement.verdicts.iter().map(said).collect(),
        troubles: judgement.troubles.clone(),
        rate_before: 0.0,
        seconds: 0.0,
        course: None,
        evidence: None,
    }
}

fn tell(round: &Round) {
    let outages = round.course.iter().flat_map(|course| &course.strikes);
    let outages = outages.map(|strike| match (strike.least_outage_ms, strike.outage_ms) {
        (Some(least), Some(median)) => format!(", outage {least:.0} to {median:.0} ms"),
        (Some(least), None) => format!(", outage {least:.0} ms or more"),
        (None, _) => ", nobody writes after it".to_owned(),
    });
    eprintln!(
        "  {}: {:.0}/s before, {} writes acknowledged{}, took {:.0} s",
        round.ruling.word(),
        round.rate_before,
        round.course.as_ref().map_or(0, |it| it.acknowledged_writes),
        outages.collect::<String>(),
        round.seconds
    );
    if round.ruling == Ruling::Valid {
        return;
    }
    for said in round.verdicts.iter().filter(|it| it.verdict != "valid") {
        eprintln!("  {} {}", said.checker, said.text);
    }
    for trouble in &round.troubles {
        eprintln!("  harness: {trouble}");
    }
    eprintln!("  repeat it: {}", round.replay);
    if let Some(place) = &round.evidence {
        eprintln!("  evidence: {place}");
    }
}
