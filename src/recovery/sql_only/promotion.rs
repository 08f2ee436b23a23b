//! What is looked at once more before a standby is told to become the primary: time has passed since that was decided, and
//! over SQL nothing that was seen stays so.

use super::proof::has_no_source;
use crate::broken;
use crate::model::sql_only::end_of;
use crate::model::{Address, InstanceFacts, Role, WalPosition};

/// Why the old primary at `beside`, which was asked to be quiet, may accept writes; none if it does not. `seen` is what it
/// shows now, or why it shows nothing.
pub fn why_not_quiet(
    beside: &Address,
    seen: Result<&InstanceFacts, &dyn std::fmt::Display>,
) -> Option<String> {
    match seen {
        Ok(seen) if seen.role != Role::Primary || seen.read_only_default => None,
        Ok(_) if broken!(SqlQuiet) => None,
        Ok(_) => Some(format!("the primary at {beside} accepts writes again")),
        Err(error) => Some(format!(
            "whether {beside} is quiet still is not known: {error}"
        )),
    }
}

/// Why it is not who was elected at `at_least`; none if it is, or is the primary already.
pub fn why_not_elected(at_least: WalPosition, seen: &InstanceFacts) -> Option<String> {
    let end = end_of(seen);
    match (seen.role, end) {
        (Role::Primary, _) => None,
        (Role::Standby, _) if !has_no_source(seen) => {
            Some("somebody had it receive again".to_owned())
        }
        (Role::Standby | Role::Detached, Some(end))
            if end.timeline == at_least.timeline && end.lsn >= at_least.lsn =>
        {
            None
        }
        (Role::Standby | Role::Detached, _) => Some(format!(
            "it ends at {}, and was elected at {at_least}",
            end.map_or("a place that is not known".to_owned(), |end| end
                .to_string())
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example;
    use crate::model::{Lsn, Position, SourceFacts, Timeline};

    fn at(timeline: u32, lsn: u64) -> WalPosition {
        WalPosition {
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
        }
    }

    #[test]
    fn an_old_primary_is_quiet_if_it_is_seen_to_be() {
        let check = |role, read_only_default, expected: Option<&str>| {
            let mut seen = example::facts("p");
            (seen.role, seen.read_only_default) = (role, read_only_default);
            let found = why_not_quiet(&seen.address, Ok(&seen));
            let is_so = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_so, "{role} {read_only_default}: {found:?}");
        };
        check(Role::Primary, true, None);
        check(Role::Standby, false, None);
        check(Role::Primary, false, Some("accepts writes again"));
        let seen = example::facts("p");
        let found = why_not_quiet(&seen.address, Err(&"it does not answer"));
        assert!(found.unwrap().contains("it does not answer"));
    }

    #[test]
    fn who_was_elected_is_detached_and_holds_no_less() {
        let check = |role, end: Option<WalPosition>, expected: Option<&str>| {
            let mut seen = example::facts("s1");
            seen.role = role;
            seen.status.received = end.map(Position::Wal);
            let found = why_not_elected(at(3, 100), &seen);
            let is_so = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_so, "{role} {end:?}: {found:?}");
        };
        check(Role::Detached, Some(at(3, 100)), None);
        check(Role::Detached, Some(at(3, 101)), None);
        check(Role::Standby, Some(at(3, 100)), None);
        check(Role::Detached, Some(at(3, 99)), Some("it ends at"));
        check(Role::Detached, Some(at(4, 100)), Some("it ends at"));
        check(Role::Detached, None, Some("not known"));
        check(Role::Primary, None, None);
        let mut seen = example::facts("s1");
        seen.role = Role::Standby;
        seen.status.received = Some(Position::Wal(at(3, 100)));
        seen.source = Some(SourceFacts {
            address: seen.address.clone(),
            application_name: "s1".to_owned(),
            user: String::new(),
            slot: None,
        });
        let found = why_not_elected(at(3, 100), &seen);
        assert!(found.unwrap().contains("receive again"));
    }
}
