//! The summary for people.

use std::fmt::Write;

use super::course::Course;
use super::summary::Summary;
use super::{Round, Ruling};

/// Of longer runs only the rounds that went wrong are told moment by moment.
const TOLD_ROUNDS: usize = 40;

/// As Markdown.
pub fn markdown(summary: &Summary) -> String {
    let mut text = String::new();
    head(&mut text, summary);
    wrong(&mut text, summary);
    verdicts(&mut text, summary);
    outages(&mut text, summary);
    operations(&mut text, summary);
    faults(&mut text, summary);
    rounds(&mut text, summary);
    time_lines(&mut text, summary);
    put(&mut text, "\n## Not tested\n\n");
    for what in &summary.about.not_tested {
        put(&mut text, &format!("* {what}\n"));
    }
    text
}

fn put(text: &mut String, more: &str) {
    text.push_str(more);
}

/// A table with a head.
fn table(text: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    put(text, &format!("| {} |\n", head.join(" | ")));
    put(text, &format!("|{}\n", "---|".repeat(head.len())));
    for row in rows {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "/")).collect();
        put(text, &format!("| {} |\n", cells.join(" | ")));
    }
}

fn ms(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"))
}

fn head(text: &mut String, summary: &Summary) {
    let about = &summary.about;
    let cut_short = if summary.is_cut_short {
        " (told to end before it was complete)"
    } else {
        ""
    };
    let lines = [
        format!("# Fault suite: {}{cut_short}\n", summary.ruling().word()),
        format!(
            "{} rounds in {:.0} s: {} valid, {} with violations, {} unknown; {} writes acknowledged.\n",
            summary.rounds.len(),
            summary.seconds,
            summary.count(Ruling::Valid),
            summary.count(Ruling::Violation),
            summary.count(Ruling::Unknown),
            summary.acknowledged_writes()
        ),
        format!("* commit {}, PostgreSQL {}", about.commit, about.postgres),
        format!("* on {}", about.ground),
        format!("* repeat it: `{}`", about.replay),
    ];
    put(text, &lines.join("\n"));
    put(text, "\n");
}

fn wrong(text: &mut String, summary: &Summary) {
    let is_wrong = |round: &&Round| round.ruling != Ruling::Valid;
    let all: Vec<_> = summary.rounds.iter().filter(is_wrong).collect();
    if all.is_empty() {
        return;
    }
    put(text, "\n## What went wrong\n");
    for round in all {
        let place = round.evidence.as_deref().unwrap_or("not kept");
        let word = round.ruling.word();
        let Round { number, replay, .. } = round;
        put(
            text,
            &format!("\nRound {number}: {word}. Repeat it: `{replay}`. Evidence: {place}\n\n```\n"),
        );
        for said in round.verdicts.iter().filter(|it| it.verdict != "valid") {
            put(text, &format!("{} {}\n", said.checker, said.text));
        }
        for trouble in &round.troubles {
            put(text, &format!("harness: {trouble}\n"));
        }
        put(text, "```\n");
    }
}

fn verdicts(text: &mut String, summary: &Summary) {
    put(text, "\n## Verdicts\n\n");
    let rows = summary.verdicts().into_iter().map(|(checker, said)| {
        let count = |word| said.get(word).copied().unwrap_or(0).to_string();
        let mut row = vec![checker.to_owned()];
        row.extend(["valid", "invalid", "unknown"].map(count));
        row
    });
    table(text, &["checker", "valid", "invalid", "unknown"], rows);
}

fn outages(text: &mut String, summary: &Summary) {
    put(
        text,
        "\n## Write outage, ms\n\nThe longest time between two acknowledged writes from the fault on. The cluster was out for no \
         longer than the clients of the zone saw it that waited least; those of the median zone also wait for what clients do, \
         such as giving up a statement after 2 s (3 s between distant zones). Without an outage it is the longest pause of a loaded machine.\n\n",
    );
    let head = [
        "fault",
        "role",
        "durability",
        "times",
        "never over",
        "least zone: median",
        "95 %",
        "worst",
        "median zone: median",
        "95 %",
        "worst",
    ];
    let rows = summary.outages().into_iter().map(|row| {
        let mut cells = vec![
            row.fault,
            row.role,
            row.durability,
            row.count.to_string(),
            row.never.to_string(),
        ];
        for spread in [row.least, row.median] {
            cells.extend([spread.p50, spread.p95, spread.worst].map(ms));
        }
        cells
    });
    table(text, &head, rows);
}

