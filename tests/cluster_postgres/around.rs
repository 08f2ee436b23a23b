//! The user's programs around a switchover.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::{Dev, is_healthy, shown};

/// What was told to each program, one line each.
fn told(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Has every peer run these from now on, one peer after the other.
async fn configure(dev: &Dev, hooks: &str) {
    for peer in ["p1", "p2", "p3"] {
        let path = dev.folder.join(peer).join("server.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}\n[hooks]\n{hooks}")).unwrap();
        dev.done(&["dev", "kill", peer]);
        dev.done(&["dev", "start", peer]);
        dev.until("healthy", is_healthy).await;
    }
}

fn switchover(dev: &Dev) -> Value {
    let history = dev.history();
    let mut all = history.as_array().unwrap().iter();
    all.find(|it| it["kind"] == "switchover").unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_run_around_a_switchover_and_one_that_fails_before_it_forbids_it() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let at = folder.path().display();
    let tell = |stage: &str| {
        format!(
            "echo {stage} {{command}} {{failedPort}} {{successorPort}} $ORC_IS_SUCCESSFUL $PRIMACY_ATTEMPT >> {at}/told"
        )
    };
    let (pre, post) = (tell("pre"), tell("post"));
    let agrees = format!("test -e {at}/agreed || {{ echo not agreed; exit 1; }}");
    let hooks = format!(
        "PreGracefulTakeoverProcesses = ['{pre}', '{agrees}']\nPostGracefulTakeoverProcesses = ['{post}']\n"
    );
    configure(&dev, &hooks).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let new = dev.others(&before, &old)[0].0.clone();
    let port = |of: &str| shown(&before, of)["port"].to_string();
    let (from, to) = (port(&old), port(&new));
    dev.say(&["explain", "switchover", "demo"]).await;
    let explained = dev.done(&["explain", "switchover", "demo"]);
    assert!(
        explained.contains("PreGracefulTakeoverProcesses"),
        "{explained}"
    );

    dev.say(&["switchover", "demo", "--to", &new]).await;
    let is_over =
        |it: &Value| it["switchover"].is_null() && switchover(&dev)["outcome"].is_string();
    let after = dev.until("given up", is_over).await;
    let outcome = switchover(&dev)["outcome"].to_string();
    assert!(
        outcome.contains("one of PreGracefulTakeoverProcesses failed"),
        "{outcome}"
    );
    assert!(dev.history().to_string().contains("exit 1: not agreed"));
    // The primary was never told: same epoch, same timeline, same process.
    for field in ["primary", "epoch", "timeline"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let asked = format!("pre graceful-master-takeover {from} {to} false 1");
    assert_eq!(told(folder.path()), *std::slice::from_ref(&asked));

    std::fs::write(folder.path().join("agreed"), "").unwrap();
    dev.say(&["switchover", "demo", "--to", &new]).await;
    dev.until("switched over", |it| {
        it["primary"] == *new && is_healthy(it)
    })
    .await;
    let done = async {
        while told(folder.path()).len() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(30), done).await;
    assert!(done.is_ok(), "{:?}", told(folder.path()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ran = format!("post graceful-master-takeover {from} {to} true 1");
    assert_eq!(told(folder.path()), [asked.clone(), asked, ran]);
    // What ran for it is over: another one may be asked for.
    dev.say(&["switchover", "demo", "--to", &old]).await;
    dev.until("switched back", |it| {
        it["primary"] == *old && is_healthy(it)
    })
    .await;
}
