//! A failover that only an operator can have.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::{Dev, create_table, insert, is_healthy, shown};

/// The longest lease, its margin, and an election.
const BY_THEN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_alone_is_promoted_on_an_operators_word_and_not_before() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let others = dev.others(&before, &old);
    let (gone, left) = (&others[0].0, &others[1].0);
    let client = dev.session().await;
    create_table(&client).await;
    insert(&client, 1).await.unwrap();
    let force = ["failover", "demo", "--reason", "a test", "--owner", "ana"];
    let said = |arguments: &[&str]| {
        let said = dev.run(&[&force[..], arguments].concat());
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        (said.status.success(), text)
    };
    let (is_done, why) = said(&["--accept-loss"]);
    assert!(!is_done && why.contains("is not forced"), "{why}");

    let explained = || -> Value {
        let told = dev.done(&["explain", "failover", "demo", "--output", "json"]);
        serde_json::from_str(&told).unwrap()
    };
    let healthy = explained();
    assert_eq!(healthy["loss_bytes"], 0, "{healthy:#}");
    assert!(others.iter().any(|(name, _)| healthy["to"] == **name));
    dev.done(&["dev", "kill", gone]);
    dev.until("silent", |it| shown(it, gone)["state"] == "silent")
        .await;
    let left_alone = explained();
    assert_eq!(left_alone["to"], Value::Null);
    assert_eq!(left_alone["code"], "not_proven", "{left_alone:#}");
    dev.done(&["dev", "kill", &old]);
    dev.until("without a proof", |it| {
        it["waiting"][0]["code"] == "not_proven"
    })
    .await;
    let (is_done, why) = said(&[]);
    assert!(
        !is_done && why.contains(&format!("{left} has all up to")),
        "{why}"
    );
    assert_eq!(dev.cluster().unwrap()["epoch"], before["epoch"]);
    // What was read is what is accepted, and no more.
    let told = why.split("--up-to ").nth(1).expect("the whole command");
    let told = told.split_whitespace().next().unwrap().to_owned();
    let (timeline, _) = told.split_once(':').expect("a position");
    let more = format!("{timeline}:FFFF/0");
    let (is_done, why) = said(&["--accept-loss", "--up-to", &more]);
    assert!(!is_done && why.contains(&told), "{why}");
    assert_eq!(dev.cluster().unwrap()["epoch"], before["epoch"]);
    // With the help of the one that is gone, too, it could serve on: nobody here can tell that both are dead.
    let (is_done, why) = said(&["--accept-loss", "--up-to", &told]);
    assert!(!is_done && why.contains("--old-is-off"), "{why}");
    assert_eq!(dev.cluster().unwrap()["epoch"], before["epoch"]);
    let (is_done, why) = said(&["--accept-loss", "--up-to", &told, "--old-is-off"]);
    assert!(is_done, "{why}");
    let after = timeout(
        BY_THEN,
        dev.until("promoted", |it| {
            it["primary"] == **left && it["phase"] == "serving"
        }),
    );
    after.await.expect("every lease has ended by then");
    let history = dev.history().to_string();
    assert!(history.contains("forced by ana: a test"), "{history}");
    let accepted = format!("what lies beyond {told} may be lost");
    assert!(history.contains(&accepted), "{history}");
    assert!(
        history.contains("that no other primary serves on is not proven, but said by ana"),
        "{history}"
    );

    // It waits for a standby as before, and the old primary comes back as one.
    dev.done(&["dev", "start", &old]);
    let client = dev.session().await;
    insert(&client, 2).await.unwrap();
    let rows = client.query("SELECT row FROM t", &[]).await.unwrap();
    assert_eq!(rows.len(), 2);
    dev.done(&["dev", "start", gone]);
    dev.until("healthy again", |it| {
        is_healthy(it) && it["primary"] == **left
    })
    .await;
}
