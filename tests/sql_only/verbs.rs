//! What a person types.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::rig::{DEMO, Rig, is_healthy, is_installed, shown as instance};

/// Runs a verb without a terminal: its exit code, what it prints and what it complains of.
pub fn primacy(rig: &Rig, arguments: &[&str]) -> (Option<i32>, String, String) {
    let peers: Vec<_> = rig.group.addresses.values().cloned().collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
    command
        .env_remove("PRIMACY_TLS")
        .env_remove("PRIMACY_TOKEN")
        .env("PRIMACY_DEV", "/nonexistent")
        .env("PRIMACY_API", peers.join(","))
        .stdin(Stdio::null());
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Without a port that of the peers' configuration is meant, and what is forgotten is shown before.
#[tokio::test(flavor = "multi_thread")]
async fn adopt_means_the_default_port_and_forget_asks_once() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    let adopt = ["cluster", "adopt", "127.0.0.1", "--name", "demo"];
    let (code, plan, errors) = primacy(&rig, &adopt);
    assert_eq!(code, Some(2), "{plan}{errors}");
    assert!(plan.contains(&rig.servers[0].address.to_string()), "{plan}");
    assert!(plan.contains("NOTE") && !plan.contains("WARN"), "{plan}");
    assert!(errors.contains("add --yes"), "{errors}");
    assert_eq!(rig.group.get("/api/v1/clusters").await, json!([]));
    let (code, _, errors) = primacy(&rig, &[&adopt[..], &["--yes"]].concat());
    assert_eq!(code, Some(0), "{errors}");
    let cluster = rig.until("healthy", is_healthy).await;

    let forget = ["cluster", "forget", "demo"];
    let (code, shown, errors) = primacy(&rig, &forget);
    assert_eq!(code, Some(2), "{errors}");
    for instance in cluster["instances"].as_array().unwrap() {
        assert!(
            shown.contains(instance["name"].as_str().unwrap()),
            "{shown}"
        );
    }
    assert!(!shown.contains("TODO"), "{shown}");
    rig.until("still there", is_healthy).await;
    rig.kill_postmaster(2);
    let is_gone = |it: &Value| instance(it, "s2")["state"] == "gone";
    rig.until("gone", is_gone).await;
    let (_, shown, _) = primacy(&rig, &forget);
    let port = rig.servers[2].address.port;
    let todo = format!(
        "TODO  s2 is not seen now (gone), so something may be left there; once it answers, as superuser in psql -h 127.0.0.1 -p {port} "
    );
    assert!(shown.contains(&todo), "{shown}");
    assert_eq!(shown.matches("TODO").count(), 1, "{shown}");
    let (code, _, errors) = primacy(&rig, &[&forget[..], &["--yes"]].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(rig.group.get(DEMO).await["code"], "unknown-cluster");
}

/// The plan of what could never be failed over says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_that_nothing_would_be_failed_over() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    let names = "ALTER SYSTEM SET synchronous_standby_names = 'ANY 2 (s1, s2, s3, s4)'";
    rig.servers[0].sql(names);
    rig.servers[0].sql("SELECT pg_reload_conf()");
    let adopt = ["cluster", "adopt", "127.0.0.1", "--dry-run"];
    let (code, plan, errors) = primacy(&rig, &adopt);
    assert_eq!(code, Some(0), "{errors}");
    let words = "WARN  as it is now, nothing would be failed over: it would take 3 standbys";
    assert!(plan.contains(words), "{plan}");
}
