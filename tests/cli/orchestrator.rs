//! A file that was written for orchestrator, and nothing else.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rig::{Running, free_address, program, read, told, until};

/// As it stands in the documentation of its database provider abstraction.
const FILE: &str = r#"{
  "ProviderType": "postgresql",
  "PostgreSQLTopologyUser": "orchestrator",
  "PostgreSQLTopologyPassword": "secret",
  "PostgreSQLSSLMode": "require",
  "DefaultInstancePort": 5432
}
"#;
const DEFAULT: &str = "127.0.0.1:7001";

fn server(folder: &Path) -> Command {
    let mut command = program();
    command.env("STATE_DIRECTORY", folder);
    command.env("RUST_LOG", "debug");
    command.args(["server", "--config"]);
    command.arg(folder.join("orchestrator.conf.json"));
    command
}

#[test]
fn a1_a_file_for_orchestrator_starts_a_peer() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = folder.join("orchestrator.conf.json");
    // Another installation may be on this machine.
    let is_free = TcpListener::bind(DEFAULT).is_ok();
    let address = match is_free {
        true => DEFAULT.to_owned(),
        false => free_address(),
    };
    let text = match is_free {
        true => FILE.to_owned(),
        false => FILE.replacen('{', &format!("{{\"listen\": \"{address}\","), 1),
    };
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let log = folder.join("log");
    let start = || {
        let to = fs::OpenOptions::new().create(true).append(true).open(&log);
        let mut command = server(folder);
        Running(
            command
                .stderr(to.unwrap())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    };
    let verb = |arguments: &[&str]| {
        let mut command = program();
        command.env("PRIMACY_TLS", folder.join("peer/tls"));
        command.env("PRIMACY_API", &address);
        told(command.args(arguments).output().unwrap())
    };
    let running = start();
    until("it leads", || verb(&["leader"]).0 == Some(0));
    let (code, status, errors) = verb(&["status"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(status.contains("the group has one peer"), "{status}");
    assert!(status.contains("holds a password, and others may read it: chmod 600"));
    assert_eq!(verb(&["problems"]).0, Some(0));
    let (_, peers, _) = verb(&["peers", "--output", "json"]);
    let said = read(&log);
    assert!(said.contains(&format!("PRIMACY_API={address}")), "{said}");
    for shown in [&status, &peers, &said] {
        assert!(!shown.contains("secret"), "{shown}");
    }
    let group = |said: &str| {
        let (_, after) = said.rsplit_once("of group ").unwrap();
        after.split(',').next().unwrap().to_owned()
    };
    let first = group(&said);
    drop(running);
    let _again = start();
    until("it leads again", || verb(&["leader"]).0 == Some(0));
    assert_eq!(group(&read(&log)), first);
}

#[test]
fn a1_what_is_wrong_in_it_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (from, to, expected) in [
        (
            "\"require\"",
            "\"prefer\"",
            "PostgreSQLSSLMode: 'prefer' must be disable, require, verify-ca or verify-full",
        ),
        (
            "\"postgresql\"",
            "\"mysql\"",
            "ProviderType: \"mysql\" is not looked after by this version; set ProviderType to \"postgresql\"",
        ),
        (
            "  \"ProviderType\": \"postgresql\",\n",
            "",
            "ProviderType: it is missing, which means \"mysql\"",
        ),
        (
            "DefaultInstancePort",
            "DefaultInstancesPort",
            "unknown field `DefaultInstancesPort`, the nearest one that there is is `DefaultInstancePort`",
        ),
        (
            "\"secret\"",
            "4711",
            "`PostgreSQLTopologyPassword`: it must be text",
        ),
    ] {
        let text = FILE.replace(from, to);
        assert_ne!(text, FILE);
        fs::write(folder.join("orchestrator.conf.json"), text).unwrap();
        let (code, _, errors) = told(server(folder).output().unwrap());
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(expected), "{errors}");
        assert!(
            !errors.contains("secret") && !errors.contains("4711"),
            "{errors}"
        );
        assert!(!folder.join("peer").exists(), "something was written");
    }
}
