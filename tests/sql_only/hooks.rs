//! The user's programs, when a primary fails.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::rig::{DEMO, Rig, is_installed};

/// Longer than a failover takes.
const A_WHILE: Duration = Duration::from_secs(4);

/// What was told to each program, one line each.
fn told(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn of(lines: &[String], stage: &str) -> Vec<String> {
    let begins = lines.iter().filter(|it| it.starts_with(stage));
    begins.cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a29_each_program_runs_once_and_one_that_fails_before_a_failover_keeps_it_off() {
    if !is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let tell = |stage: &str, more: &str| {
        format!(
            "echo {stage} {{failureType}} {{failureCluster}} $ORC_FAILED_PORT {{successorPort}} $ORC_IS_SUCCESSFUL $PRIMACY_ATTEMPT >> {at}/told{more}"
        )
    };
    let hooks = [
        format!(
            "[hooks]\nOnFailureDetectionProcesses = ['{}', 'false &']",
            tell("detected", "")
        ),
        format!(
            "PreFailoverProcesses = ['{}', 'test -e {at}/agreed || {{ echo not agreed; exit 1; }}']",
            tell("pre", "")
        ),
        format!(
            "PostMasterFailoverProcesses = ['{}']",
            tell("post_master", "; exit 1")
        ),
        format!("PostFailoverProcesses = ['{}']", tell("post", "")),
        format!(
            "PostUnsuccessfulFailoverProcesses = ['{}']",
            tell("unsuccessful", "")
        ),
    ];
    let rig = Rig::start_with(false, &(hooks.join("\n") + "\n")).await;
    let before = rig.adopt_in_quorum().await;
    rig.kill_postmaster(0);
    let held = |it: &Value| {
        let mut waiting = it["waiting"].as_array().into_iter().flatten();
        waiting.any(|it| it["code"] == "hook" && it["text"].to_string().contains("failed"))
    };
    rig.until("held back", held).await;
    sleep(A_WHILE).await;
    let cluster = rig.until("held back", held).await;
    assert_eq!(cluster["epoch"], before["epoch"], "{cluster:#}");
    let lines = told(folder.path());
    assert_eq!(
        (of(&lines, "detected").len(), of(&lines, "pre").len()),
        (1, 1),
        "{lines:?}"
    );
    let history = rig.group.get(&format!("{DEMO}/history")).await;
    assert!(
        history.to_string().contains("exit 1: not agreed"),
        "{history:#}"
    );

    std::fs::write(folder.path().join("agreed"), "").unwrap();
    // Half a minute later it is asked again.
    let replaced = async {
        let name = |it: &Value| it["primary"].as_str().unwrap_or_default().to_owned();
        let is_done = |it: &Value| it["phase"] == "serving" && name(it).starts_with('s');
        loop {
            let cluster = rig.group.get(DEMO).await;
            if is_done(&cluster) && of(&told(folder.path()), "post ").len() == 1 {
                return cluster;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let replaced = tokio::time::timeout(Duration::from_secs(90), replaced).await;
    let cluster = replaced.expect("no failover after the program agreed");
    sleep(A_WHILE).await;
    let lines = told(folder.path());
    let old = rig.servers[0].address.port;
    let new = cluster["primary_address"].as_str().unwrap();
    let new = new.rsplit(':').next().unwrap();
    let expected = [
        format!("detected DeadPrimary demo {old}  false 1"),
        format!("pre DeadPrimary demo {old}  false 1"),
        format!("pre DeadPrimary demo {old}  false 2"),
        format!("post_master DeadPrimary demo {old} {new} true 1"),
        format!("post DeadPrimary demo {old} {new} true 1"),
    ];
    assert_eq!(lines, expected);
}
