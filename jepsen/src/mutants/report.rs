//! What became of the mutants, for people and as the verdict of the run.

use super::table::Mutant;

/// What one mutant lived through.
#[derive(Debug, Clone)]
pub struct Hunted {
    /// Which.
    pub mutant: Mutant,
    /// Rounds until its checker noticed; none if it survived all of them.
    pub caught_in: Option<usize>,
    /// How many rounds took place.
    pub rounds: usize,
    /// Other checkers that noticed in that round.
    pub others: Vec<&'static str>,
}

/// The table, with the sum below it.
pub fn table(hunted: &[Hunted]) -> String {
    let head = [
        "mutant",
        "durability",
        "faults",
        "rounds",
        "caught by",
        "also by",
    ];
    let mut rows = vec![head.map(str::to_owned)];
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
    let caught: Vec<_> = hunted.iter().filter_map(|it| it.caught_in).collect();
    let median = median(caught.clone()).map_or("-".to_owned(), |it| it.to_string());
    text.push_str(&format!(
        "\nkilled {}/{}, median rounds to kill {median}\n",
        caught.len(),
        hunted.len()
    ));
    text
}

fn row(hunted: &Hunted) -> [String; 6] {
    let mutant = &hunted.mutant;
    let faults: Vec<_> = mutant.strikes.iter().map(|it| it.fault.name()).collect();
    let (rounds, by) = match hunted.caught_in {
        Some(rounds) => (
            rounds.to_string(),
            format!("{}: {}", mutant.checker, mutant.anomaly),
        ),
        None => (
            format!(">{}", hunted.rounds),
            format!("SURVIVED {}", mutant.checker),
        ),
    };
    [
        mutant.name.clone(),
        mutant.durability.clone(),
        faults.join(" + "),
        rounds,
        by,
        hunted.others.join(", "),
    ]
}

fn median(mut all: Vec<usize>) -> Option<usize> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::super::table::chosen;
    use super::*;

    #[test]
    fn who_survives_is_shown() {
        let hunted = |caught_in| Hunted {
            mutant: chosen(&["lease-end".to_owned()]).unwrap().remove(0),
            caught_in,
            rounds: 3,
            others: vec!["set"],
        };
        let text = table(&[hunted(Some(2)), hunted(None)]);
        assert!(text.contains("2       epoch: old-primary"), "{text}");
        assert!(text.contains(">3      SURVIVED epoch"), "{text}");
        assert!(
            text.ends_with("killed 1/2, median rounds to kill 2\n"),
            "{text}"
        );
    }
}
