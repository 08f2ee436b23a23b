//! Tables: what libpq makes of a text, and what another place makes of it.

use std::collections::BTreeMap;

use super::*;

#[track_caller]
fn reads(text: &str, expected: &[(&str, &str)]) {
    let found = Conninfo::parse(text).unwrap();
    let found: BTreeMap<_, _> = found.options().collect();
    assert_eq!(found, expected.iter().copied().collect(), "{text}");
}

#[test]
fn keywords_are_read_as_libpq_reads_them() {
    reads("", &[]);
    reads(" \t\n", &[]);
    reads(
        r"host=10.0.0.1 port = 5432 application_name='a b\'c' x=y password=",
        &[
            ("host", "10.0.0.1"),
            ("port", "5432"),
            ("application_name", "a b'c"),
            ("x", "y"),
            ("password", ""),
        ],
    );
    reads("host=''port=1", &[("host", ""), ("port", "1")]);
    reads(
        "host='a b' passfile=''",
        &[("host", "a b"), ("passfile", "")],
    );
    reads(r"user=a\ b\'c\\d", &[("user", r"a b'c\d")]);
    reads(r"user=a\", &[("user", "a")]);
    reads("user=a user=b", &[("user", "b")]);
    reads("options=-csearch_path=x", &[("options", "-csearch_path=x")]);
    reads("a=it's", &[("a", "it's")]);
    // What `pg_basebackup -R` writes, as PostgreSQL hands it on.
    reads(
        "user=r passfile='/root/.pgpass' channel_binding=prefer host=/tmp port=5433 sslmode=prefer",
        &[
            ("user", "r"),
            ("passfile", "/root/.pgpass"),
            ("channel_binding", "prefer"),
            ("host", "/tmp"),
            ("port", "5433"),
            ("sslmode", "prefer"),
        ],
    );
}

#[test]
fn uris_are_read_as_libpq_reads_them() {
    reads("postgresql://", &[]);
    reads("postgres://h", &[("host", "h")]);
    reads(
        "postgresql://us%65r:s%40cret@h:5433/db?application_name=a%20b&sslmode=verify-full",
        &[
            ("user", "user"),
            ("password", "s@cret"),
            ("host", "h"),
            ("port", "5433"),
            ("dbname", "db"),
            ("application_name", "a b"),
            ("sslmode", "verify-full"),
        ],
    );
    reads(
        "postgresql://[::1]:1,b,%2Ftmp:3/?ssl=true",
        &[
            ("host", "::1,b,/tmp"),
            ("port", "1,,3"),
            ("sslmode", "require"),
        ],
    );
    reads(
        "postgresql:///db?host=/run/postgresql&port=6",
        &[("dbname", "db"), ("host", "/run/postgresql"), ("port", "6")],
    );
    reads("postgresql://a?host=b", &[("host", "b")]);
    reads("postgresql://@h?a=b&", &[("host", "h"), ("a", "b")]);
    reads("postgresql://u:@h", &[("user", "u"), ("host", "h")]);
    // A plus sign is a plus sign.
    reads(
        "postgresql://h?options=a+b",
        &[("host", "h"), ("options", "a+b")],
    );
}

#[test]
fn what_is_wrong_and_where_is_said_and_no_value() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = Conninfo::parse(text).unwrap_err().to_string();
        assert_eq!(error, expected, "{text}");
        assert!(!error.contains("secret"));
    }
    let unquoted = "a word without '='; quote a value that has spaces";
    check(
        "password=top secret",
        &format!("{unquoted} at byte 13, in or after 'password'"),
    );
    check("secret", &format!("{unquoted} at byte 0"));
    // As it stands in a configuration file, where PostgreSQL reads two quotes as one.
    check(
        "host=a passfile=''/secret''",
        &format!("{unquoted} at byte 18, in or after 'passfile'"),
    );
    check("host=a\0secret", "a byte of zero at byte 6");
    check("=x", "a value without a name at byte 0");
    check(
        "password='secret",
        "a quote that does not end at byte 9, in or after 'password'",
    );
    let percent = "a '%' without two hexadecimal digits; write it as %25";
    check(
        "postgresql://u:secret%@h",
        &format!("{percent} at byte 21, in or after 'password'"),
    );
    check(
        "postgresql://h/?application_name=%zz",
        &format!("{percent} at byte 33, in or after 'application_name'"),
    );
    check(
        "postgresql://u%00@h",
        "a byte of zero at byte 14, in or after 'user'",
    );
    check("postgresql://h?a=%ff", "bytes that are no text at byte 17");
    check(
        "postgresql://[::1",
        "an IPv6 address without ']' at byte 13, in or after 'host'",
    );
    check(
        "postgresql://[]",
        "an empty IPv6 address at byte 13, in or after 'host'",
    );
    check(
        "postgresql://[::1]x",
        "something between ']' and the port, the path or the options at byte 18, in or after 'host'",
    );
    check(
        "postgresql://h?secret",
        &format!("{unquoted} at byte 15, in or after 'host'"),
    );
    check(
        "postgresql://h?password=a=secret",
        "a second '='; write it as %3D at byte 25, in or after 'password'",
    );
    let shown = Conninfo::parse("host=h password=secret topsecret=1").unwrap();
    assert_eq!(format!("{shown:?}"), r#"{"host", "password", "?"}"#);
}

