//! Somebody who writes, and knows what was acknowledged.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Config, NoTls};

use crate::rig::Rig;
use crate::stage::LONG;

/// One insert after the other, on whoever accepts writes.
pub struct Load {
    acknowledged: Arc<Mutex<Vec<(i64, Instant)>>>,
    writer: AbortHandle,
    _tasks: JoinSet<()>,
}

fn config(rig: &Rig) -> Config {
    let mut config = Config::new();
    config
        .user("postgres")
        .dbname("postgres")
        .connect_timeout(Duration::from_millis(500));
    config.target_session_attrs(tokio_postgres::config::TargetSessionAttrs::ReadWrite);
    for server in &rig.servers {
        config
            .host_path(rig.host.folder.path())
            .port(server.address.port);
    }
    config
}

async fn connected(config: &Config, tasks: &mut JoinSet<()>) -> Option<Client> {
    let (client, connection) = timeout(LONG, config.connect(NoTls)).await.ok()?.ok()?;
    tasks.spawn(async move {
        let _ = connection.await;
    });
    Some(client)
}

impl Load {
    pub fn start(rig: &Rig) -> Load {
        let config = config(rig);
        let acknowledged = Arc::new(Mutex::new(vec![]));
        let noted = acknowledged.clone();
        let mut tasks = JoinSet::new();
        let writer = tasks.spawn(async move {
            let mut number = 0_i64;
            let mut sessions = JoinSet::new();
            loop {
                let Some(client) = connected(&config, &mut sessions).await else {
                    sleep(Duration::from_millis(5)).await;
                    continue;
                };
                loop {
                    number += 1;
                    let statement = format!("INSERT INTO w VALUES ({number})");
                    let insert = client.simple_query(&statement);
                    match timeout(Duration::from_secs(20), insert).await {
                        Ok(Ok(_)) => noted.lock().unwrap().push((number, Instant::now())),
                        Ok(Err(_)) | Err(_) => break,
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            }
        });
        Load {
            acknowledged,
            writer,
            _tasks: tasks,
        }
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits for so many more.
    pub async fn more(&self, count: usize) {
        let (before, began) = (self.count(), Instant::now());
        while self.count() < before + count {
            assert!(began.elapsed() < LONG, "nothing more is acknowledged");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// The longest time without an acknowledgement that began after, or lasted over, this moment.
    pub fn longest_gap(&self, from: Instant) -> Duration {
        let all = self.acknowledged.lock().unwrap();
        let times: Vec<Instant> = all.iter().map(|(_, at)| *at).collect();
        let gaps = times.windows(2).filter(|pair| pair[1] >= from);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Ends it; all that was acknowledged.
    pub fn end(self) -> BTreeSet<i64> {
        self.writer.abort();
        let all = self.acknowledged.lock().unwrap();
        all.iter().map(|(number, _)| *number).collect()
    }
}

/// The rows that a server has.
pub fn rows(rig: &Rig, number: usize) -> BTreeSet<i64> {
    let text = rig.servers[number].sql("SELECT n FROM w");
    text.lines().map(|line| line.parse().unwrap()).collect()
}
