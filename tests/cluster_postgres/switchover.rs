//! The primary is changed on request, where there are agents.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use primacy::host::processes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Config;

use crate::{Dev, WITHIN, connect, create_table, insert, is_healthy, shown};

/// How long clients may find nobody to write to (A15).
const WITHOUT_A_PRIMARY: Duration = Duration::from_secs(30);
const WRITERS: i32 = 4;

/// Some who write without a pause, and know what was acknowledged, and when.
pub(super) struct Load {
    acknowledged: Arc<Mutex<Vec<(i32, Instant)>>>,
    writers: JoinSet<()>,
}

impl Load {
    fn start(config: &Config) -> Load {
        let mut load = Load {
            acknowledged: Arc::default(),
            writers: JoinSet::new(),
        };
        for writer in 0..WRITERS {
            let (config, noted) = (config.clone(), load.acknowledged.clone());
            load.writers.spawn(async move {
                let mut row = writer;
                loop {
                    let Ok(Ok(client)) = timeout(WITHIN, connect(&config)).await else {
                        sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    loop {
                        row += WRITERS;
                        match insert(&client, row).await {
                            Ok(()) => noted.lock().unwrap().push((row, Instant::now())),
                            Err(_) => break,
                        }
                    }
                }
            });
        }
        load
    }

    /// Waits for so many more.
    pub(super) async fn more(&self, count: usize) {
        let so_far = || self.acknowledged.lock().unwrap().len();
        let (wanted, began) = (so_far() + count, Instant::now());
        while so_far() < wanted {
            assert!(began.elapsed() < WITHIN, "nothing more is acknowledged");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// The longest time without an acknowledgement since then.
    pub(super) fn longest_gap(&self, from: Instant) -> Duration {
        let mut times: Vec<_> = {
            let all = self.acknowledged.lock().unwrap();
            all.iter().map(|(_, at)| *at).collect()
        };
        times.sort_unstable();
        let gaps = times.windows(2).filter(|pair| pair[1] >= from);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Ends it, and says what was acknowledged and is not there.
    pub(super) async fn lost(mut self, dev: &Dev) -> Vec<i32> {
        self.writers.shutdown().await;
        let client = dev.session().await;
        let rows = client.query("SELECT row FROM t", &[]).await.unwrap();
        let kept: BTreeSet<i32> = rows.iter().map(|row| row.get(0)).collect();
        let all = self.acknowledged.lock().unwrap();
        let lost = all.iter().filter(|(row, _)| !kept.contains(row));
        lost.map(|(row, _)| *row).collect()
    }
}

/// A healthy cluster that is written to, its primary and its standbys.
pub(super) async fn under_load(arguments: &[&str]) -> Option<(Dev, Load, String, Vec<String>)> {
    let dev = Dev::up_with(arguments).await?;
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let others = dev.others(&before, &old).into_iter();
    let others = others.map(|(name, _)| name).collect();
    create_table(&dev.session().await).await;
    let load = Load::start(&dev.dsn());
    load.more(200).await;
    Some((dev, load, old, others))
}

/// The newest record of a kind; null if there is none, or nobody who could say so.
fn newest(dev: &Dev, kind: &str) -> Value {
    newest_of(dev, |it| it["kind"] == kind)
}

fn newest_of(dev: &Dev, is_meant: impl Fn(&Value) -> bool) -> Value {
    let told = dev.run(&["history", "--output", "json"]);
    let history: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
    let mut all = history.as_array().into_iter().flatten();
    all.find(|it| is_meant(it)).cloned().unwrap_or_default()
}

/// What happened when, in ms since it was asked for.
fn course(dev: &Dev) -> String {
    let records = ["switchover", "handover"].map(|kind| newest(dev, kind));
    let entries = records.iter().filter_map(|it| it["entries"].as_array());
    let entries = entries
        .flatten()
        .map(|it| (it["at_ms"].as_u64().unwrap(), &it["event"]));
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|(at, _)| *at);
    let began = entries.first().map_or(0, |(at, _)| *at);
    let told = entries
        .iter()
        .map(|(at, event)| format!("{} {event}", at - began));
    told.collect::<Vec<_>>().join(", ")
}

/// Whether a switchover was asked for and is over.
fn has_ended(dev: &Dev) -> bool {
    newest(dev, "switchover")["outcome"].is_string()
}

/// The receiver of a standby stands still from now on; answers with its process.
fn freeze_receiver(dev: &Dev, standby: &str) -> Pid {
    let data = dev.folder.join(standby).join("data");
    let receivers = processes::titled(&*data, "walreceiver").unwrap();
    assert_eq!(receivers.len(), 1, "{receivers:?}");
    let pid = Pid::from_raw(receivers[0].pid).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    pid
}

async fn switched(durability: &str) {
    let arguments = ["--durability", durability];
    let Some((dev, load, old, others)) = under_load(&arguments).await else {
        return;
    };
    let new = &others[1];
    let refused = dev.run(&["switchover", "demo", "--to", &old]);
    assert!(!refused.status.success());
    let began = Instant::now();
    dev.say(&["switchover", "demo", "--to", new, "--reason", "a test"])
        .await;
    let after = dev
        .until("switched over", |it| {
            let follows = shown(it, &old)["timeline"] == it["timeline"];
            is_healthy(it) && it["primary"] == **new && follows
        })
        .await;
    load.more(200).await;
    let gap = load.longest_gap(began);
    eprintln!(
        "{durability}: nothing was acknowledged for {} ms: {}",
        gap.as_millis(),
        course(&dev)
    );
    assert!(gap < WITHOUT_A_PRIMARY, "{gap:?}");
    let (rejoined, history) = (shown(&after, &old), dev.history());
    assert_eq!(rejoined["state"], "streaming", "{history:#}");
    assert_eq!(newest(&dev, "switchover")["to"], **new);
    let outcome = &newest(&dev, "switchover")["outcome"];
    assert_eq!(*outcome, format!("{new} is the primary"));
    assert_eq!(after["switchover"], Value::Null);
    // It needed nobody's WAL but its own. On a slow machine the third is told again to follow, and recorded after it.
    let rejoin = newest_of(&dev, |it| it["kind"] == "rejoin" && it["from"] == *old);
    assert_eq!(rejoin["outcome"], "streams and counts", "{history:#}");
    assert!(!rejoin.to_string().contains("diverged"), "{rejoin:#}");
    assert!(!dev.log(&old).contains("pg_rewind"));

    // And back, to whoever can be.
    dev.say(&["instance", "rule", "demo", &old, "prefer"]).await;
    dev.say(&["switchover", "demo"]).await;
    dev.until("switched back", |it| {
        is_healthy(it) && it["primary"] == *old
    })
    .await;
    assert_eq!(load.lost(&dev).await, Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_switchover_under_load_loses_nothing_and_the_old_primary_follows() {
    switched("quorum:1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_nor_does_one_of_an_async_cluster() {
    switched("async").await;
}

/// Its receiver stands still from before it is asked for, so that it has neither the last commits nor the last checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a16_a_candidate_that_does_not_come_as_far_leaves_the_old_primary_in_its_place() {
    let Some((dev, load, old, others)) = under_load(&[]).await else {
        return;
    };
    let epoch = dev.cluster().unwrap()["epoch"].as_u64().unwrap();
    let paused = &others[0];
    dev.done(&["dev", "freeze", &others[1]]);
    dev.until("silent", |it| shown(it, &others[1])["state"] == "silent")
        .await;
    let said = dev.run(&["switchover", "demo", "--to", &others[1]]);
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && why.contains("is silent"), "{why}");
    dev.done(&["dev", "thaw", &others[1]]);
    dev.until("healthy again", is_healthy).await;

    freeze_receiver(&dev, paused);
    let began = Instant::now();
    let said = dev.run(&["switchover", "demo", "--to", paused, "--owner", "ana"]);
    assert!(said.status.success(), "{said:?}");
    load.more(500).await;
    let deadline = Instant::now() + WITHIN;
    while !has_ended(&dev) {
        assert!(Instant::now() < deadline, "{:#}", dev.history());
        sleep(Duration::from_millis(50)).await;
    }
    let record = newest(&dev, "switchover");
    let after = dev.until("healthy", is_healthy).await;
    load.more(200).await;
    eprintln!(
        "{}; nothing was acknowledged for {} ms: {}",
        record["outcome"],
        load.longest_gap(began).as_millis(),
        course(&dev)
    );
    assert_eq!(after["primary"], *old, "{record:#}");
    let words = format!("{old} is the primary again");
    assert!(record["outcome"].to_string().contains(&words), "{record:#}");
    assert!(record["cause"].to_string().contains("ana"), "{record:#}");
    assert!(after["epoch"].as_u64().unwrap() > epoch);
    assert!(load.longest_gap(began) < WITHOUT_A_PRIMARY);
    assert_eq!(load.lost(&dev).await, Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_in_the_middle_of_a_switchover_leaves_it_to_the_next() {
    let Some((dev, load, old, others)) = under_load(&[]).await else {
        return;
    };
    let epoch = dev.cluster().unwrap()["epoch"].as_u64().unwrap();
    let leader = dev.leader();
    let process = dev.process(&leader, "server").expect("the leader runs");
    let began = Instant::now();
    dev.say(&["switchover", "demo", "--to", &others[1]]).await;
    let deadline = Instant::now() + WITHIN;
    while !dev
        .log(&leader)
        .contains("the primary is told to shut down")
    {
        assert!(Instant::now() < deadline, "it does not begin");
    }
    kill_process(process, Signal::KILL).unwrap();
    let deadline = Instant::now() + WITHIN;
    while !has_ended(&dev) {
        assert!(Instant::now() < deadline, "it is stuck");
        sleep(Duration::from_millis(50)).await;
    }
    let after = dev.until("healthy", is_healthy).await;
    load.more(200).await;
    let record = newest(&dev, "switchover");
    eprintln!(
        "{}; nothing was acknowledged for {} ms: {}",
        record["outcome"],
        load.longest_gap(began).as_millis(),
        course(&dev)
    );
    let primary = &after["primary"];
    assert!(*primary == *old || *primary == *others[1], "{record:#}");
    // Whoever it is was elected for it: nothing stood in its way, so it was not given up.
    assert_eq!(after["epoch"].as_u64(), Some(epoch + 1), "{record:#}");
    let outcome = record["outcome"].as_str().unwrap();
    assert!(outcome.starts_with(primary.as_str().unwrap()), "{outcome}");
    let handover = newest(&dev, "handover");
    let cause = handover["cause"].as_str().unwrap();
    assert!(
        cause.starts_with(&format!("switchover to {}", others[1])),
        "{cause}"
    );
    assert_eq!(load.lost(&dev).await, Vec::<i32>::new());
}

/// Its receiver stands still for longer than anybody is named for.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_may_wait_waits_for_its_candidate_and_is_called_off_until_it_begins() {
    let Some((dev, load, old, others)) = under_load(&[]).await else {
        return;
    };
    let epoch = dev.cluster().unwrap()["epoch"].as_u64().unwrap();
    let named = &others[0];
    let receiver = freeze_receiver(&dev, named);
    let deadline = Instant::now() + WITHIN;
    loop {
        let told = dev.done(&["explain", "switchover", "demo", "--output", "json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let candidates = told["candidates"].as_array().unwrap();
        let of_named = candidates.iter().find(|it| it["name"] == **named).unwrap();
        // The leader tries to bring it back meanwhile, in vain.
        let obstacle = of_named["obstacle"].to_string();
        let is_away = ["does not stream", "is being brought back"];
        if is_away.iter().any(|it| obstacle.contains(it)) {
            break;
        }
        assert!(Instant::now() < deadline, "{told:#}");
        sleep(Duration::from_millis(50)).await;
    }
    let refused = dev.run(&["switchover", "demo", "--to", named]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "it would be given up: {why}");
    assert!(why.contains("--wait 5m"), "{why}");
    assert_eq!(
        newest(&dev, "switchover"),
        Value::Null,
        "nothing is recorded"
    );

    let ask = ["switchover", "demo", "--to", named, "--wait", "5m"];
    let cancel = ["switchover", "demo", "--cancel"];
    let said = dev.done(&ask);
    assert!(
        said.contains("waits: ") && said.contains("--cancel"),
        "{said}"
    );
    let waits = |it: &Value| it["switchover"]["phase"] == "waiting" && it["primary"] == *old;
    load.more(500).await;
    let waiting = dev.until("waiting", waits).await;
    assert_eq!(waiting["epoch"].as_u64(), Some(epoch), "{waiting:#}");
    dev.done(&cancel);
    assert_eq!(dev.cluster().unwrap()["switchover"], Value::Null);
    let record = newest(&dev, "switchover");
    assert_eq!(record["outcome"], "somebody called it off while it waited");
    let again = dev.run(&cancel);
    let why = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && why.contains("is recorded"),
        "{why}"
    );

    dev.done(&ask);
    load.more(500).await;
    let waiting = dev.until("waiting", waits).await;
    assert_eq!(waiting["epoch"].as_u64(), Some(epoch), "{waiting:#}");
    kill_process(receiver, Signal::CONT).unwrap();
    let deadline = Instant::now() + 2 * WITHIN;
    while !has_ended(&dev) {
        assert!(Instant::now() < deadline, "{:#}", dev.cluster().unwrap());
        sleep(Duration::from_millis(50)).await;
    }
    let record = newest(&dev, "switchover");
    assert_eq!(record["outcome"], format!("{named} is the primary"));
    let after = dev.until("healthy", is_healthy).await;
    assert_eq!(after["primary"], **named, "{record:#}");
    assert_eq!(after["epoch"].as_u64(), Some(epoch + 1), "{record:#}");
    load.more(200).await;
    assert_eq!(load.lost(&dev).await, Vec::<i32>::new());
}
