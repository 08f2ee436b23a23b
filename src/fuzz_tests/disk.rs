//! The small files and lines of a database host.

use super::{json, keeps_json};
use crate::agent::directory::Named;
use crate::agent::hands::KeptNote;
use crate::agent::health;
use crate::agent::takeover::consent::{self, Consent};
use crate::duty::PromiseRecord;
use crate::gate;
use crate::host::data_folder::{self, Filling};
use crate::host::kept_wal::Note;
use crate::host::salvage::Reading;
use crate::host::{process_table, processes, programs, settings, tools};
use crate::model::example::{at, id, order};
use crate::model::{ClusterName, Incarnation, Order, SystemIdentifier};
use crate::recovery::evidence::Apart;

pub(super) const TEXT: &[&str] = &[
    "\n", " ", "\t", "'", "\"", "\\", "=", "#", "0", "-1", "\u{3000}", "é", "\u{fffd}",
];

#[test]
fn fuzz_promise() {
    let folder = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let path = folder.path().join("promise.json");
    let record = PromiseRecord {
        group: "07070707-0707-0707-0707-070707070707".to_owned(),
        order: order(7, 3),
        promotion_asked: true,
        backs: false,
    };
    json("agent: promise", &record).run(
        |bytes| {
            std::fs::write(&path, bytes).unwrap();
            let group = gate::group_in(folder.path())?;
            let text = String::from_utf8_lossy(bytes);
            Some((group, serde_json::from_str::<PromiseRecord>(&text).unwrap()))
        },
        |(group, record)| {
            assert_eq!(record.group, group);
            keeps_json(record);
        },
    );
}

#[test]
fn fuzz_lease_note() {
    json("agent: lease note", &order(7, 3)).run(
        |bytes| serde_json::from_slice::<Order>(bytes).ok(),
        keeps_json,
    );
}

#[test]
fn fuzz_filling() {
    let folder = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let path = folder.path().join("primacy.incarnation");
    let filling = Filling {
        group: "g".to_owned(),
        cluster: ClusterName::new("demo").unwrap(),
        instance: id("a"),
        incarnation: Incarnation(3),
    };
    json("host: filling", &filling).run(
        |bytes| {
            std::fs::write(&path, bytes).unwrap();
            data_folder::read_filling(folder.path()).ok()?
        },
        keeps_json,
    );
}

#[test]
fn fuzz_consent() {
    let folder = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let path = folder.path().join("takeover");
    let consent = Consent {
        cluster: ClusterName::new("demo").unwrap(),
        instance: id("a"),
        system: SystemIdentifier(9),
        socket_folders: vec!["/run/postgresql".to_owned()],
    };
    json("agent: consent", &consent).run(
        |bytes| {
            std::fs::write(&path, bytes).unwrap();
            consent::read(folder.path()).ok()?
        },
        |found| {
            consent::write(folder.path(), &found).unwrap();
            assert_eq!(consent::read(folder.path()).unwrap(), Some(found));
        },
    );
}

#[test]
fn fuzz_peers_file() {
    let folder = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let path = folder.path().join("peers");
    fuzz::target("agent: peers file")
        .example("5\na:1\nb:2\n")
        .words(TEXT)
        .run(
            |bytes| {
                std::fs::write(&path, bytes).unwrap();
                let named = Named::read(folder.path());
                (named != Named::default() || bytes.starts_with(b"0")).then_some(named)
            },
            |named| {
                // It ends a line together with a line feed, and no address has one.
                if named.addresses.iter().any(|it| it.contains('\r')) {
                    return;
                }
                let text: String = named.addresses.iter().map(|it| format!("{it}\n")).collect();
                std::fs::write(&path, format!("{}\n{text}", named.index)).unwrap();
                assert_eq!(Named::read(folder.path()), named);
            },
        );
}

#[test]
fn fuzz_settings() {
    fuzz::target("host: postgresql.conf")
        .example("port = 5432\ninclude 'x'\n#a = 1\ninclude 'primacy.conf'\n")
        .example("primary_conninfo = 'x'\nPORT=1\n")
        .words(TEXT)
        .run(
            |bytes| {
                let text = String::from_utf8_lossy(bytes);
                let included = settings::with_include_last(&text);
                Some((included, settings::without(&text, &["port".to_owned()])))
            },
            |(included, without)| {
                if let Some(text) = included {
                    assert_eq!(settings::with_include_last(&text), None);
                }
                assert_eq!(settings::without(&without, &["port".to_owned()]), without);
            },
        );
}

