//! What a long life leaves in the folder of a peer: its size as the log grows, and the time to restart.
//!
//! `cargo run --release -p raft --example long_run [entries]` (a million by default) writes through one peer of a
//! group of its own in a folder below the current one, and prints the size of the folder on the way; then starts it
//! again in a new process and prints the time until it serves, and its memory.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use raft::{Config, Consensus, GroupId, Newborn, RecordError, StateMachine, Timing};
use tokio::task::JoinSet;

const AT_ONCE: usize = 256;
const STEP: u64 = 100_000;
const IDLE: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many commands it was given.
#[derive(Clone)]
struct Count(u64);

impl StateMachine for Count {
    type Command = Vec<u8>;
    type Reply = ();

    fn apply(&mut self, _index: u64, _command: Vec<u8>) {
        self.0 += 1;
    }

    fn encode(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes = bytes
            .try_into()
            .map_err(|_| RecordError::Truncated { bytes: bytes.len() })?;
        Ok(Self(u64::from_le_bytes(bytes)))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => write("1000000").await,
        [entries] => write(entries).await,
        [entries, folder] => restart(entries.parse()?, Path::new(folder)).await,
        _ => Err("usage: long_run [entries]".into()),
    }
}

async fn start(folder: &Path) -> Result<Consensus<Count>, Failure> {
    let config = Config {
        id: 1,
        group: GroupId::from_bytes([1; 16]),
        folder: folder.to_owned(),
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        timing: Timing::lan(),
        transport: Arc::new(raft::Plain),
        snapshot_every: 5000,
        keep_before_snapshot: 1000,
    };
    let consensus = Consensus::start(Newborn::open(config)?, Count(0)).await?;
    while consensus
        .confirm_leadership(Duration::from_secs(1))
        .await
        .is_err()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(consensus)
}

async fn write(entries: &str) -> Result<(), Failure> {
    let count: u64 = entries.parse()?;
    let folder = env::current_dir()?.join(format!("long-run-{}", std::process::id()));
    let consensus = start(&folder).await?;
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    for number in 1..=count {
        let consensus = consensus.clone();
        under_way.spawn(async move { consensus.propose(vec![7; 128]).await });
        if under_way.len() >= AT_ONCE
            && let Some(done) = under_way.join_next().await
        {
            done??;
        }
        if number % STEP == 0 {
            println!(
                "{number} entries in {:.0} s: the folder has {} KiB, {} of them the log of sled",
                began.elapsed().as_secs_f64(),
                bytes_in(&folder) / 1024,
                fs::metadata(folder.join("log/db"))?.len() / 1024,
            );
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    consensus.shutdown().await;
    let again = Command::new(env::current_exe()?)
        .arg(entries)
        .arg(&folder)
        .status()?;
    fs::remove_dir_all(folder)?;
    match again.success() {
        true => Ok(()),
        false => Err("it does not start again".into()),
    }
}

async fn restart(expected: u64, folder: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let consensus = start(folder).await?;
    let found = consensus.read(|state| state.0);
    println!(
        "serves {found} entries {} ms after its start",
        began.elapsed().as_millis()
    );
    tokio::time::sleep(IDLE).await;
    println!("{} KiB of memory when idle (PSS)", memory_kib());
    match found == expected {
        true => Ok(()),
        false => Err(format!("{expected} entries were written").into()),
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| {
            let found = file.metadata().ok()?;
            Some(if found.is_dir() {
                bytes_in(&file.path())
            } else {
                found.len()
            })
        })
        .sum()
}

fn memory_kib() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}
