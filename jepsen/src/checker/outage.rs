//! How long could nobody write?

use std::time::Duration;

use crate::clock::Moment;
use crate::history::acknowledgement::{Acknowledgement, Writer};

/// The interruptions that one writer saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The longest gap until another node had taken over, or at all if none did.
    pub gap: Duration,
    /// Whether another node took over.
    pub took_over: bool,
    /// When it ended.
    pub ended: Moment,
    /// The longest gap after it, such as a stall while a node rejoins.
    pub later: Duration,
}

/// The outage that began at or after `fault`; none if `writer` never wrote again.
pub fn check(history: &[Acknowledgement], writer: Writer, fault: Moment) -> Option<Outage> {
    let of_writer: Vec<_> = history.iter().filter(|it| it.writer == writer).collect();
    let before = of_writer.iter().rposition(|it| it.at <= fault)?;
    let rest = &of_writer[before..];
    let gap = |pair: &[&Acknowledgement]| pair[1].at.since(pair[0].at);
    let is_switch = |pair: &[&Acknowledgement]| pair[0].node != pair[1].node;
    let pairs = || rest.windows(2).enumerate();
    let longest = |of: &[&Acknowledgement]| of.windows(2).map(gap).max().unwrap_or_default();
    let (at, found) = pairs()
        .find(|(_, pair)| is_switch(pair))
        .or_else(|| pairs().max_by_key(|(_, pair)| gap(pair)))?;
    Some(Outage {
        gap: longest(&rest[..=at + 1]),
        took_over: is_switch(found),
        ended: found[1].at,
        later: longest(&rest[at + 1..]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::acknowledgement::testing::acknowledged;

    fn check_ms(history: &[(&str, u64)], fault: u64) -> Option<(u128, u128)> {
        let history: Vec<_> = (1..)
            .zip(history)
            .map(|(id, (node, at))| acknowledged(Writer::Client, node, id, *at))
            .collect();
        let found = check(&history, Writer::Client, Moment(fault * 1_000_000))?;
        Some((found.gap.as_millis(), found.later.as_millis()))
    }

    #[test]
    fn it_lasts_from_the_last_before_to_the_first_of_another_node() {
        let history = [
            ("a", 10),
            ("a", 300),
            ("a", 310),
            ("b", 400),
            ("b", 405),
            ("b", 520),
        ];
        assert_eq!(check_ms(&history, 302), Some((90, 115)));
    }

    #[test]
    fn a_stall_of_the_old_node_before_the_new_one_writes_is_part_of_it() {
        let history = [("a", 10), ("a", 900), ("b", 950), ("b", 955)];
        assert_eq!(check_ms(&history, 12), Some((890, 5)));
    }

    #[test]
    fn without_a_new_node_it_is_the_longest_gap() {
        let history = [("a", 10), ("a", 15), ("a", 100), ("a", 120)];
        assert_eq!(check_ms(&history, 12), Some((85, 20)));
    }

    #[test]
    fn who_never_writes_again_has_no_outage_but_no_service() {
        assert_eq!(check_ms(&[("a", 10), ("a", 15)], 16), None);
        assert_eq!(check_ms(&[], 16), None);
    }
}
