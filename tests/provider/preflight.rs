//! `primacy preflight` and `primacy grants`, as a person types them.

use std::process::Command;

use primacy::provider::Postgres;
use primacy::provider::postgres::{Password, Receiver};
use primacy::security::DatabaseTls;

use crate::servers::{Host, SECRET, Server, login};
use crate::stage::LONG;

#[tokio::test(flavor = "multi_thread")]
async fn a2_preflight_names_what_is_missing_and_grants_gives_it() {
    let host = Host::new();
    let p1 = host.primary("p1", "").await;
    p1.sql("CREATE ROLE \"we ird\" LOGIN PASSWORD 'x'; GRANT pg_monitor TO \"we ird\"");
    let passfile = host.file("pass", "*:*:*:we ird:x\n");
    let preflight = || {
        let output = Command::new(env!("CARGO_BIN_EXE_primacy"))
            .arg("preflight")
            .arg(p1.address.to_string())
            .args([
                "--user",
                "we ird",
                "--ssl-mode",
                "disable",
                "--password-file",
            ])
            .arg(&passfile)
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = preflight();
    assert_eq!(code, Some(3), "{text}");
    for missing in [
        "pg_promote(",
        "pg_reload_conf(",
        "pg_wal_replay_pause(",
        "pg_wal_replay_resume(",
        "ALTER SYSTEM ON PARAMETER primary_conninfo",
        "ALTER SYSTEM ON PARAMETER default_transaction_read_only",
        "ALTER SYSTEM ON PARAMETER synchronous_standby_names",
        "pg_signal_backend",
        "REPLICATION",
    ] {
        assert!(text.contains(missing), "{missing}: {text}");
    }
    assert!(!text.contains("GRANT pg_monitor"), "{text}");
    let grants = Command::new(env!("CARGO_BIN_EXE_primacy"))
        .args(["grants", "--role", "we ird"])
        .output()
        .unwrap();
    p1.sql(&String::from_utf8(grants.stdout).unwrap());
    let (code, text) = preflight();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        p1.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'we ird'"),
        "f"
    );
    // A setting that only costs something is a hint.
    p1.sql("ALTER SYSTEM SET wal_receiver_timeout = '60s'");
    p1.sql("SELECT pg_reload_conf()");
    p1.until("SELECT current_setting('wal_receiver_timeout') = '1min'")
        .await;
    let (code, text) = preflight();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("HINT  wal_receiver_timeout"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_preflight_says_who_could_not_stream_and_for_want_of_what() {
    let host = Host::new();
    let p1 = host
        .primary("p1", "max_wal_senders = 2\nmax_replication_slots = 2\n")
        .await;
    let s1 = host.standby("s1", &p1, false).await;
    let provider = Postgres::new(login(
        Password::Text(SECRET.to_owned()),
        DatabaseTls::disabled(),
    ));
    let lacks = async |of: &Server, receivers: &[Receiver]| {
        let found = provider.preflight(&of.address, receivers, LONG).await;
        let found = found.unwrap().into_iter();
        let lines = found.map(|it| format!("{} {} | {}", it.is_needed, it.what, it.mend));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(lacks(&p1, &[]).await, "");
    assert_eq!(lacks(&s1, &[]).await, "");
    // Three more than there is room for, one of whom nobody lets in.
    let receiver = |name: &str, user: &str, address: &str| Receiver {
        user: user.to_owned(),
        address: address.parse().ok(),
        slot: Some(name.to_owned()),
    };
    let others = [
        receiver("s1", "replicator", "127.0.0.1"),
        receiver("s2", "replicator", "10.0.0.2"),
        receiver("s3", "stranger", "127.0.0.1"),
    ];
    let found = lacks(&p1, &others).await;
    for expected in [
        "true max_wal_senders is 2, and 1 are in use: 2 others",
        "true max_replication_slots is 2, and 1 are in use: there is no room for 2 more",
        "lets replicator stream from 10.0.0.2",
        "host replication replicator 10.0.0.2/32 scram-sha-256",
        "lets stranger stream from 127.0.0.1",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
    // `all` is every database and no replication.
    let hba = s1.data.join("pg_hba.conf");
    let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(&hba, rules).unwrap();
    let found = lacks(&s1, &[]).await;
    let expected = format!("true no line of {} lets replicator stream", hba.display());
    assert!(found.starts_with(&expected), "{found}");
    std::fs::write(&hba, format!("{rules}host replication all nowhere md6\n")).unwrap();
    let found = lacks(&s1, &[]).await;
    let expected = format!("true line 3 of {} is wrong: invalid", hba.display());
    assert!(found.contains(&expected), "{found}");
    // Who may not look is told with which right.
    p1.sql("REVOKE SELECT ON pg_hba_file_rules FROM watcher");
    let found = lacks(&p1, &others).await;
    let expected = "false watcher may not see whether pg_hba.conf lets standbys stream | GRANT SELECT ON pg_catalog.pg_hba_file_rules";
    assert!(
        found.contains(expected) && !found.contains("no line of"),
        "{found}"
    );
}
