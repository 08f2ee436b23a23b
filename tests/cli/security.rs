//! Who is let in, and as what: join tokens, certificates and bearer tokens, as people type them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use primacy::security::{BearerToken, JoinToken};

use crate::installation::{Installation, ends};
use crate::rig::{Peers, free_address, program, run, told, until};

/// An agent's configuration; nothing of it is started here.
pub fn agent(group: &Installation, instance: &str, peer: &str) -> std::path::PathBuf {
    let home = group.path(instance);
    let text = format!(
        "cluster = \"main\"\ninstance = \"{instance}\"\npeers = [\"{peer}\"]\nfolder = \"{}\"\n\
         data = \"{}\"\nhost = \"127.0.0.1\"\nport = 5432\nhealth = \"127.0.0.1:8008\"\n\
         replication.password_file = \"/nonexistent\"\n",
        home.display(),
        group.path("data").display()
    );
    let path = group.path(&format!("{instance}.toml"));
    fs::write(&path, text).unwrap();
    path
}

pub fn invited(group: &Installation, guest: &[&str]) -> String {
    let (code, text, errors) = group.run(&[&["invite"], guest].concat());
    assert_eq!(code, Some(0), "{errors}");
    text.trim().to_owned()
}

/// The token goes through the standard input, where no list of processes shows it.
pub fn join(token: &str, name: &str, folder: &Path) -> (Option<i32>, String) {
    let mut command = program();
    command.args(["join", "-", "--name", name, "--folder"]);
    command.arg(folder).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    writeln!(input, "{token}").unwrap();
    drop(input);
    let (code, _, errors) = told(process.wait_with_output().unwrap());
    (code, errors)
}

#[test]
fn newcomers_are_let_in_once_as_what_they_were_invited_and_no_secret_is_told() {
    let group = Installation::start();
    let mut secrets = vec![];
    let mut note = |token: &str| {
        let secret = JoinToken::parse(token).unwrap().secret;
        secrets.push(secret.reveal_text());
        secrets.push(
            secret
                .reveal()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        );
    };
    group.tokens.iter().for_each(|token| note(token));

    // An agent, for its own instance and no other.
    let token = invited(&group, &["agent", "main", "pg-a"]);
    note(&token);
    let config = agent(&group, "pg-b", &group.addresses[0]);
    let join_agent = |config: &Path| {
        let mut command = program();
        command
            .args(["agent", "join", &token, "--config"])
            .arg(config);
        told(command.output().unwrap())
    };
    let (code, _, errors) = join_agent(&config);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("not for the agent of pg-b"), "{errors}");
    let config = agent(&group, "pg-a", &group.addresses[0]);
    let (code, _, errors) = join_agent(&config);
    assert_eq!(code, Some(0), "{errors}");
    // The same one again; another folder is another newcomer.
    fs::remove_file(group.path("pg-a/tls/own.pem")).unwrap();
    let (code, _, errors) = join_agent(&config);
    assert_eq!(code, Some(0), "{errors}");
    fs::remove_dir_all(group.path("pg-a")).unwrap();
    let (code, _, errors) = join_agent(&config);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("used by another one"), "{errors}");

    // A person, who looks and does not touch.
    let token = invited(&group, &["tool", "laptop", "--role", "viewer"]);
    note(&token);
    let laptop = group.path("laptop");
    let (code, errors) = join(&token, "laptop", &laptop);
    assert_eq!(code, Some(0), "{errors}");
    let by = |arguments: &[&str]| told(group.verb_with(&laptop).args(arguments).output().unwrap());
    assert_eq!(by(&["leader"]).0, Some(0));
    for refused in [
        &["token", "list"][..],
        &["peers", "remove", "3"],
        &["invite", "agent", "main", "pg-c"],
    ] {
        let (code, _, errors) = by(refused);
        assert_eq!(code, Some(3), "{refused:?} {errors}");
        let why = "this needs the role admin, and the certificate has viewer (forbidden)";
        assert!(errors.contains(why), "{errors}");
    }

    // A program with a token and the authority's certificate.
    let (code, bearer, errors) = group.run(&["token", "create", "ci", "--role", "operator"]);
    assert_eq!(code, Some(0), "{errors}");
    let bearer = bearer.trim().to_owned();
    secrets.push(bearer.rsplit_once('.').unwrap().1.to_owned());
    assert!(BearerToken::parse(&bearer).is_some());
    let only_ca = group.path("ca");
    fs::create_dir(&only_ca).unwrap();
    fs::copy(laptop.join("ca.pem"), only_ca.join("ca.pem")).unwrap();
    let with = |token: &str, arguments: &[&str]| {
        let mut command = group.verb_with(&only_ca);
        told(
            command
                .env("PRIMACY_TOKEN", token)
                .args(arguments)
                .output()
                .unwrap(),
        )
    };
    assert_eq!(with(&bearer, &["leader"]).0, Some(0));
    assert_eq!(with(&bearer, &["token", "list"]).0, Some(3));
    let (code, listed, _) = group.run(&["token", "list"]);
    assert!(code == Some(0) && listed.contains("ci "), "{listed}");
    assert_eq!(group.run(&["token", "revoke", "ci"]).0, Some(0));
    let (code, _, errors) = with(&bearer, &["leader"]);
    assert_eq!(code, Some(3), "{errors}");
    assert!(
        errors.contains("the token is not valid here (unauthenticated)"),
        "{errors}"
    );
    let (code, _, errors) = with("", &["leader"]);
    assert_eq!(code, Some(3), "{errors}");

    // What was said at every level of the log holds none of it.
    let authority = fs::read_to_string(group.path("p1/tls/authority.pem")).unwrap();
    let key: String = authority
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("--"))
        .collect();
    secrets.push(key[..40].to_owned());
    for name in ["p1", "p2", "p3"] {
        let log = group.log(name);
        assert!(
            log.contains("a token is made") || name != "p1" || log.contains("DEBUG"),
            "{log}"
        );
        for secret in &secrets {
            assert!(!log.contains(secret), "{name} tells a secret");
        }
    }
}

