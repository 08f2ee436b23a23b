//! What cannot work is refused in one sentence that names the file and the field, and says the next step. Nothing is
//! changed, and the exit code is 2.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::rig::{Peers, run};

const SERVER: &str = r#"id = 1
group = "00000000-0000-0000-0000-000000000001"
zone = "z1"
folder = "/nonexistent/peer"
listen = "127.0.0.1:7001"
peers = {1 = "127.0.0.1:7001"}
"#;

const AGENT: &str = r#"cluster = "main"
instance = "pg-a"
peers = ["127.0.0.1:7001"]
folder = "/nonexistent/agent"
data = "/nonexistent/data"
host = "127.0.0.1"
port = 5432
health = "127.0.0.1:8008"
replication.password_file = "/nonexistent/password"
"#;

/// Starts it with one thing changed.
#[track_caller]
fn refused(verb: &str, good: &str, from: &str, to: &str, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("it.toml");
    assert!(good.contains(from), "{from}");
    fs::write(&config, good.replacen(from, to, 1)).unwrap();
    let config = config.to_str().unwrap();
    let (code, output, errors) = run(&[verb, "--config", config]);
    assert_eq!((code, output.as_str()), (Some(2), ""), "{errors}");
    assert_eq!(errors, format!("error: {config}: {expected}\n"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(!fs::exists("/nonexistent").unwrap());
}

#[test]
fn a_peer_with_a_bad_configuration() {
    let shows = "docs/server.toml shows how";
    for (from, to, expected) in [
        ("id = 1\n", "", format!("`id` is missing; add it, {shows}")),
        (
            "id = 1",
            "id = \"one\"",
            format!("line 1: `id`: invalid type: string \"one\", expected u64; correct it, {shows}"),
        ),
        (
            "zone = ",
            "zonne = ",
            "line 3: unknown field `zonne`, the nearest one that there is is `zone`; correct or remove it, \
             docs/server.toml shows all"
                .to_owned(),
        ),
        (
            "\"z1\"",
            "\"Z 1\"",
            "zone: 'Z 1' is not a valid name: use 1 to 32 of a-z, 0-9 and '-', starting with a letter or digit"
                .to_owned(),
        ),
        (
            "{1 = \"127.0.0.1:7001\"}",
            "{1 = 7001}",
            format!("line 6: `peers.1`: invalid type: integer `7001`, expected a string; correct it, {shows}"),
        ),
        (
            "listen = ",
            "network = \"moon\"\nlisten = ",
            format!("line 5: `network`: unknown variant `moon`, expected `lan` or `wan`; correct it, {shows}"),
        ),
    ] {
        refused("server", SERVER, from, to, &expected);
    }
}

#[test]
fn a_peer_whose_password_file_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &str, why: &str| {
        let table = format!("[postgresql]\nuser = \"u\"\npassword_file = \"{path}\"\n");
        let to = format!("peers = {{1 = \"127.0.0.1:7001\"}}\n{table}");
        let expected = format!("postgresql.password_file: {path}: {why}");
        let from = "peers = {1 = \"127.0.0.1:7001\"}\n";
        refused("server", SERVER, from, &to, &expected);
        let errors = run(&[
            "preflight",
            "127.0.0.1:1",
            "--user",
            "u",
            "--password-file",
            path,
        ]);
        let expected = format!("error: --password-file {path}: {why}\n");
        assert_eq!((errors.0, errors.2), (Some(2), expected));
    };
    let user = fs::metadata(folder.path()).unwrap().uid();
    let absent = format!(
        "there is no such file; make it for user {user}, who runs this, with mode 0600 and lines HOST:PORT:DATABASE:USER:PASSWORD"
    );
    check("/nonexistent", &absent);
    check("/", "it is no plain file; name one");
    let open = folder.path().join("pgpass");
    fs::write(&open, "*:*:*:*:secret\n").unwrap();
    for mode in [0o640, 0o604] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        check(
            open.to_str().unwrap(),
            "others may read it; give it mode 0600",
        );
    }
}

