//! What a database answers, and what stands in its settings.

use std::collections::BTreeMap;

use super::disk::TEXT;
use super::json;
use crate::model::{Address, Lsn};
use crate::provider::postgres::conninfo::Conninfo;
use crate::provider::postgres::preflight::{Seen, hba, room};
use crate::provider::postgres::{Receiver, passfile, replicas, snapshot, synchronous};

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

/// Texts that PostgreSQL has its users write.
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

#[test]
fn fuzz_slots() {
    json("provider: slots", &["s1", "s\"2"]).run(
        |bytes| replicas::understand(None, Some(&String::from_utf8_lossy(bytes))).ok(),
        |found| {
            let text = serde_json::to_string(&found.unused_slots).unwrap();
            assert_eq!(replicas::understand(None, Some(&text)).unwrap(), found);
        },
    );
}

/// The columns that are JSON.
#[test]
fn fuzz_columns() {
    let replica = serde_json::json!([
        ["s1", "10.0.0.1", "streaming", "quorum", "0/A0", "0/9"],
        ["a\"b]", null, "startup", null, null, null],
    ]);
    json("provider: who receives", &replica).run(
        |bytes| replicas::understand(Some(&String::from_utf8_lossy(bytes)), None).ok(),
        |found| assert_eq!(found.unused_slots, [""; 0]),
    );
    let seen = serde_json::json!({
        "senders": 10, "sending": 2, "slots": 10, "slots_made": ["s1"], "file": "/pg_hba.conf", "source": "10.0.0.1",
        "receivers": [{"user": "r", "address": "10.0.0.2", "slot": "s1"}, {"user": "q"}], "conninfo": "user=r host=a",
    });
    json("provider: places", &seen).run(
        |bytes| serde_json::from_slice::<Seen>(bytes).ok(),
        |seen| {
            let (places, receivers) = seen.expects(&[]);
            room::missing(places);
            let (places, again) = seen.expects(&receivers);
            room::missing(places);
            assert_eq!(again, receivers);
        },
    );
    let lines = serde_json::json!([
        {"number": 1, "kind": "local", "databases": ["all"], "users": ["all"], "method": "trust"},
        {"number": 2, "kind": "hostssl", "databases": ["replication"], "users": ["+r"], "address": "10.0.0.0",
         "netmask": "255.0.0.0", "method": "scram-sha-256"},
        {"number": 3, "kind": "host", "databases": ["sameuser"], "users": ["r"], "address": "samenet", "method": "md5"},
        {"number": 4, "error": "invalid connection type"},
    ]);
    json("provider: pg_hba.conf", &lines).run(
        |bytes| serde_json::from_slice::<Vec<hba::Line>>(bytes).ok(),
        |lines| {
            for address in [None, Some("10.0.0.2"), Some("fe80::1")] {
                let receiver = Receiver {
                    user: "r".to_owned(),
                    address: address.map(|it| it.parse().unwrap()),
                    slot: None,
                };
                let lacks = hba::missing(&lines, &[receiver], |_| vec!["r".to_owned()], "hba");
                let broken = lines.iter().filter(|it| it.error.is_some()).count();
                assert!((broken..=broken + 1).contains(&lacks.len()));
            }
        },
    );
}

/// The columns of a look that are texts, one behind the other; an empty one is null.
#[test]
fn fuzz_look() {
    let primary = "false|7|5432|||ANY 1 (s1)|local|off|||0/3002018|000000010000000000000003||||||||||true|2|15.18|\
                   |1700000000000000|0/3002000 0/3002018 8192 16777216|role r: synchronous_commit = off\ndatabase d: \
                   synchronous_commit = local";
    let standby = "true|7|5433|host=a port=5432|s1||on|off|not paused|0/5000028|0/5000000||2||streaming|a|5432|user=r host=a \
                   port=5432|12|3|60000|false|0|16.1|true|1700000000000000||";
    let unfed = "true|7|5433|postgresql://a:1/|||on|off|paused||0/5000000|||00000002||||||||true|0|18beta1||1|";
    fuzz::target("provider: look")
        .example(primary)
        .example(standby)
        .example(unfed)
        .words(TEXT)
        .words(&[
            "|",
            "||||",
            "true",
            "streaming",
            "0/0",
            "FFFFFFFF/FFFFFFFF",
            "9223372036854775807",
        ])
        .run(
            |bytes| {
                let text = String::from_utf8_lossy(bytes);
                let columns: Vec<_> = text.split('|').collect();
                let column = |at: usize| columns.get(at).copied().filter(|it| !it.is_empty());
                snapshot::understand(column).ok()
            },
            |seen| {
                let status = seen.status(None);
                assert_eq!(status.received, seen.received_at());
                assert!(seen.in_recovery || seen.source().is_none());
            },
        );
}
