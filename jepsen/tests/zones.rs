//! Three zones with a peer and a database each, on hosts of their own: what one that is cut off may do, and what the others do.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::process::Command;

use serde_json::{Value, json};

/// Cut off from everyone but its own clients, who go on writing to it as long as it answers them.
#[test]
fn as_root_a48_a_zone_that_is_cut_off_acknowledges_nothing_once_the_majority_has_another_primary() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_jepsen"))
        .args(["bench", "--faults", "partition", "--trials", "1", "--json"])
        .arg(&report)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if complaint.contains("a partition needs") {
        eprintln!("skipped: {complaint}");
        return;
    }
    assert!(output.status.success(), "{printed}{complaint}");
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let trial = &report["faults"][0]["trials"][0];
    assert_eq!(trial["lost"], json!([0, 0]), "{report:#}");
    assert_eq!(
        (&trial["two_writable"], &trial["stale"]),
        (&json!(0.0), &json!(0)),
        "{report:#}"
    );
}
