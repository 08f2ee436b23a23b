//! `primacy preflight` and `primacy grants`, as a person types them.

use std::process::Command;

use crate::servers::Host;

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