#[test]
fn an_agent_with_a_bad_configuration() {
    let shows = "docs/agent.toml shows how";
    for (from, to, expected) in [
        (
            "instance = \"pg-a\"\n",
            "",
            format!("`instance` is missing; add it, {shows}"),
        ),
        (
            "replication.password_file = \"/nonexistent/password\"",
            "[replication]",
            format!("`replication.password_file` is missing; add it, {shows}"),
        ),
        (
            "port = 5432",
            "port = 65536",
            format!(
                "line 7: `port`: invalid value: integer `65536`, expected u16; correct it, {shows}"
            ),
        ),
        (
            "\"127.0.0.1:8008\"",
            "\"here:8008\"",
            format!("line 8: `health`: invalid socket address syntax; correct it, {shows}"),
        ),
        (
            "\"pg-a\"",
            "\"pg_a\"",
            format!(
                "line 2: `instance`: 'pg_a' is not a valid name: use 1 to 32 of a-z, 0-9 and '-', \
                 starting with a letter or digit; correct it, {shows}"
            ),
        ),
        (
            "host = ",
            "access = [\"10.0.0.0\"]\nhost = ",
            "`access` lists \"10.0.0.0\"; write samenet, or a network such as 10.0.0.0/8"
                .to_owned(),
        ),
    ] {
        refused("agent", AGENT, from, to, &expected);
    }
}

#[test]
fn a_configuration_that_cannot_be_read() {
    for verb in ["server", "agent"] {
        let (code, _, errors) = run(&[verb, "--config", "/nonexistent/it.toml"]);
        assert_eq!(code, Some(2));
        assert!(errors.starts_with("error: cannot read /nonexistent/it.toml: "));
        assert!(
            errors.ends_with(" configuration with --config\n"),
            "{errors}"
        );
    }
}

#[test]
fn a_verb_that_makes_no_sense() {
    let peers = Peers::start(1);
    let api = ["--api", &peers.api()];
    let member = "a=127.0.0.1:5432/8008@z1";
    for (arguments, code, error, hint) in [
        (
            &["status", "nope"][..],
            4,
            "there is no cluster nope (unknown-cluster)",
            "primacy status lists the clusters",
        ),
        (
            &["primary", "nope"],
            4,
            "there is no cluster nope (unknown-cluster)",
            "primacy status lists the clusters",
        ),
        (
            &["history"],
            4,
            "there is no cluster yet",
            "primacy cluster create --help tells of those with agents; primacy cluster adopt HOST takes one without",
        ),
        (
            &["cluster", "create", "main", "--member", member],
            2,
            "durability: quorum 1 needs at least 2 members, not 1 (invalid)",
            "correct the field and send it again; nothing was changed",
        ),
        (
            &[
                "cluster", "create", "main", "--first", "b", "--member", member,
            ],
            2,
            "first: there is no member b (invalid)",
            "correct the field and send it again; nothing was changed",
        ),
        (
            &["dev", "up", "--durability", "quorum:7"],
            2,
            "--durability quorum:7 needs more standbys than --members 3 has",
            "use --durability quorum:2 or less; dev has at most 5 members",
        ),
    ] {
        let (found, _, errors) = run(&[&api[..], arguments].concat());
        assert_eq!(errors, format!("error: {error}\nhint: {hint}\n"));
        assert_eq!(found, Some(code), "{arguments:?}");
    }
    for (arguments, error) in [
        (
            &["status", "No Name"][..],
            "'No Name' is not a valid name: use 1 to 32 of a-z, 0-9 and '-', starting with a letter or digit",
        ),
        (
            &["cluster", "create", "main", "--member", "a=nowhere"],
            "--member a=nowhere is not NAME=HOST:PORT/HEALTHPORT@ZONE",
        ),
        (
            &[
                "cluster",
                "create",
                "main",
                "--durability",
                "all",
                "--member",
                member,
            ],
            "--durability all is not quorum:K or async",
        ),
    ] {
        let (found, _, errors) = run(&[&api[..], arguments].concat());
        assert_eq!(errors, format!("error: {error}\n"));
        assert_eq!(found, Some(2), "{arguments:?}");
    }
    let (_, clusters, _) = run(&[&api[..], &["status", "--output", "json"]].concat());
    assert_eq!(clusters, "[]\n");
}

#[test]
fn a_connection_string_is_printed_without_a_primary_and_the_code_says_so() {
    let peers = Peers::start(1);
    let api = ["--api", &peers.api()];
    let create = ["cluster", "create", "main", "--durability", "async"];
    let members = ["--member", "a=127.0.0.1:5432/8008@z1"];
    let (code, _, errors) = run(&[&api[..], &create, &members].concat());
    assert_eq!(code, Some(0), "{errors}");
    let (code, text, errors) = run(&[&api[..], &["primary", "--dsn"]].concat());
    assert_eq!(code, Some(1), "{errors}");
    assert!(text.starts_with("postgresql://127.0.0.1:5432/?"), "{text}");
    assert!(
        errors.contains("(no-primary)\nhint: primacy status"),
        "{errors}"
    );
    let (code, text, errors) = run(&[&api[..], &["primary", "other", "--dsn"]].concat());
    assert_eq!((code, &*text), (Some(4), ""), "{errors}");
}
