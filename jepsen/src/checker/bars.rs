//! How fast the checkers must be: `cargo test --release -p jepsen -- --ignored --nocapture bars`.

use crate::clock;
use crate::history::Setup;
use crate::random::Random;

use super::generated::{self, Plan, Wrong};
use super::linearizability::{Action, register_step};
use super::wgl::{self, Entry, Found};
use super::{Verdict, append};

fn within(what: &str, bar_ms: f64, work: impl FnOnce()) {
    let began = clock::now();
    work();
    let took = clock::now().ms_since(began);
    eprintln!("{what}: {took:.0} ms (bar {bar_ms:.0} ms)");
    assert!(took <= bar_ms, "{what}: {took:.0} ms");
}

#[test]
#[ignore = "measures; run it optimised and alone"]
fn fifty_thousand_append_transactions_in_a_second() {
    for wrong in [Wrong::Nothing, Wrong::StaleReads, Wrong::SplitBrain] {
        let plan = Plan {
            transactions: 50_000,
            clients: 8,
            keys: 5,
            rotate_every: 200,
            wrong,
        };
        let history = generated::append(7, plan);
        let calls = history.calls().unwrap();
        within(&format!("50,000 transactions, {wrong:?}"), 1000.0, || {
            let verdict = append::anomalies(&calls, &Setup::default()).unwrap();
            assert_eq!(verdict == Verdict::Valid, wrong == Wrong::Nothing);
        });
    }
}

/// Operations of clients that overlap all the time, each at one moment between call and return.
fn register(count: usize, clients: u64, crash_one_in: Option<u64>) -> Vec<Entry<Action>> {
    let mut random = Random::new(7);
    let (mut state, mut time, mut started) = (0, 0, 0);
    let mut under_way = vec![(0, None, None); usize::try_from(clients).unwrap()];
    let mut entries = vec![];
    while entries.len() < count {
        time += 1;
        let client = &mut under_way[usize::try_from(random.below(clients)).unwrap()];
        match *client {
            (_, None, _) if started == count => {}
            (_, None, _) => {
                started += 1;
                let value = i64::try_from(started).unwrap();
                let action = match random.below(10) {
                    0..=4 => Action::Read(0),
                    5..=7 => Action::Write(value),
                    _ => Action::Cas(state, value, None),
                };
                *client = (time, Some(action), None);
            }
            (invoked, Some(asked), None) => {
                let answer = match asked {
                    Action::Read(_) => Action::Read(state),
                    Action::Write(_) => asked,
                    Action::Cas(from, to, _) => Action::Cas(from, to, Some(from == state)),
                };
                state = register_step(&state, &answer).unwrap();
                *client = (invoked, Some(asked), Some(answer));
            }
            (invoked, Some(asked), Some(answer)) => {
                let is_read = matches!(asked, Action::Read(_));
                let crashes = !is_read && crash_one_in.is_some_and(|it| random.below(it) == 0);
                entries.push(Entry {
                    invoked,
                    returned: (!crashes).then_some(time),
                    action: if crashes { asked } else { answer },
                });
                *client = (0, None, None);
            }
        }
    }
    entries
}

#[test]
#[ignore = "measures; run it optimised and alone"]
fn ten_thousand_register_operations_in_two_seconds() {
    for (what, crash_one_in) in [("all return", None), ("1 write of 100 crashes", Some(100))] {
        let entries = register(10_000, 8, crash_one_in);
        within(&format!("10,000 operations, {what}"), 2000.0, || {
            let found = wgl::search(&entries, 0, register_step, u64::MAX);
            assert_eq!(found, Found::Linearizable);
        });
    }
}
