//! How many standbys a commit waits for is changed under load, and a failover follows.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::switchover::under_load;
use crate::{Dev, is_healthy};

/// Nothing is held up for longer on a busy machine; how long it is, is printed.
const HELD_UP: Duration = Duration::from_secs(30);

fn is_recorded(cluster: &Value, durability: &str) -> bool {
    is_healthy(cluster)
        && cluster["durability"] == *durability
        && cluster["durability_change"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durability_is_changed_under_load_and_a_failover_loses_nothing() {
    let Some((dev, load, old, _)) = under_load(&["--durability", "quorum:1"]).await else {
        return;
    };
    let began = Instant::now();
    dev.say(&["cluster", "durability", "demo", "quorum:2"])
        .await;
    dev.until("quorum 2", |it| is_recorded(it, "quorum 2"))
        .await;
    load.more(200).await;
    dev.done(&["cluster", "durability", "demo", "quorum:1", "--yes"]);
    dev.until("quorum 1", |it| is_recorded(it, "quorum 1"))
        .await;
    load.more(200).await;
    let gap = load.longest_gap(began);
    eprintln!("nothing was acknowledged for {} ms", gap.as_millis());
    assert!(gap < HELD_UP, "{gap:?}");
    dev.done(&["dev", "kill", &old]);
    let is_another = |it: &Value| it["phase"] == "serving" && it["primary"] != *old;
    dev.until("another primary", is_another).await;
    load.more(200).await;
    assert_eq!(load.lost(&dev).await, Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_in_the_middle_takes_nothing_with_it_and_the_wish_stays() {
    let Some((dev, load, old, _)) = under_load(&["--durability", "quorum:1"]).await else {
        return;
    };
    dev.say(&["cluster", "durability", "demo", "quorum:2"])
        .await;
    dev.done(&["dev", "kill", &old]);
    let is_another = |it: &Value| it["phase"] == "serving" && it["primary"] != *old;
    dev.until("another primary", is_another).await;
    // With one standby left commits go on, unless it was recorded already.
    let cluster = dev.cluster().unwrap();
    if cluster["durability"] == "quorum 1" {
        assert_eq!(
            cluster["durability_change"]["to"], "quorum 2",
            "{cluster:#}"
        );
        load.more(200).await;
    }
    dev.done(&["dev", "start", &old]);
    dev.until("quorum 2", |it| is_recorded(it, "quorum 2"))
        .await;
    load.more(200).await;
    assert_eq!(load.lost(&dev).await, Vec::<i32>::new());
}

/// The value in force on whoever is primary.
async fn names(dev: &Dev) -> String {
    let session = dev.session().await;
    let row = session.query_one("SHOW synchronous_standby_names", &[]);
    row.await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn async_becomes_a_quorum_under_load_loses_nothing_in_a_failover_and_becomes_async_again() {
    let Some((dev, load, old, _)) = under_load(&["--durability", "async"]).await else {
        return;
    };
    assert_eq!(names(&dev).await, "");
    dev.say(&["cluster", "durability", "demo", "quorum:1"])
        .await;
    dev.until("quorum 1", |it| is_recorded(it, "quorum 1"))
        .await;
    load.more(200).await;
    dev.done(&["dev", "kill", &old]);
    let is_another = |it: &Value| it["phase"] == "serving" && it["primary"] != *old;
    dev.until("another primary", is_another).await;
    load.more(200).await;
    dev.done(&["dev", "start", &old]);
    dev.until("the old primary streams", is_healthy).await;
    // What is recorded takes back what was asked for, however far that is.
    dev.say(&["cluster", "durability", "demo", "quorum:2"])
        .await;
    dev.say(&["cluster", "durability", "demo", "quorum:1", "--yes"])
        .await;
    dev.until("quorum 1 as before", |it| is_recorded(it, "quorum 1"))
        .await;
    dev.done(&["cluster", "durability", "demo", "async", "--yes"]);
    let asked = dev.cluster().unwrap();
    assert_eq!(asked["durability_change"]["to"], "async", "{asked:#}");
    let way_back = asked["durability_change"]["taken_back_by"].as_str();
    assert!(way_back.unwrap().contains("durability demo quorum:1"));
    dev.until("async", |it| is_recorded(it, "async")).await;
    load.more(200).await;
    let began = Instant::now();
    while !names(&dev).await.is_empty() {
        assert!(began.elapsed() < HELD_UP, "the names stay in force");
    }
    load.more(200).await;
    assert_eq!(load.lost(&dev).await, Vec::<i32>::new());
}