fn operations(text: &mut String, summary: &Summary) {
    put(text, "\n## Operations\n\n");
    let head = ["workload", "invoked", "ok", "failed", "unknown"];
    let rows = summary.operations().into_iter().map(|(name, counts)| {
        let numbers = [counts.invoke, counts.ok, counts.fail, counts.info];
        let mut row = vec![name.to_owned()];
        row.extend(numbers.map(|number| number.to_string()));
        row
    });
    table(text, &head, rows);
}

fn faults(text: &mut String, summary: &Summary) {
    put(text, "\n## Faults\n\n");
    let head = ["fault", "installed", "skipped", "indeterminate"];
    let rows = summary.attempts().into_iter().map(|(fault, attempts)| {
        vec![
            fault,
            attempts.installed.to_string(),
            attempts.skipped.to_string(),
            attempts.indeterminate.to_string(),
        ]
    });
    table(text, &head, rows);
}

fn rounds(text: &mut String, summary: &Summary) {
    put(text, "\n## Rounds\n\n");
    let head = [
        "round",
        "seed",
        "durability",
        "nodes",
        "faults",
        "ops/s before",
        "took s",
        "ruling",
    ];
    let rows = summary.rounds.iter().map(|round| {
        vec![
            round.number.to_string(),
            round.seed.to_string(),
            round.durability.clone(),
            round.nodes.to_string(),
            round.faults.join(", "),
            format!("{:.0}", round.rate_before),
            format!("{:.0}", round.seconds),
            round.ruling.word().to_owned(),
        ]
    });
    table(text, &head, rows);
}

fn time_lines(text: &mut String, summary: &Summary) {
    put(text, "\n## Time lines\n");
    let is_long = summary.rounds.len() > TOLD_ROUNDS;
    for round in &summary.rounds {
        let Some(course) = &round.course else {
            continue;
        };
        if is_long && round.ruling == Ruling::Valid {
            continue;
        }
        let Round { number, seed, .. } = round;
        put(text, &format!("\nRound {number}, seed {seed}\n\n```\n"));
        for (at, words) in moments(course) {
            put(text, &format!("{:7.2} s  {words}\n", at / 1_000.0));
        }
        let rates: Vec<_> = course.rates.iter().map(ToString::to_string).collect();
        put(
            text,
            &format!("operations each second: {}\n```\n", rates.join(" ")),
        );
    }
}

/// What happened, in its order.
fn moments(course: &Course) -> Vec<(f64, String)> {
    let mut all = vec![];
    for primary in &course.primaries {
        let (node, timeline) = (&primary.node, primary.timeline);
        let words = format!("{node} acknowledges its first write on timeline {timeline}");
        all.push((primary.first_ms, words));
        let words = format!(
            "{node} acknowledges its last write on timeline {timeline}, of {}",
            primary.writes
        );
        all.push((primary.last_ms, words));
    }
    for strike in &course.strikes {
        let mut words = format!("{} {} {}", strike.fault, strike.host, strike.outcome);
        let takes = strike.installed_ms - strike.began_ms;
        write!(words, " in {takes:.0} ms").expect("a string takes everything");
        all.push((strike.began_ms, words));
        if let Some(healed) = strike.healed_ms {
            all.push((
                healed,
                format!("{} {} is healed", strike.fault, strike.host),
            ));
        }
    }
    if let Some(healed) = course.healed_ms {
        all.push((healed, "every member streams".to_owned()));
    }
    all.push((course.lasted_ms, "the load ends".to_owned()));
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::testing::summary;

    #[test]
    fn it_tells_what_happened() {
        let text = markdown(&summary());
        let golden = include_str!("golden.md");
        assert!(text == golden, "{text}");
    }
}
