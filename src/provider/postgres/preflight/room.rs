//! Whether a server has places left for those who would stream from it, as a function of counts.

use super::Lack;

/// What a server has, and what is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// `max_wal_senders`.
    pub senders: usize,
    /// Processes that send.
    pub sending: usize,
    /// `max_replication_slots`.
    pub slots: usize,
    /// Slots of any kind.
    pub slots_made: usize,
    /// How many would have to stream from it and do not yet.
    pub to_come: usize,
    /// How many slots they would need that are not there yet.
    pub slots_to_come: usize,
}

/// What is missing. Of 0 the settings' own checks speak.
pub(crate) fn missing(places: Places) -> Vec<Lack> {
    let Places {
        senders,
        sending,
        slots,
        slots_made,
        to_come,
        slots_to_come,
    } = places;
    let mut lacks = vec![];
    if senders > 0 && sending + to_come.max(1) > senders {
        let wanted = sending + to_come.max(1);
        let who = match to_come {
            0 => "a standby whose connection breaks may have to wait until that is noticed"
                .to_owned(),
            1 => "another one could not follow it".to_owned(),
            _ => format!("{to_come} others could not follow it"),
        };
        lacks.push(Lack {
            what: format!("max_wal_senders is {senders}, and {sending} are in use: {who}"),
            mend: format!(
                "ALTER SYSTEM SET max_wal_senders = {}; -- and a restart, of standbys first",
                wanted.max(DEFAULT)
            ),
            is_needed: to_come > 0,
        });
    }
    if slots > 0 && slots_made + slots_to_come > slots {
        lacks.push(Lack {
            what: format!(
                "max_replication_slots is {slots}, and {slots_made} are in use: there is no room for {slots_to_come} more, \
                 which standbys would bring with them"
            ),
            mend: format!(
                "ALTER SYSTEM SET max_replication_slots = {}; -- and a restart; or drop a slot that nobody needs",
                (slots_made + slots_to_come).max(DEFAULT)
            ),
            is_needed: true,
        });
    }
    lacks
}

/// PostgreSQL's own, of both settings: less is never proposed.
const DEFAULT: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_places_are_counted_with_those_to_come() {
        let check = |senders: [usize; 3], slots: [usize; 3], expected: &[(&str, bool)]| {
            let found = missing(Places {
                senders: senders[0],
                sending: senders[1],
                to_come: senders[2],
                slots: slots[0],
                slots_made: slots[1],
                slots_to_come: slots[2],
            });
            let found: Vec<_> = found
                .iter()
                .map(|it| (it.what.split(' ').next().unwrap(), it.is_needed))
                .collect();
            assert_eq!(found, expected, "{senders:?} {slots:?}");
        };
        let senders = "max_wal_senders";
        check([10, 2, 0], [10, 2, 0], &[]);
        check([2, 2, 0], [10, 2, 0], &[(senders, false)]);
        check([2, 0, 2], [10, 2, 0], &[]);
        check([2, 1, 2], [10, 2, 0], &[(senders, true)]);
        check([0, 0, 2], [0, 0, 2], &[]);
        check([10, 0, 2], [2, 2, 0], &[]);
        check([10, 0, 2], [2, 1, 2], &[("max_replication_slots", true)]);
    }
}
