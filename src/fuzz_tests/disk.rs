//! The small files and lines of a database host.

use std::collections::BTreeMap;

use super::{json, keeps_json};
use crate::agent::directory::Named;
use crate::agent::health;
use crate::duty::PromiseRecord;
use crate::gate;
use crate::host::data_folder::{self, Filling};
use crate::host::{process_table, processes, programs, settings, tools};
use crate::model::example::{id, order};
use crate::model::{Address, ClusterName, Incarnation, Lsn, Order};
use crate::provider::postgres::conninfo::Conninfo;
use crate::provider::postgres::{passfile, synchronous};

const TEXT: &[&str] = &[
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
    let folder = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let path = folder.path().join("primacy.conf");
    fuzz::target("host: settings")
        .example("# by primacy\nport = '5432'\nprimary_conninfo = 'host=a password=''x'''\n")
        .words(TEXT)
        .run(
            |bytes| {
                std::fs::write(&path, bytes).unwrap();
                settings::read(folder.path()).ok()
            },
            drop,
        );
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

/// All but where a connection string leads.
fn all_but_the_place(conninfo: &Conninfo) -> BTreeMap<String, String> {
    let kept = conninfo
        .options()
        .filter(|(name, _)| !["host", "hostaddr", "port"].contains(name));
    kept.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A change of the place changes the place, and can be taken back.
fn stays_the_same_elsewhere(found: &Conninfo) {
    let same = |text: String| {
        let changed = Conninfo::parse(&text).unwrap();
        assert_eq!(all_but_the_place(&changed), all_but_the_place(found));
        changed
    };
    let to = Address {
        host: "it's \\ fe80::1%é".to_owned(),
        port: 9,
    };
    assert_eq!(same(found.redirected(&to)).key(), Ok(to));
    let detached = same(found.detached());
    assert!(detached.is_detached());
    if !found.is_detached()
        && let Ok(places) = found.places()
    {
        assert_eq!(same(detached.reattached()).places(), Ok(places));
    }
}

/// What PostgreSQL answers in text.
#[test]
fn fuzz_answers_of_postgres() {
    fuzz::target("provider: conninfo")
        .example(r"host=10.0.0.1 port = 5432 application_name='a b\'c' x=y password=")
        .example(r"hostaddr=::1,10.0.0.1 host='a,b' port=1,2 user=\\ x=''y=z\")
        .example("postgresql://u%20s:p%40@[::1]:1,b:2/db?sslmode=require&host=%2Ftmp&port=3")
        .words(TEXT)
        .words(&[
            "postgres://",
            "host=",
            "hostaddr='",
            "port=",
            "%2C",
            "?",
            "&",
            "@",
            "[",
            ",,",
        ])
        .run(
            |bytes| Conninfo::parse(&String::from_utf8_lossy(bytes)).ok(),
            |found| stays_the_same_elsewhere(&found),
        );
    let of = Address {
        host: "::1".to_owned(),
        port: 5432,
    };
    fuzz::target("provider: password file")
        .example("# a comment\n*:5432:db:u:se\\:cret\n\\:\\:1:*:*:*:x\r\n")
        .words(TEXT)
        .words(&[":", "*", "\\:", "*:*:*:*:"])
        .run(
            |bytes| passfile::find(&String::from_utf8_lossy(bytes), &of, "db", "u"),
            |secret| assert!(!secret.is_empty() && !secret.contains('\n')),
        );
    fuzz::target("provider: synchronous names")
        .example("ANY 1 (s1, \"s \"\"2\", *)")
        .example("FIRST 2 (a, b)")
        .example("a, b")
        .words(TEXT)
        .words(&["any", "(", ")", ",", "*", "256"])
        .run(
            |bytes| synchronous::parse(&String::from_utf8_lossy(bytes)),
            |policy| {
                // What no commit could meet can be read, and is not written.
                if let Ok(text) = synchronous::written(&policy) {
                    assert_eq!(synchronous::parse(&text), Some(policy));
                }
            },
        );
    fuzz::target("provider: lsn")
        .example("3A/9F0017C8")
        .words(&["/", "+", "-", "FFFFFFFF", "100000000"])
        .run(
            |bytes| String::from_utf8_lossy(bytes).parse::<Lsn>().ok(),
            |lsn| assert_eq!(lsn.to_string().parse::<Lsn>().unwrap(), lsn),
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