#[test]
fn places() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let places = Conninfo::parse(text).unwrap().places();
        let shown = |place: &Place| {
            let address = place.address.as_ref();
            let address = address.map_or(String::new(), |it| format!(" at {it}"));
            match &place.host {
                Host::Name(host) => format!("{host}:{}{address}", place.port),
                Host::Socket(folder) => format!("in {folder}:{}{address}", place.port),
                Host::Unset => format!("default:{}{address}", place.port),
            }
        };
        let found = match &places {
            Ok(places) => places.iter().map(shown).collect(),
            Err(error) => vec![error.to_string()],
        };
        assert_eq!(found, expected, "{text}");
    }
    check("", &["default:5432"]);
    check("host='a b'", &["a b:5432"]);
    check("host=/tmp port=7", &["in /tmp:7"]);
    check("host=@x", &["in @x:5432"]);
    check("host=a,b,", &["a:5432", "b:5432", "default:5432"]);
    check("host=a,b port=1", &["a:1", "b:1"]);
    check("host=a,b port=1,", &["a:1", "b:5432"]);
    check(
        "host=a,b hostaddr=::1, port=' 2 ,+3'",
        &["a:2 at ::1", "b:3"],
    );
    check("hostaddr=10.0.0.1", &["default:5432 at 10.0.0.1"]);
    check("postgresql://[fe80::1%25eth0]:6", &["fe80::1%eth0:6"]);
    let wrong = "a port that is no number from 1 to 65535";
    for port in ["0", "65536", "x", "-1", "1x", "''' '''"] {
        let text = format!("host=a port={port}");
        let found = Conninfo::parse(&text).map(|it| it.places());
        assert!(!matches!(found, Ok(Ok(_))), "{port}");
    }
    check(
        "port=x",
        &[&format!("{wrong} at byte 5, in or after 'port'")],
    );
    check(
        "host=a,b port=1,2,3",
        &["another number of ports than of hosts at byte 14, in or after 'port'"],
    );
    check(
        "host=a,b hostaddr=::1",
        &["another number of 'hostaddr' than of hosts at byte 18, in or after 'hostaddr'"],
    );
    let key = |text: &str| Conninfo::parse(text).unwrap().key().unwrap().to_string();
    assert_eq!(key("hostaddr=10.0.0.1 port=3"), "10.0.0.1:3");
    assert_eq!(key("hostaddr=10.0.0.1 host=a"), "a:5432");
}

#[test]
fn another_place_changes_nothing_else() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let to = Address {
            host: "n".to_owned(),
            port: 9,
        };
        let before = Conninfo::parse(text).unwrap();
        let found = before.redirected(&to);
        assert_eq!(found, expected, "{text}");
        assert_eq!(Conninfo::parse(&found).unwrap().key(), Ok(to));
    }
    check("", "host=n port=9 ");
    check(
        "user=r  password = 's\\'x'\thost = old port=5432 sslmode=verify-full application_name='s 1'",
        "user=r  password = 's\\'x'\thost = n port=9 sslmode=verify-full application_name='s 1'",
    );
    check("host=old user=r", "port=9 host=n user=r");
    check(r"user=a\", r"host=n port=9 user=a\");
    check("host='old'port='1'user=r", "host='n'port='9'user=r");
    check(
        "hostaddr=::1 host=a,b user=r hostaddr='::2'port=7",
        "host=n user=r port=9",
    );
    check("host=a host=b port=1", "host=a host=n port=9");
    check("postgresql://", "postgresql://n:9");
    check(
        "postgresql://r:s%40x@old:1,b/db?sslmode=require&host=c&x=%20&hostaddr=::1&port=2",
        "postgresql://r:s%40x@n:9/db?sslmode=require&x=%20",
    );
    check("postgresql:///?host=/tmp", "postgresql://n:9/");
    let to = |host: &str| Address {
        host: host.to_owned(),
        port: 9,
    };
    let redirected = |text, host| Conninfo::parse(text).unwrap().redirected(&to(host));
    assert_eq!(
        redirected("host=a port=1", "x y'z"),
        r"host='x y\'z' port=9"
    );
    assert_eq!(redirected("postgres://a", "::1"), "postgres://[::1]:9");
    assert_eq!(redirected("postgres://a", "/tmp"), "postgres://%2Ftmp:9");
}

#[test]
fn a17_what_is_detached_comes_back_as_it_was() {
    for text in [
        "host=a port=5433 user=r password='s x' application_name=s1",
        "user=r",
        "hostaddr=10.0.0.1 user=r",
        "hostaddr=10.0.0.1,10.0.0.2 port=1,2",
        "host='a b'port='1'",
        "host=a,/tmp hostaddr=10.0.0.1, port=1,2",
        "postgresql://r:s%40x@a:1,b:2/db?sslmode=require",
        "postgresql://[::1]:7/?x=y",
    ] {
        let before = Conninfo::parse(text).unwrap();
        let detached = Conninfo::parse(&before.detached()).unwrap();
        assert!(detached.is_detached() && !before.is_detached(), "{text}");
        assert_eq!(detached.detached(), detached.text());
        for place in detached.places().unwrap() {
            assert!(matches!(place.host, Host::Socket(_)), "{place:?}");
            assert!(place.address.is_none_or(|it| it.starts_with('/')));
        }
        assert_eq!(detached.reattached(), text);
        assert_eq!(before.reattached(), text);
    }
}
