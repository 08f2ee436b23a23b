//! What would happen, asked before it does.

use serde_json::{Value, json};

use crate::rig::{DEMO, Rig, is_installed, shown as instance};
use crate::stage::LONG;
use crate::verbs::primacy;

async fn explained(rig: &Rig, what: &str) -> Value {
    rig.group.get(&format!("{DEMO}/explain/{what}")).await
}

/// The newest change of primary.
async fn last_change(rig: &Rig) -> Value {
    let history = format!("{DEMO}/history");
    let is_over = |it: &Value| it[0]["kind"] == "handover" && it[0]["outcome"].is_string();
    rig.group.until("over", &history, is_over).await[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_failover_would_promote_is_promoted_and_its_verdict_is_kept() {
    if !is_installed() {
        return;
    }
    let rig = Rig::in_quorum(false).await;
    let said = explained(&rig, "failover").await;
    let to = said["to"].as_str().unwrap().to_owned();
    assert_eq!(
        (&said["loss_bytes"], &said["lease_wait_ms"]),
        (&json!(0), &Value::Null),
        "{said:#}"
    );
    let guarantee = said["guarantee"].as_str().unwrap();
    assert!(guarantee.starts_with("fence: courtesy; "), "{guarantee}");
    let candidates = said["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2, "{said:#}");
    for it in candidates {
        assert_eq!(it["obstacle"].is_null(), it["name"] == to.as_str(), "{it}");
        assert_eq!(it["promotion_rule"], Value::Null);
    }
    let (code, text, errors) = primacy(&rig, &["explain", "failover", "demo"]);
    assert_eq!(code, Some(0), "{errors}");
    let first = format!("failover to {to}; loss: 0 bytes\n");
    assert!(
        text.starts_with(&first) && text.contains("NOTE  fence: courtesy"),
        "{text}"
    );
    rig.kill_postmaster(0);
    rig.until("replaced", |it| {
        it["primary"] == to.as_str() && it["phase"] == "serving"
    })
    .await;
    let change = last_change(&rig).await;
    assert_eq!(change["verdict"], "rpo = 0, proven by s1 and s2");

    // One standby is left of the two whose word a failover needs.
    let said = explained(&rig, "failover").await;
    assert_eq!(
        (&said["to"], &said["code"], &said["loss_bytes"]),
        (&Value::Null, &json!("not_proven"), &Value::Null),
        "{said:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_a_switchover_goes_to_whom_it_says_and_keeps_who_asked() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(true).await;
    rig.adopt(0).await;
    // s2 streams from s1.
    let said = explained(&rig, "switchover").await;
    assert_eq!(said["to"], "s1", "{said:#}");
    let asked = [
        "switchover",
        "demo",
        "--owner",
        "ann",
        "--reason",
        "new disk",
    ];
    let (code, begun, errors) = primacy(&rig, &asked);
    assert_eq!(code, Some(0), "{errors}");
    assert!(begun.contains("the switchover to s1 has begun"), "{begun}");
    rig.until("switched", |it| {
        it["primary"] == "s1" && it["phase"] == "serving"
    })
    .await;
    let (_, shown, _) = primacy(&rig, &["cluster", "forget", "demo"]);
    assert!(
        shown.contains("HINT  s1 may have kept primary_conninfo"),
        "{shown}"
    );
    let kept = rig.servers[1].sql("SHOW primary_conninfo");
    assert!(kept.contains("/primacy-detached/"), "{kept}");
    let change = last_change(&rig).await;
    assert_eq!(change["cause"], "asked for by ann: new disk");
    let from = change["from"].as_str().unwrap();
    let verdict = format!("rpo = 0, proven by {from}");
    assert_eq!(change["verdict"], verdict.as_str(), "{change:#}");

    // Nobody is left who could be named.
    let s2 = &rig.servers[2].data;
    primacy::host::processes::kill_all(s2, LONG).unwrap();
    rig.until("gone", |it| instance(it, "s2")["state"] == "gone")
        .await;
    let path = format!("{DEMO}/switchover");
    let (status, problem) = rig.group.post(&path, &json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("not-now")));
    let why = problem["detail"].as_str().unwrap();
    assert!(why.contains("to s2: s2 does not stream"), "{why}");
}
