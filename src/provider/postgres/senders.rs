//! Which names each walsender runs.
//!
//! Each reads the settings for itself, and those of one that has not read them yet may acknowledge a commit for fewer standbys
//! than the rest. Under `ANY n` every listed standby has priority 1 whatever `n` is, so that who runs the new number cannot
//! be told. Under `FIRST n` the priority is the place in the list (`SyncRepGetStandbyPriority`, `syncrep.c`), which each
//! walsender writes down when it has read the settings, before it answers for its standby (`WalSndLoop`). One that begins
//! later has the settings of the postmaster, and one that was told to read them reads them before its first answer.

use std::time::Duration;

use tokio::time::sleep;

use super::session::Session;
use super::synchronous::parse;
use crate::clock;
use crate::model::SyncPolicy;
use crate::provider::{ProviderError, Result};

/// How often it is looked again.
const AGAIN: Duration = Duration::from_millis(10);
/// Kept for the answer.
const MARGIN: Duration = Duration::from_millis(200);

const STATEMENT: &str = "SELECT application_name, coalesce(sync_priority, 0), pid FROM pg_stat_replication ORDER BY pid";

/// Waits until every walsender runs `names`. Errors: `Precondition` if one does not within that time, or if it cannot be told
/// of these names.
pub(super) async fn run(session: &Session, names: &str, within: Duration) -> Result<()> {
    let Some(SyncPolicy::First { of, .. }) = parse(names) else {
        let why = format!("of {names} it cannot be told which walsender runs it");
        return Err(ProviderError::Precondition(why));
    };
    let until = clock::monotonic().after(within.saturating_sub(MARGIN));
    loop {
        let rows = session.rows(STATEMENT).await?;
        let another = rows.iter().find_map(|row| {
            let (name, found) = (row.get(0)?, row.get(1)?);
            let is_so = found.parse() == Ok(priority(&of, name));
            (!is_so).then(|| format!("{name} (process {})", row.get(2).unwrap_or("?")))
        });
        let Some(another) = another else {
            return Ok(());
        };
        if clock::monotonic() >= until {
            let why = format!("the walsender of {another} does not run the names in force yet");
            return Err(ProviderError::Precondition(why));
        }
        sleep(AGAIN).await;
    }
}

/// The priority of a standby of this name: its place in the list, or 0 for one that is not listed.
fn priority(of: &[String], name: &str) -> usize {
    let place = of
        .iter()
        .position(|it| it == "*" || it.eq_ignore_ascii_case(name));
    place.map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_the_place_in_the_list() {
        let of = ["nobody", "b_1_1", "c_1_1"].map(str::to_owned);
        for (name, expected) in [("b_1_1", 2), ("C_1_1", 3), ("d_1_1", 0)] {
            assert_eq!(priority(&of, name), expected, "{name}");
        }
    }
}
