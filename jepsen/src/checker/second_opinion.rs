//! The crate `adya`, written by others after Elle, judges the same list-append histories. Where it and our
//! checker differ about validity, one of them is wrong.

use adya::{Opts, Valid, Workload};

use crate::history::{History, Operation, Setup};

use super::generated::{self, Plan, Wrong};
use super::{Verdict, append, golden};

/// Golden histories that `adya` judges differently on purpose, and why.
const KNOWN: &[(&str, &str)] = &[
    (
        "append-appended-twice.edn",
        "it finds that nothing can be inferred, and calls that valid",
    ),
    (
        "append-phantom-element.edn",
        "it takes elements that nobody appended for appended by somebody unknown",
    ),
    (
        "append-stale-read-within-lease.edn",
        "it knows only strict reads",
    ),
    (
        "append-lost-unread.edn",
        "it does not ask whether a loss could have been seen",
    ),
];

fn theirs(history: &History) -> adya::Report {
    let parsed = adya::History::from_edn(&history.to_edn()).unwrap();
    adya::check(&parsed, Workload::ListAppend, &Opts::default())
}

fn validity(verdict: &Verdict) -> Valid {
    match verdict {
        Verdict::Valid => Valid::True,
        Verdict::Invalid(_) => Valid::False,
        Verdict::Unknown(_) => Valid::Unknown,
    }
}

#[test]
fn both_judge_the_golden_histories_alike() {
    let mut judged = 0;
    for entry in std::fs::read_dir(golden::folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_known = KNOWN.iter().any(|(known, _)| *known == name);
        if !name.ends_with(".edn") || is_known {
            continue;
        }
        let (history, _) = golden::read(&name);
        let is_append = |operation: &Operation| matches!(operation, Operation::Transaction(_));
        if !history.events().iter().any(|it| is_append(&it.operation)) {
            continue;
        }
        let ours = append::anomalies(&history.calls().unwrap(), &Setup::default()).unwrap();
        let theirs = theirs(&history);
        assert_eq!(
            validity(&ours),
            theirs.valid,
            "{name}: {ours:#?} {theirs:#?}"
        );
        judged += 1;
    }
    assert!(judged >= 20, "only {judged} golden histories were compared");
}

#[test]
fn both_judge_generated_histories_alike() {
    let mut caught = [0; Wrong::ALL.len()];
    let seeds = 25;
    for seed in 0..seeds {
        for (place, wrong) in Wrong::ALL.into_iter().enumerate() {
            let plan = Plan {
                transactions: 150,
                clients: 5,
                keys: 3,
                rotate_every: 40,
                wrong,
            };
            let history = generated::append(seed, plan);
            let ours = append::anomalies(&history.calls().unwrap(), &Setup::default()).unwrap();
            let theirs = theirs(&history);
            assert_eq!(
                validity(&ours),
                theirs.valid,
                "seed {seed}, {wrong:?}: {ours} against {:?}",
                theirs.anomaly_types
            );
            if wrong == Wrong::Nothing {
                assert_eq!(ours, Verdict::Valid, "seed {seed}");
            }
            caught[place] += usize::from(ours != Verdict::Valid);
        }
    }
    eprintln!("caught of {seeds} each: {:?} {caught:?}", Wrong::ALL);
    assert!(caught[1..].iter().all(|count| *count >= 20), "{caught:?}");
}
