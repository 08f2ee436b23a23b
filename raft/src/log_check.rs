//! What is looked at before a log is used: that it is whole, and that it holds what was acknowledged.

use std::io;

use crate::{
    log_entry::{self, Link, damaged},
    log_parts::{self, Joiner},
    types::{LogId, Vote},
    witness::Testimony,
};

/// Parts removed in one bite when purging: about a millisecond of work.
const PURGE_BITE: usize = 256;

/// Finishes what a crash interrupted: a purge, and the writing of the last entry, which nobody was told of.
pub(crate) fn repair(entries: &sled::Tree, first: u64) -> io::Result<()> {
    while !remove_some(entries, first)? {}
    let Some((key, _)) = entries.last()? else {
        return Ok(());
    };
    let last = log_parts::index_of(&key)?;
    let mut joiner = Joiner::default();
    for part in entries.range(log_parts::first_key(last)..) {
        let (key, value) = part?;
        joiner.push(&key, &value)?;
    }
    if joiner.unfinished().is_some() {
        remove_from(entries, last)?;
    }
    Ok(())
}

/// Reads the whole log once: every entry from `first` on is there, is what was written, and follows the one before
/// it. Gives the link of the last. `look` is given every entry.
pub(crate) fn check(
    entries: &sled::Tree,
    first: u64,
    mut look: impl FnMut(LogId),
) -> io::Result<Option<Link>> {
    let mut expected = first;
    let mut link = None;
    let mut joiner = Joiner::default();
    for part in entries {
        let (key, value) = part?;
        if let Some((index, stored)) = joiner.push(&key, &value)? {
            if index != expected {
                return Err(damaged(format!(
                    "log has entry {index} where {expected} is due"
                )));
            }
            let (entry, next) = log_entry::load(index, &stored, link)?;
            look(entry.log_id);
            link = Some(next);
            expected += 1;
        }
    }
    Ok(link)
}

/// What of `testimony` the log no longer holds, in words.
pub(crate) fn forgotten(
    testimony: &Testimony,
    vote: Option<Vote>,
    purged: Option<LogId>,
    at_last: Option<LogId>,
) -> Option<String> {
    if let Some(noted) = testimony.vote
        && !vote.is_some_and(|vote| vote >= noted)
    {
        let found = vote.map_or("none".to_owned(), |vote| vote.to_string());
        return Some(format!("vote {noted}, found {found}"));
    }
    let noted = testimony.last?;
    if purged.is_some_and(|purged| purged.index >= noted.index) || at_last == Some(noted) {
        return None;
    }
    let found = at_last.map_or("none".to_owned(), |found| format!("entry {found}"));
    Some(format!("entry {noted}, found {found}"))
}

/// Removes some of the parts below index `end`, lowest first; true when none is left.
pub(crate) fn remove_some(entries: &sled::Tree, end: u64) -> io::Result<bool> {
    let range = entries.range(..log_parts::first_key(end));
    let keys: Vec<_> = range.keys().take(PURGE_BITE).collect::<Result<_, _>>()?;
    for key in &keys {
        entries.remove(key)?;
    }
    Ok(keys.len() < PURGE_BITE)
}

/// Removes the entries at `index` and above, highest part first.
pub(crate) fn remove_from(entries: &sled::Tree, index: u64) -> io::Result<()> {
    let range = entries.range(log_parts::first_key(index)..);
    let keys: Vec<_> = range.keys().rev().collect::<Result<_, _>>()?;
    for key in keys {
        entries.remove(key)?;
    }
    Ok(())
}
