//! A peer of its own group in a process of its own, under load: this test binary, started again.
//!
//! It says on its standard output what it has been told is durable, one line each, and nothing before that.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use raft::{Config, Consensus, GroupId, Newborn, RecordError, Role, StateMachine, Timing};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::sleep};

const FOLDER: &str = "RAFT_STORAGE_FOLDER";
const WRITERS: u64 = 8;
const GROUP: GroupId = GroupId::from_bytes(*b"cut and restored");
/// Long enough for a busy machine to elect its only peer.
const ELECTED_WITHIN: Duration = Duration::from_secs(30);

/// The highest number of every writer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Highest(BTreeMap<u64, u64>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Count {
    writer: u64,
    number: u64,
    /// So that entries have many sizes.
    weight: Vec<u8>,
}

impl StateMachine for Highest {
    type Command = Count;
    type Reply = ();

    fn apply(&mut self, _index: u64, command: Count) {
        self.0.insert(command.writer, command.number);
    }

    fn encode(&self) -> Vec<u8> {
        raft::seal(self).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        raft::unseal(bytes, raft::MAX_SNAPSHOT_BYTES)
    }
}

pub fn config(folder: &Path) -> Config {
    Config {
        id: 1,
        beginning: 0,
        group: GROUP,
        folder: folder.join("peer"),
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        timing: Timing::lan(),
        transport: Arc::new(raft::Plain),
        snapshot_every: 300,
        keep_before_snapshot: 100,
    }
}

#[test]
#[ignore = "the program that other tests start"]
fn program() {
    let Ok(folder) = env::var(FOLDER) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // Behind what the test harness says in front of it.
    println!();
    let reason = runtime.block_on(run(Path::new(&folder)));
    println!("stopped: {reason}");
    std::process::exit(1);
}

async fn run(folder: &Path) -> String {
    let started =
        async { Consensus::start(Newborn::open(config(folder))?, Highest::default()).await };
    let consensus = match started.await {
        Ok(consensus) => consensus,
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
            return format!("{error}{cause}");
        }
    };
    // What it had before it learns that it leads, and so before anything new.
    println!(
        "snapshot {}",
        consensus.status().snapshot_index.unwrap_or(0)
    );
    let led = tokio::time::timeout(ELECTED_WITHIN, async {
        while consensus
            .confirm_leadership(Duration::from_secs(1))
            .await
            .is_err()
        {
            sleep(Duration::from_millis(5)).await;
        }
    });
    if led.await.is_err() {
        return format!("not elected: {:?}", consensus.status());
    }
    let status = consensus.status();
    println!("term {}", status.term);
    println!("snapshot {}", status.snapshot_index.unwrap_or(0));
    let state = consensus.read(Highest::clone);
    for (writer, number) in &state.0 {
        println!("state {writer} {number}");
    }
    println!("serving");
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let first = state.0.get(&writer).map_or(0, |number| number + 1);
        tasks.spawn(write(consensus.clone(), writer, first));
    }
    tasks.spawn(report_snapshots(consensus));
    tasks.join_next().await.unwrap().unwrap()
}

async fn write(consensus: Consensus<Highest>, writer: u64, first: u64) -> String {
    for number in first.. {
        let weight = vec![number as u8; usize::try_from(number * 131 % 6000).unwrap()];
        let count = Count {
            writer,
            number,
            weight,
        };
        if let Err(error) = consensus.propose(count).await {
            return error.to_string();
        }
        println!("ack {writer} {number}");
    }
    unreachable!("numbers do not end")
}

async fn report_snapshots(consensus: Consensus<Highest>) -> String {
    let mut known = None;
    loop {
        let status = consensus.status();
        if status.snapshot_index != known {
            known = status.snapshot_index;
            println!("snapshot {}", known.unwrap_or(0));
        }
        if status.role == Role::Stopped {
            return "the peer stopped".to_owned();
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// What a run of the program has said so far.
#[derive(Debug, Default, Clone)]
pub struct Said {
    pub snapshot: u64,
    pub term: u64,
    /// The highest number of each writer that was acknowledged, or found in the state.
    pub numbers: BTreeMap<u64, u64>,
    pub acknowledged: u64,
    pub is_serving: bool,
    /// Why it stopped, if it said so.
    pub stopped: Option<String>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().unwrap();
        match words.as_slice() {
            ["snapshot", index] => self.snapshot = number(index),
            ["term", term] => self.term = number(term),
            ["state", writer, found] => drop(self.numbers.insert(number(writer), number(found))),
            ["ack", writer, told] => {
                self.numbers.insert(number(writer), number(told));
                self.acknowledged += 1;
            }
            ["serving"] => self.is_serving = true,
            ["stopped:", ..] => self.stopped = Some(line.to_owned()),
            // The harness that runs the program.
            _ => {}
        }
    }
}

/// A running program.
pub struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub said: Said,
}

impl Process {
    /// Starts it over `folder`.
    pub fn start(folder: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "storage::child::program",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            said: Said::default(),
        }
    }

    /// Listens until `is_enough`, or until the process has ended: then false.
    pub fn listen_until(&mut self, is_enough: impl Fn(&Said) -> bool) -> bool {
        let mut line = String::new();
        while !is_enough(&self.said) {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return false;
            }
            self.said.hear(line.trim_end());
        }
        true
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Listens to its last words and gives all it has said.
    pub fn ended(mut self) -> Said {
        self.listen_until(|_| false);
        self.child.wait().unwrap();
        std::mem::take(&mut self.said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
