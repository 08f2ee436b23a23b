//! What an idle group costs: three processes, one peer each, on the loopback, for a minute.
//!
//! `cargo run --release -p raft --example idle_cost [seconds]` prints the processor time and the memory of each peer.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    collections::BTreeMap, env, fs, path::PathBuf, process::Command, sync::Arc, time::Duration,
};

use raft::{Config, Consensus, GroupId, Newborn, RecordError, StateMachine, Timing};
use tokio::{net::TcpListener, time::sleep};

const WARM_UP: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Nothing;

impl StateMachine for Nothing {
    type Command = ();
    type Reply = ();

    fn apply(&mut self, _index: u64, _command: ()) {}

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(Self)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [seconds, folder, id, addresses @ ..] => {
            let members = (1..).zip(addresses.iter().cloned()).collect();
            peer(seconds.parse()?, folder.into(), id.parse()?, members)
        }
        [seconds] => group(seconds),
        [] => group("60"),
        _ => Err("usage: idle_cost [seconds]".into()),
    }
}

fn group(seconds: &str) -> Result<(), Box<dyn std::error::Error>> {
    let folder = env::temp_dir().join(format!("raft-idle-{}", std::process::id()));
    let mut addresses = Vec::new();
    let mut held = Vec::new();
    for _ in 0..3 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        addresses.push(listener.local_addr()?.to_string());
        held.push(listener);
    }
    drop(held);
    let mut peers = Vec::new();
    for id in 1..=3 {
        let mut command = Command::new(env::current_exe()?);
        command
            .arg(seconds)
            .arg(&folder)
            .arg(id.to_string())
            .args(&addresses);
        peers.push(command.spawn()?);
    }
    for mut peer in peers {
        peer.wait()?;
    }
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn peer(
    seconds: u64,
    folder: PathBuf,
    id: u64,
    members: BTreeMap<u64, String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&members[&id]).await?;
        let config = Config {
            id,
            group: GroupId::from_bytes([1; 16]),
            beginning: 0,
            folder: folder.join(id.to_string()),
            members,
            timing: Timing::lan(),
            transport: Arc::new(raft::Plain),
            snapshot_every: 5000,
            keep_before_snapshot: 1000,
        };
        let newborn = Newborn::open(config)?;
        let consensus = Consensus::start_on(&listener, newborn, Nothing).await?;
        let measured = consensus.clone();
        let shutdown = async move {
            sleep(WARM_UP).await;
            let before = processor_millis();
            sleep(Duration::from_secs(seconds)).await;
            let spent = processor_millis() - before;
            let status = measured.status();
            println!(
                "peer {id}: {:?} in term {}; {spent} ms of processor in {seconds} s; {} KiB (PSS)",
                status.role,
                status.term,
                memory_kib()
            );
        };
        consensus.serve_on(&listener, shutdown).await;
        Ok(())
    })
}

/// Processor time of all threads of this process so far, in milliseconds.
fn processor_millis() -> u64 {
    let nanos = |thread: &fs::DirEntry| -> Option<u64> {
        let spent = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        spent.split_whitespace().next()?.parse().ok()
    };
    let threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    threads.filter_map(|thread| nanos(&thread)).sum::<u64>() / 1_000_000
}

fn memory_kib() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}
