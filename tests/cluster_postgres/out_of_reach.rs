//! A primary whose peers are all gone: it serves as long as enough standbys' agents back it, and not a moment longer.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Config;

use crate::{Acknowledged, Dev, WITHIN, connect, create_table, insert, is_healthy, lost, shown};

/// Three times as long as the longest lease, or as many seconds as `AWAY_SECONDS` says.
fn away_for() -> Duration {
    let seconds = std::env::var("AWAY_SECONDS").ok();
    Duration::from_secs(seconds.map_or(30, |it| it.parse().unwrap()))
}

const PEERS: [&str; 3] = ["p1", "p2", "p3"];

/// Until nothing answers there any more.
async fn until_stopped(at: &Config) {
    let deadline = Instant::now() + WITHIN;
    while connect(at).await.is_ok() {
        assert!(Instant::now() < deadline, "it goes on without a lease");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn goes_on_without_peers(dev: &Dev, is_one_dead: bool) {
    let before = dev.until("healthy", is_healthy).await;
    let primary = before["primary"].as_str().unwrap().to_owned();
    let standbys: Vec<String> = dev
        .others(&before, &primary)
        .into_iter()
        .map(|it| it.0)
        .collect();
    let client = connect(&dev.address_of(&before, &primary)).await.unwrap();
    create_table(&client).await;
    let acknowledged = Acknowledged::default();
    block_in_place(|| dev.kill_all(&PEERS));
    if is_one_dead {
        dev.done(&["dev", "kill", &standbys[1]]);
    }
    let (away, long, mut longest) = (Instant::now(), away_for(), Duration::ZERO);
    for row in 0.. {
        if away.elapsed() > long {
            break;
        }
        // Not one is refused, none waits for ever, and the session is never closed.
        let began = Instant::now();
        let inserted = timeout(WITHIN, insert(&client, row)).await;
        inserted.unwrap().unwrap();
        longest = longest.max(began.elapsed());
        acknowledged.note(row);
        sleep(Duration::from_millis(2)).await;
    }
    eprintln!("the longest commit took {} ms", longest.as_millis());
    for peer in PEERS {
        dev.done(&["dev", "start", peer]);
    }
    if is_one_dead {
        dev.done(&["dev", "start", &standbys[1]]);
    }
    let after = dev
        .until("healthy after the peers' return", is_healthy)
        .await;
    assert_eq!(after["primary"], before["primary"]);
    assert_eq!(
        after["epoch"], before["epoch"],
        "nobody was elected meanwhile"
    );
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());

    // Nobody backs a primary that is alone.
    block_in_place(|| dev.kill_all(&PEERS));
    block_in_place(|| dev.kill_all(&standbys.iter().map(String::as_str).collect::<Vec<_>>()));
    until_stopped(&dev.address_of(&before, &primary)).await;
    for node in PEERS
        .iter()
        .copied()
        .chain(standbys.iter().map(String::as_str))
    {
        dev.done(&["dev", "start", node]);
    }
    dev.until("healthy after all", is_healthy).await;
    let client = dev.session().await;
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_cluster_serves_without_peers_and_one_standby() {
    let Some(dev) = Dev::up().await else { return };
    goes_on_without_peers(&dev, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_async_cluster_serves_without_peers_as_long_as_every_standby_is_there() {
    let Some(dev) = Dev::up_with(&["--durability", "async"]).await else {
        return;
    };
    goes_on_without_peers(&dev, false).await;
}

/// Once the peers are back, a primary that died meanwhile is replaced, however its backers gave their word.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_without_peers_is_replaced_when_they_are_back() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let primary = before["primary"].as_str().unwrap().to_owned();
    let client = connect(&dev.address_of(&before, &primary)).await.unwrap();
    create_table(&client).await;
    let acknowledged = Acknowledged::default();
    block_in_place(|| dev.kill_all(&PEERS));
    let away = Instant::now();
    for row in 0.. {
        if away.elapsed() > away_for() / 2 {
            break;
        }
        insert(&client, row).await.unwrap();
        acknowledged.note(row);
        sleep(Duration::from_millis(2)).await;
    }
    dev.done(&["dev", "kill", &primary]);
    for peer in PEERS {
        dev.done(&["dev", "start", peer]);
    }
    dev.until("served by another", |it| {
        it["phase"] == "serving" && it["primary"] != before["primary"]
    })
    .await;
    dev.done(&["dev", "start", &primary]);
    let after = dev.until("healthy again", is_healthy).await;
    assert_eq!(shown(&after, &primary)["state"], "streaming");
    let client = dev.session().await;
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
}