#[test]
fn fuzz_lock_file() {
    fuzz::target("host: postmaster.pid")
        .example("4711\n/data\n1700000000\n5432\n/run\n127.0.0.1\n  123 4\nready   \n")
        .words(TEXT)
        .run(
            |bytes| processes::in_lock_file(&String::from_utf8_lossy(bytes)),
            |found| assert!(found.pid > 0),
        );
}

#[test]
fn fuzz_process() {
    fuzz::target("host: process")
        .example("4711 (a) b) (c) S 1 4711 4711 0 -1 4194560 1 2 3 4 5")
        .words(&["(", ")", " ", "-1", "\n"])
        .run(
            |bytes| process_table::field_in(&String::from_utf8_lossy(bytes), 1),
            |field| assert!(!field.contains(char::is_whitespace)),
        );
}

/// Lines of PostgreSQL's programs.
#[test]
fn fuzz_programs() {
    fuzz::target("host: program's version")
        .example("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)")
        .words(&[") ", "18446744073709551616", "٣"])
        .run(
            |bytes| programs::major_version(&String::from_utf8_lossy(bytes)),
            drop,
        );
    fuzz::target("host: program's progress")
        .example(" 12345/67890 kB (18%), 0/1 tablespace (/data/base/1        )")
        .words(&[" kB (", "/", "-", "18446744073709551616"])
        .run(
            |bytes| tools::parse_progress(&String::from_utf8_lossy(bytes)),
            drop,
        );
}

/// The `lag` of a health check.
#[test]
fn fuzz_lag() {
    fuzz::target("agent: lag")
        .example("16MB")
        .example("1 kB")
        .words(&["GB", "18446744073709551615", " ", "é"])
        .run(|bytes| health::bytes(&String::from_utf8_lossy(bytes)), drop);
}

/// What is noted of data that was put aside, for whoever looks for it later and for the record.
#[test]
fn fuzz_kept() {
    let note = Note {
        instance: "a".to_owned(),
        system: "7123".to_owned(),
        version: 15,
        timeline: 2,
        from: "0/500028".to_owned(),
        to: Some("2:0/700028".to_owned()),
        left_out: 1 << 20,
    };
    json("host: note of kept WAL", &note).run(
        |bytes| serde_json::from_slice::<Note>(bytes).ok(),
        keeps_json,
    );
    let told = KeptNote {
        words: vec!["its old data is kept in /x".to_owned()],
        apart: Some(Apart {
            from: at(2, 40),
            to: at(3, 90),
        }),
    };
    json("agent: note of what was kept", &told).run(
        |bytes| serde_json::from_slice::<KeptNote>(bytes).ok(),
        keeps_json,
    );
}

/// What pg_waldump says of WAL that was kept.
#[test]
fn fuzz_salvage() {
    let lines = "\
rmgr: Heap        len (rec/tot):     61/    61, tx:        725, lsn: 0/01524CF0, prev 0/015247B8, desc: INSERT+INIT off 1 flags 0x00, blkref #0: rel 1663/5/16384 blk 0
rmgr: Heap2       len (rec/tot):     98/    98, tx:        732, lsn: 0/01525250, prev 0/01525220, desc: MULTI_INSERT 3 tuples flags 0x02, blkref #0: rel 1663/5/1259 blk 0
rmgr: Transaction len (rec/tot):     46/    46, tx:        725, lsn: 0/01525220, prev 0/015251E0, desc: COMMIT 2026-11-22 18:54:32.664899 UTC; subxacts: 731 732
rmgr: Transaction len (rec/tot):     46/    46, tx:          0, lsn: 0/01525378, prev 0/01525338, desc: ABORT_PREPARED 732: 2026-11-22 18:54:32.713096 UTC; inval msgs: catcache 80
";
    fuzz::target("host: pg_waldump's lines")
        .example(lines)
        .words(TEXT)
        .words(&[
            "rmgr: ",
            "Heap",
            "tx: ",
            ", lsn: ",
            ", desc: ",
            "DELETE",
            "MULTI_INSERT ntuples: 18446744073709551615",
            "blkref #0: rel ",
            "subxacts: ",
        ])
        .run(
            |bytes| {
                let mut reading = Reading::default();
                let found = reading.all(bytes).unwrap();
                (found > 0).then(|| (found, reading.result()))
            },
            |(found, salvaged)| assert!(salvaged.commits.len() as u64 <= found),
        );
}
