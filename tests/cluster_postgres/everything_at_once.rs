//! Every process of every node dies at once, under load. What comes back comes one by one, in any order, and one never.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use crate::{
    Acknowledged, Dev, WITHIN, connect, create_table, insert, is_healthy, lost, shown, write_anew,
};

/// Who is alone is left alone for so long: longer than a lease and an election last.
const ALONE: Duration = Duration::from_secs(5);

/// A commit that no standby acknowledges is given up after this, and tried again on whoever is the primary then.
const WAITS: Duration = Duration::from_secs(5);

impl Dev {
    /// SIGKILL to all of these together.
    pub fn kill_all(&self, nodes: &[&str]) {
        let kill = |node: &&str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
            command.args(["dev", "kill", node]);
            command.env("PRIMACY_DEV", &self.folder);
            command.stdout(Stdio::null()).spawn().unwrap()
        };
        let all: Vec<_> = nodes.iter().map(kill).collect();
        for mut one in all {
            assert!(one.wait().unwrap().success());
        }
    }

    /// A session on whoever is the primary and has taken a row from this one on.
    async fn takes(&self, from: i32, acknowledged: &Acknowledged) -> Client {
        let deadline = Instant::now() + WITHIN;
        for row in from.. {
            let cluster = self.cluster().unwrap_or_default();
            if let Some(primary) = cluster["primary"].as_str()
                && let Ok(client) = connect(&self.address_of(&cluster, primary)).await
                && let Ok(Ok(())) = timeout(WAITS, insert(&client, row)).await
            {
                acknowledged.note(row);
                return client;
            }
            assert!(Instant::now() < deadline, "nobody takes writes");
            sleep(Duration::from_millis(50)).await;
        }
        unreachable!("there are more rows than attempts")
    }
}

/// Why nobody takes writes, in words: whose promises are awaited, or that the recorded primary is back and its commits wait.
fn why(cluster: &Value) -> Option<String> {
    let told = |of: &str| cluster[of].to_string();
    let of_election = told("waiting").contains("promises needed");
    let of_primary = told("findings").contains("PrimaryBlockedOnSync");
    (of_election || of_primary).then(|| format!("{} {}", told("waiting"), told("findings")))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_after_everything_died_at_once_nothing_is_lost() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    create_table(&dev.session().await).await;
    let acknowledged = Acknowledged::default();
    // The first that comes back, the second, who never does (by its place: 0 is the primary), and which peers do.
    let rounds = [
        ([1, 2], 0, ["p1", "p2"]),
        ([0, 1], 2, ["p3", "p2"]),
        ([2, 0], 1, ["p1", "p3"]),
    ];
    let mut cluster = before;
    for (round, (back, never, peers)) in rounds.into_iter().enumerate() {
        let primary = cluster["primary"].as_str().unwrap().to_owned();
        let mut names = vec![primary.clone()];
        names.extend(dev.others(&cluster, &primary).into_iter().map(|it| it.0));
        let first = i32::try_from(round).unwrap() * 1_000_000;
        let mut writers = JoinSet::new();
        for writer in 0..4 {
            let (config, noted) = (dev.dsn(), acknowledged.clone());
            let from = first + writer * 200_000;
            writers.spawn(async move { write_anew(&config, from, &noted).await });
        }
        let so_far = acknowledged.rows().len();
        let deadline = Instant::now() + WITHIN;
        while acknowledged.rows().len() < so_far + 100 {
            assert!(Instant::now() < deadline, "nothing is acknowledged");
            sleep(Duration::from_millis(10)).await;
        }
        let mut all = vec!["p1", "p2", "p3"];
        all.extend(names.iter().map(String::as_str));
        tokio::task::block_in_place(|| dev.kill_all(&all));
        writers.shutdown().await;

        for peer in peers {
            dev.done(&["dev", "start", peer]);
        }
        dev.done(&["dev", "start", &names[back[0]]]);
        let alone = dev.until("back alone, with the reason", |it| {
            shown(it, &names[back[0]])["connected"] == true && why(it).is_some()
        });
        let told = why(&alone.await);
        eprintln!("round {round}: {} waits: {told:?}", names[back[0]]);
        sleep(ALONE).await;
        // It may be the primary still, if it was before, but acknowledges nothing that nobody else has.
        if let Some(it) = dev.cluster() {
            let serves = shown(&it, &names[back[0]])["state"] == "running";
            assert!(!serves || back[0] == 0, "{it:#}");
        }

        dev.done(&["dev", "start", &names[back[1]]]);
        let client = dev.takes(first + 900_000, &acknowledged).await;
        assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());

        dev.done(&["dev", "start", &names[never]]);
        let missing = ["p1", "p2", "p3"]
            .into_iter()
            .find(|it| !peers.contains(it));
        dev.done(&["dev", "start", missing.unwrap()]);
        cluster = dev.until("healthy again", is_healthy).await;
        let client = dev.takes(first + 950_000, &acknowledged).await;
        assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
    }
}
