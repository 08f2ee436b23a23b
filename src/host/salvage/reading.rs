//! The lines of `pg_waldump`, and what they come to.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use super::{CATALOGS, Commit, Rows, Salvaged};
use crate::model::Lsn;

/// `FirstNormalObjectId`: what has a lower number is a catalog, as PostgreSQL made it.
const FIRST_OF_USERS: u32 = 16_384;

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// What each transaction wrote that has not ended yet.
    open: BTreeMap<u32, BTreeMap<String, Rows>>,
    salvaged: Salvaged,
    pub(super) complaints: Vec<String>,
}

impl Reading {
    /// Understands all lines, and says how many of them are records. Names in them may be in any encoding.
    pub(crate) fn all(&mut self, mut output: impl BufRead) -> io::Result<u64> {
        let (mut line, mut found) = (Vec::new(), 0);
        while output.read_until(b'\n', &mut line)? > 0 {
            found += u64::from(self.line(&String::from_utf8_lossy(&line)));
            line.clear();
        }
        Ok(found)
    }

    /// Understands one line; false if it is no record.
    fn line(&mut self, line: &str) -> bool {
        let Some((head, desc)) = line.split_once(", desc: ") else {
            return false;
        };
        let Some(record) = Record::of(head) else {
            return false;
        };
        match record.manager {
            "Heap" | "Heap2" => self.rows(&record, desc),
            "Transaction" => self.end(&record, desc),
            _ => {}
        }
        true
    }

    fn rows(&mut self, record: &Record<'_>, desc: &str) {
        let operation = desc.split([' ', '+']).next().unwrap_or_default();
        let one = |rows: fn(&mut Rows) -> &mut u64, count| {
            let mut of = Rows::default();
            *rows(&mut of) = count;
            of
        };
        let rows = match operation {
            "INSERT" => one(|it| &mut it.inserted, 1),
            "MULTI_INSERT" => one(|it| &mut it.inserted, tuples(desc)),
            "UPDATE" | "HOT_UPDATE" => one(|it| &mut it.updated, 1),
            "DELETE" => one(|it| &mut it.deleted, 1),
            _ => return,
        };
        if let Some(relation) = relation(desc) {
            let of = self.open.entry(record.xid).or_default();
            of.entry(relation).or_default().add(rows);
        }
    }

    fn end(&mut self, record: &Record<'_>, desc: &str) {
        let (is_commit, said) = match desc.split_once(' ') {
            Some(("COMMIT" | "COMMIT_PREPARED", said)) => (true, said),
            Some(("ABORT" | "ABORT_PREPARED", said)) => (false, said),
            _ => return,
        };
        // A prepared transaction is named before the time, and is another one than the record's.
        let (named, said) = match said.split_once(": ") {
            Some((xid, said)) if xid.bytes().all(|it| it.is_ascii_digit()) => {
                (xid.parse().ok(), said)
            }
            _ => (None, said),
        };
        let xid = named.unwrap_or(record.xid);
        let within = said.split("; subxacts: ").nth(1).unwrap_or_default();
        let within = within.split(';').next().unwrap_or_default();
        let within = within.split_whitespace().filter_map(|it| it.parse().ok());
        let mut users = 0;
        for part in [xid].into_iter().chain(within) {
            for (relation, rows) in self.open.remove(&part).unwrap_or_default() {
                if relation != CATALOGS {
                    users = rows.all().saturating_add(users);
                }
                let of = match is_commit {
                    true => &mut self.salvaged.committed,
                    false => &mut self.salvaged.not_committed,
                };
                of.entry(relation).or_default().add(rows);
            }
        }
        if is_commit {
            self.salvaged.commits.push(Commit {
                xid,
                lsn: record.lsn,
                at: said.split(';').next().unwrap_or_default().to_owned(),
                rows: users,
            });
        }
    }

    pub(crate) fn result(mut self) -> Salvaged {
        for (relation, rows) in self.open.into_values().flatten() {
            let of = self.salvaged.not_committed.entry(relation).or_default();
            of.add(rows);
        }
        self.salvaged.complaints = self.complaints;
        self.salvaged
    }
}

/// What stands before the description of a record.
struct Record<'a> {
    manager: &'a str,
    xid: u32,
    lsn: Lsn,
}

impl Record<'_> {
    fn of(head: &str) -> Option<Record<'_>> {
        let manager = head.strip_prefix("rmgr: ")?.split_whitespace().next()?;
        let after = |key: &str| {
            let (_, rest) = head.split_once(key)?;
            rest.trim_start().split([',', ' ']).next()
        };
        Some(Record {
            manager,
            xid: after("tx:")?.parse().ok()?,
            lsn: after("lsn:")?.parse().ok()?,
        })
    }
}

/// `MULTI_INSERT 3 tuples …` (PostgreSQL 15), `MULTI_INSERT ntuples: 3, …` (16 and later)
fn tuples(desc: &str) -> u64 {
    let mut words = desc.split([' ', ',', ':']).filter(|it| !it.is_empty());
    words.find_map(|word| word.parse().ok()).unwrap_or(1)
}

