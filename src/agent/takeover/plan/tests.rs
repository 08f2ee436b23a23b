use super::*;
use crate::host::control_file::State;
use crate::model::{Lsn, Timeline};
use crate::provider::postgres::Setting;

fn config() -> AgentConfig {
    let text = r#"
        cluster = "main"
        instance = "pg-a"
        peers = ["127.0.0.1:7001"]
        folder = "/var/lib/primacy/pg-a"
        data = "/data"
        host = "10.0.0.1"
        port = 5432
        health = "127.0.0.1:8008"
        [replication]
        password_file = "/etc/primacy/replication"
    "#;
    AgentConfig::parse(text).unwrap()
}

/// A server with settings as they are managed, but for those of initdb and these.
fn server(changed: &[(&str, &str)]) -> Survey {
    let setting = |name: &str, value: &str| {
        let needs_start = [
            "listen_addresses",
            "wal_log_hints",
            "unix_socket_directories",
        ];
        let setting = Setting {
            value: value.to_owned(),
            needs_start: needs_start.contains(&name),
            source: "configuration file".to_owned(),
        };
        (name.to_owned(), setting)
    };
    let managed = managed(&config());
    let mut settings: std::collections::BTreeMap<_, _> = managed
        .iter()
        .map(|(name, value)| setting(name, value))
        .collect();
    let of_initdb = [
        ("config_file", "/data/postgresql.conf"),
        ("hba_file", "/data/pg_hba.conf"),
        ("unix_socket_directories", "/run/postgresql"),
    ];
    for (name, value) in of_initdb.iter().chain(changed) {
        settings.extend([setting(name, value)]);
    }
    Survey {
        system: SystemIdentifier(7),
        is_standby: false,
        timeline: Some(Timeline(1)),
        source: None,
        is_superuser: true,
        clients: vec!["walreceiver at 10.0.0.2, streaming".to_owned()],
        slots: vec!["s1 (physical)".to_owned()],
        backups: 0,
        tablespaces: vec![],
        settings,
    }
}

fn found(server: Option<Survey>) -> Found {
    Found {
        control: ControlFile {
            system: SystemIdentifier(7),
            state: State::InProduction,
            checkpoint: Lsn(1),
            redo: Lsn(1),
            timeline: Timeline(1),
            min_recovery: Lsn(0),
            min_recovery_timeline: Timeline(0),
            segment_size: 1 << 24,
            least: [("max_worker_processes", 8); 3],
        },
        is_standby: false,
        restoring: None,
        data: PathBuf::from("/data"),
        server,
        at_rest: std::collections::BTreeMap::new(),
    }
}

#[test]
fn a_plan_names_what_changes_now_and_later() {
    let server = server(&[("wal_log_hints", "off"), ("wal_keep_size", "0")]);
    let plan = plan(&config(), &found(Some(server))).unwrap();
    let text = plan.lines.join("\n");
    for line in [
        "pg-a of main   sys 7   primary   timeline 1   10.0.0.1:5432",
        "FEEDS walreceiver at 10.0.0.2, streaming",
        "NOW   wal_keep_size   0 -> 256MB",
        "LATER wal_log_hints   off -> on",
        "LATER unix_socket_directories   /run/postgresql -> /var/lib/primacy/pg-a/run, /run/postgresql",
        "WRITE role primacy_replication",
        "HINT  slot s1 (physical)",
        "NOTE  PostgreSQL is not restarted",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("max_wal_senders"), "it is as it should be");
    assert_eq!(plan.socket_folders, ["/run/postgresql"]);
    let at_rest = super::plan(&config(), &found(None)).unwrap();
    assert!(at_rest.lines[0].contains("primary that does not run"));
}

#[test]
fn what_cannot_be_taken_over_is_refused_by_field() {
    let check = |found: Found, field: &str, words: &str| {
        let why = plan(&config(), &found).unwrap_err().to_string();
        assert!(why.contains(field) && why.contains(words), "{why}");
        assert!(!why.contains('\n'), "more than a sentence: {why}");
    };
    let with = |changed: &[(&str, &str)]| found(Some(server(changed)));
    let of = |change: &dyn Fn(&mut Survey)| {
        let mut server = server(&[]);
        change(&mut server);
        found(Some(server))
    };
    check(
        with(&[("max_connections", "500")]),
        "`max_connections`",
        "write 500",
    );
    check(with(&[("max_wal_senders", "50")]), "`data`", "lower it");
    check(
        with(&[("wal_level", "logical")]),
        "`data`",
        "wal_level is logical",
    );
    check(
        with(&[("config_file", "/etc/x.conf")]),
        "`data`",
        "/etc/x.conf",
    );
    check(of(&|it| it.is_superuser = false), "`superuser`", "is none");
    check(of(&|it| it.backups = 1), "`data`", "pg_basebackup");
    check(
        of(&|it| it.system = SystemIdentifier(8)),
        "`port`",
        "system 8",
    );
    check(
        of(&|it| it.is_standby = true),
        "`data`",
        "streams from nobody",
    );
    let of_role = |it: &mut Survey| {
        let setting = it.settings.get_mut("synchronous_commit").unwrap();
        (setting.value, setting.source) = ("off".to_owned(), "user".to_owned());
    };
    check(of(&of_role), "`superuser`", "synchronous_commit");
    let by_option = |it: &mut Survey| {
        let setting = it.settings.get_mut("max_wal_senders").unwrap();
        (setting.value, setting.source) = ("5".to_owned(), "command line".to_owned());
    };
    check(of(&by_option), "`data`", "command line");
    let mut restoring = found(None);
    restoring.restoring = Some("backup_label");
    check(restoring, "`data`", "backup_label");
}
