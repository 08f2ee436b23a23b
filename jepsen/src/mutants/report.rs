//! What became of the mutants, for people and as the verdict of the run.

use super::table::Mutant;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The mutant: its checker must notice.
    Broken,
    /// The same faults without it: no checker may notice anything.
    Whole,
}

/// What one mutant lived through.
#[derive(Debug, Clone)]
pub struct Hunted {
    /// Which.
    pub mutant: Mutant,
    /// Whether its rule was broken at all.
    pub rule: Rule,
    /// Rounds until its checker noticed; none if it never did.
    pub caught_in: Option<usize>,
    /// How many rounds took place.
    pub rounds: usize,
    /// Every checker that called the last of them invalid.
    pub red: Vec<&'static str>,
}

impl Hunted {
    /// Whether it went as it must.
    pub fn is_right(&self) -> bool {
        self.rounds > 0
            && match self.rule {
                Rule::Broken => self.caught_in.is_some(),
                Rule::Whole => self.red.is_empty(),
            }
    }

    fn fate(&self) -> String {
        let Mutant {
            checker, anomaly, ..
        } = &self.mutant;
        match (self.rule, self.rounds, self.caught_in) {
            (_, 0, _) => "NO ROUND TOOK PLACE".to_owned(),
            (Rule::Broken, _, Some(_)) => format!("{checker}: {anomaly}"),
            (Rule::Broken, _, None) => format!("SURVIVED {checker}"),
            (Rule::Whole, _, _) if self.red.is_empty() => "nothing noticed".to_owned(),
            (Rule::Whole, _, _) => format!("NOTICED by {}", self.red.join(", ")),
        }
    }
}

/// The table, with the sum below it.
pub fn table(hunted: &[Hunted], rule: Rule) -> String {
    let fate = match rule {
        Rule::Broken => "caught by",
        Rule::Whole => "with the rule whole",
    };
    let mut head = vec!["mutant", "durability", "faults", "rounds", fate];
    if rule == Rule::Broken {
        head.push("also by");
    }
    let mut rows = vec![head.iter().map(|it| (*it).to_owned()).collect()];
    rows.extend(hunted.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    let right = hunted.iter().filter(|it| it.is_right()).count();
    text.push_str(&match rule {
        Rule::Broken => {
            let median = median(hunted.iter().filter_map(|it| it.caught_in).collect());
            let median = median.map_or("-".to_owned(), |it| it.to_string());
            let all = hunted.len();
            format!("\nkilled {right}/{all}, median rounds to kill {median}\n")
        }
        Rule::Whole => format!("\nnothing noticed in {right}/{}\n", hunted.len()),
    });
    text
}

fn row(hunted: &Hunted) -> Vec<String> {
    let mutant = &hunted.mutant;
    let faults: Vec<_> = mutant.strikes.iter().map(|it| it.fault.name()).collect();
    let rounds = match (hunted.rule, hunted.caught_in) {
        (_, Some(rounds)) => rounds.to_string(),
        (Rule::Broken, None) => format!(">{}", hunted.rounds),
        (Rule::Whole, None) => hunted.rounds.to_string(),
    };
    let mut cells = vec![
        mutant.name.clone(),
        mutant.durability.clone(),
        faults.join(" + "),
        rounds,
        hunted.fate(),
    ];
    if hunted.rule == Rule::Broken {
        let others = hunted.red.iter().filter(|name| **name != mutant.checker);
        cells.push(others.copied().collect::<Vec<_>>().join(", "));
    }
    cells
}

fn median(mut all: Vec<usize>) -> Option<usize> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::super::table::chosen;
    use super::*;

    fn hunted(rule: Rule, caught_in: Option<usize>, red: &[&'static str]) -> Hunted {
        Hunted {
            mutant: chosen(&["lease-end".to_owned()]).unwrap().remove(0),
            rule,
            caught_in,
            rounds: 3,
            red: red.to_vec(),
        }
    }

    #[test]
    fn a_mutant_must_be_caught_and_who_survives_is_shown() {
        let all = [
            hunted(Rule::Broken, Some(2), &["set", "epoch"]),
            hunted(Rule::Broken, None, &[]),
        ];
        assert_eq!(all.each_ref().map(Hunted::is_right), [true, false]);
        let text = table(&all, Rule::Broken);
        assert!(text.contains("2       epoch: old-primary  set\n"), "{text}");
        assert!(text.contains(">3      SURVIVED epoch\n"), "{text}");
        assert!(
            text.ends_with("killed 1/2, median rounds to kill 2\n"),
            "{text}"
        );
    }

    #[test]
    fn with_the_rule_whole_nobody_survives_and_nobody_may_notice_anything() {
        let all = [
            hunted(Rule::Whole, None, &[]),
            hunted(Rule::Whole, None, &["append"]),
            hunted(Rule::Whole, Some(1), &["epoch"]),
        ];
        assert_eq!(all.each_ref().map(Hunted::is_right), [true, false, false]);
        let text = table(&all, Rule::Whole);
        assert!(text.contains("3       nothing noticed\n"), "{text}");
        assert!(text.contains("3       NOTICED by append\n"), "{text}");
        assert!(text.contains("1       NOTICED by epoch\n"), "{text}");
        assert!(text.ends_with("nothing noticed in 1/3\n"), "{text}");
        assert!(
            !text.contains("SURVIVED") && !text.contains("killed"),
            "{text}"
        );
    }

    #[test]
    fn without_a_round_nothing_is_shown() {
        for rule in [Rule::Broken, Rule::Whole] {
            let none = Hunted {
                rounds: 0,
                ..hunted(rule, None, &[])
            };
            assert!(!none.is_right());
            let text = table(&[none], rule);
            assert!(text.contains("NO ROUND TOOK PLACE"), "{text}");
        }
    }
}
