//! How far a primary has come with its log, in two numbers that can be compared.
//!
//! Where a record ends at the end of a page, PostgreSQL tells the end of what is flushed as the beginning of the next page,
//! and the place where the next record goes behind the header of that page: so after every switch of a segment
//! (`archive_timeout`, `pg_switch_wal`) two places differ between which nothing is.

use crate::model::{LogEnds, Lsn};

/// Of a page within a segment, and of the first one of a segment (`XLogPageHeaderData`, `XLogLongPageHeaderData`).
const HEADER: u64 = 24;
const LONG_HEADER: u64 = 40;

/// From `flushed inserted page-size segment-size`; none if that is not what it is.
pub(super) fn understand(text: &str) -> Option<LogEnds> {
    let mut words = text.split(' ');
    let (flushed, inserted): (Lsn, Lsn) =
        (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (page, segment): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let begins = |size: u64| size > 0 && flushed.0.is_multiple_of(size);
    let header = match (begins(segment), begins(page)) {
        (true, _) => Some(LONG_HEADER),
        (false, true) => Some(HEADER),
        (false, false) => None,
    };
    // The rest of a record that goes over the boundary would be behind the header.
    let is_header = header.is_some_and(|header| inserted.0.checked_sub(flushed.0) == Some(header));
    Some(LogEnds {
        flushed,
        inserted: if is_header { flushed } else { inserted },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_page_is_nothing_that_waits() {
        let check = |flushed: &str, inserted: &str, is_open: bool| {
            let text = format!("{flushed} {inserted} 8192 16777216");
            let found = understand(&text).unwrap();
            assert_eq!(found.inserted > found.flushed, is_open, "{text}");
            assert_eq!(found.flushed, flushed.parse().unwrap());
        };
        check("0/3000000", "0/3000028", false);
        check("0/3002000", "0/3002018", false);
        check("0/3002000", "0/3002000", false);
        // The end of a record that began on the page before, or one that is as long as a header.
        check("0/3002000", "0/3002020", true);
        check("0/3002000", "0/3002028", true);
        check("0/3000000", "0/3000030", true);
        check("0/3002008", "0/3002020", true);
        check("0/3000008", "0/3000030", true);
        check("0/3002000", "0/3002100", true);
        for odd in ["", "0/1", "0/1 0/2", "0/1 0/2 x y", "0/1 0/2 8192"] {
            assert_eq!(understand(odd), None, "{odd}");
        }
    }
}