#[test]
fn what_is_of_another_installation_is_refused() {
    let (ours, theirs) = (Installation::start(), Installation::start());
    let (code, _, errors) = told(
        ours.verb_with(&theirs.path("p1/tls"))
            .arg("leader")
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(5), "{errors}");
    assert!(
        errors.contains("no authority that we trust signed the certificate"),
        "{errors}"
    );
    // Neither does a newcomer say its secret to them.
    let token = invited(&theirs, &["tool", "x"]);
    let mut token = JoinToken::parse(&token).unwrap();
    token.addresses = vec![ours.addresses[0].clone()];
    let (code, errors) = join(&token.reveal(), "x", &ours.path("x"));
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("another installation"), "{errors}");
    // Nor does anybody speak plain HTTP to them.
    let (code, _, errors) = run(&["--api", &ours.addresses[0], "leader"]);
    assert_eq!(code, Some(5), "{errors}");
}

#[test]
fn a_peer_without_a_certificate_says_what_to_do() {
    let peers = Peers::plan(1);
    let mut command = peers.command(0);
    let config = peers.folder.path().join("server1.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("plain_http = true\n", "")).unwrap();
    let (code, _, errors) = told(command.output().unwrap());
    assert_eq!(code, Some(2), "{errors}");
    assert!(
        errors.contains("tls/own.pem") && errors.contains("primacy server init"),
        "{errors}"
    );
}

#[test]
fn a_distant_peer_is_not_spoken_to_in_plain_http() {
    let (code, _, errors) = run(&["--api", "192.0.2.1:7001", "leader"]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("PRIMACY_TLS"), "{errors}");
}

#[test]
fn a_first_peer_is_let_in_once_before_there_is_a_group() {
    let mut group = Installation::plan();
    let tokens = group.init();
    let first = group.spawn("p1");
    group.running.push(first);
    let address = group.addresses[1].clone();
    group.configure("p2", &address, Some(&tokens[0]));
    let second = group.spawn("p2");
    group.running.push(second);
    until("it has its place", || {
        group.log("p2").contains("this peer has joined")
    });
    // Peer 3 is not there, so no group is born; the same token in another folder is of no use.
    group.configure("again", &free_address(), Some(&tokens[0]));
    let mut again = group.spawn("again");
    assert_eq!(ends(&mut again), Some(2));
    let told = group.log("again");
    assert!(
        told.contains("the invitation was used by another one"),
        "{told}"
    );
    // An agent is told to wait, and nothing else comes of it.
    let (code, _, errors) = group.run(&["invite", "agent", "main", "a"]);
    assert_eq!(code, Some(5), "{errors}");
}
