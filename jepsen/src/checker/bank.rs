//! Is all the money there in every snapshot, and no account below zero?

use crate::history::{Call, Operation, Outcome, Setup};

use super::{Evidence, Verdict, few};

/// Judges `transfer` and `balances`.
pub fn check(calls: &[Call], setup: &Setup) -> Option<Verdict> {
    let is_bank = |call: &&Call| {
        matches!(
            call.operation,
            Operation::Transfer(_) | Operation::Balances(_)
        )
    };
    if !calls.iter().any(|call| is_bank(&call)) {
        return None;
    }
    let reads: Vec<_> = calls
        .iter()
        .filter(|call| call.outcome == Outcome::Ok)
        .filter_map(|call| match &call.operation {
            Operation::Balances(Some(balances)) => Some((call, balances)),
            _ => None,
        })
        .collect();
    let Some((_, first)) = reads.first() else {
        return Some(Verdict::Unknown("no balances were ever read".to_owned()));
    };
    let expected = setup.total.unwrap_or_else(|| first.values().sum());
    let mut evidence = vec![];
    for (call, balances) in reads {
        let sum: i64 = balances.values().sum();
        if sum != expected {
            evidence.push(Evidence {
                anomaly: "wrong-total",
                detail: format!("all accounts hold {sum}, not {expected}"),
                events: vec![call.shown()],
            });
        }
        let negative: Vec<i64> = balances
            .iter()
            .filter_map(|(account, balance)| (*balance < 0).then_some(*account))
            .collect();
        if !negative.is_empty() {
            evidence.push(Evidence {
                anomaly: "negative-balance",
                detail: format!("accounts below zero: {}", few(&negative)),
                events: vec![call.shown()],
            });
        }
    }
    Some(Verdict::of(evidence))
}