/// `… blkref #0: rel 1663/5/16384 blk 0` → `1663/5/16384`
fn relation(desc: &str) -> Option<String> {
    let (_, rest) = desc.split_once("blkref #0: rel ")?;
    let name = rest.split_whitespace().next()?;
    let file: u32 = name.rsplit('/').next()?.parse().ok()?;
    Some(match file < FIRST_OF_USERS {
        true => CATALOGS.to_owned(),
        false => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL 15 writes them.
    const LINES: &str = "\
rmgr: Heap        len (rec/tot):     61/    61, tx:        725, lsn: 0/01524CF0, prev 0/015247B8, desc: INSERT+INIT off 1 flags 0x00, blkref #0: rel 1663/5/16384 blk 0
rmgr: Heap        len (rec/tot):     61/    61, tx:        725, lsn: 0/01524DD0, prev 0/01524D90, desc: INSERT off 2 flags 0x00, blkref #0: rel 1663/5/16384 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        725, lsn: 0/01524ED0, prev 0/01524E90, desc: COMMIT 2026-11-22 18:54:32.557321 UTC
rmgr: Heap        len (rec/tot):     69/    69, tx:        726, lsn: 0/01524EF8, prev 0/01524ED0, desc: HOT_UPDATE off 1 xmax 726 flags 0x20 ; new off 4 xmax 0, blkref #0: rel 1663/5/16384 blk 0
rmgr: Heap        len (rec/tot):     69/    69, tx:        726, lsn: 0/01524F68, prev 0/01524F40, desc: UPDATE off 2 xmax 727 flags 0x40 KEYS_UPDATED ; new off 5 xmax 0, blkref #0: rel 1663/5/16384 blk 0
rmgr: Heap        len (rec/tot):     54/    54, tx:        726, lsn: 0/01525018, prev 0/01524FF0, desc: DELETE off 3 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/5/16399 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        726, lsn: 0/01525050, prev 0/01525018, desc: COMMIT 2026-11-22 18:54:32.596514 UTC
rmgr: Heap        len (rec/tot):     61/    61, tx:        729, lsn: 0/01525078, prev 0/01525050, desc: INSERT off 6 flags 0x00, blkref #0: rel 1663/5/16384 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        729, lsn: 0/015250F8, prev 0/015250B8, desc: ABORT 2026-11-22 18:54:32.624996 UTC
rmgr: Heap        len (rec/tot):     61/    61, tx:        730, lsn: 0/01525120, prev 0/015250F8, desc: INSERT off 7 flags 0x00, blkref #0: rel 1663/5/16384 blk 0
rmgr: Heap        len (rec/tot):     61/    61, tx:        731, lsn: 0/015251A0, prev 0/01525160, desc: INSERT off 8 flags 0x00, blkref #0: rel 1663/5/1259 blk 0
rmgr: Transaction len (rec/tot):     46/    46, tx:        730, lsn: 0/01525220, prev 0/015251E0, desc: COMMIT 2026-11-22 18:54:32.664899 UTC; subxacts: 731
rmgr: Heap2       len (rec/tot):     98/    98, tx:        732, lsn: 0/01525250, prev 0/01525220, desc: MULTI_INSERT 3 tuples flags 0x02, blkref #0: rel 1663/5/16384 blk 0
rmgr: Heap2       len (rec/tot):     98/    98, tx:        732, lsn: 0/01525290, prev 0/01525250, desc: MULTI_INSERT+INIT ntuples: 4, flags: 0x02, offsets: [1, 2], blkref #0: rel 1663/5/16384 blk 0
rmgr: Heap2       len (rec/tot):     59/  7943, tx:        732, lsn: 0/01525320, prev 0/01525250, desc: VISIBLE cutoff xid 0 flags 0x03, blkref #0: rel 1663/5/16384 fork vm blk 0
rmgr: Transaction len (rec/tot):     46/    46, tx:          0, lsn: 0/01525378, prev 0/01525338, desc: COMMIT_PREPARED 732: 2026-11-22 18:54:32.713096 UTC; inval msgs: catcache 80
rmgr: Heap        len (rec/tot):     61/    61, tx:        734, lsn: 0/01527868, prev 0/015276D0, desc: INSERT off 12 flags 0x00, blkref #0: rel 1663/5/16384 blk 0
no record at all
";

    #[test]
    fn rows_are_counted_by_relation_and_by_what_became_of_them() {
        let mut reading = Reading::default();
        let text = [LINES.as_bytes(), b"of no encoding \xff\n"].concat();
        assert_eq!(reading.all(&*text).unwrap(), 17);
        let salvaged = reading.result();
        let rows = |inserted, updated, deleted| Rows {
            inserted,
            updated,
            deleted,
        };
        let table = "1663/5/16384".to_owned();
        let committed = [
            (table.clone(), rows(10, 2, 0)),
            ("1663/5/16399".to_owned(), rows(0, 0, 1)),
            (CATALOGS.to_owned(), rows(1, 0, 0)),
        ];
        assert_eq!(salvaged.committed, BTreeMap::from(committed));
        assert_eq!(
            salvaged.not_committed,
            BTreeMap::from([(table, rows(2, 0, 0))])
        );
        let commits: Vec<_> = salvaged
            .commits
            .iter()
            .map(|it| (it.xid, it.rows))
            .collect();
        assert_eq!(commits, [(725, 2), (726, 3), (730, 1), (732, 7)]);
        assert_eq!(salvaged.commits[3].at, "2026-11-22 18:54:32.713096 UTC");
        assert_eq!(salvaged.commits[0].lsn, Lsn(0x01524ED0));
    }

    #[test]
    fn numbers_that_are_no_numbers_of_rows_do_no_harm() {
        let line = LINES
            .lines()
            .find(|it| it.contains("MULTI_INSERT 3"))
            .unwrap();
        let line = line.replace("MULTI_INSERT 3", &format!("MULTI_INSERT {}", u64::MAX));
        let commit = LINES
            .lines()
            .find(|it| it.contains("COMMIT_PREPARED 732"))
            .unwrap();
        let mut reading = Reading::default();
        let text = [&*line, &*line, commit].join("\n");
        assert_eq!(reading.all(text.as_bytes()).unwrap(), 3);
        assert_eq!(reading.result().commits[0].rows, u64::MAX);
    }
}
