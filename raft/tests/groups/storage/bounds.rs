//! The folder of a peer stays small however long it runs: snapshots let the log go, and its space is used again.

use std::{fs, path::Path};

use raft::{Applied, ProposeError};
use tokio::task::JoinSet;

use crate::peers::{self, Command, Peers};

const ENTRIES: u64 = 60_000;
/// Proposals under way at a time.
const AT_ONCE: usize = 256;
/// Less than all entries take, and more than the latest 6,000 with all that sled keeps aside: over a million entries
/// of 128 bytes its file grew to 10 MiB by the 500,000th and stayed there.
const BOUND: u64 = 24 << 20;

fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .map(|file| match file.metadata() {
            Ok(found) if found.is_dir() => bytes_in(&file.path()),
            Ok(found) => found.len(),
            // A file that was replaced just now.
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn the_folder_stays_small() {
    let peers = Peers::start(1);
    peers.leader();
    let consensus = peers.consensus(1);
    let mut largest = 0;
    let mut under_way: JoinSet<Result<Applied<usize>, ProposeError>> = JoinSet::new();
    let runtime = peers.runtime();
    for number in 0..ENTRIES {
        let consensus = consensus.clone();
        // The state does not grow: what is measured is the log.
        let command = Command::Many(vec![0; 100]);
        under_way.spawn_on(
            async move { consensus.propose(command).await },
            runtime.handle(),
        );
        if under_way.len() >= AT_ONCE {
            peers.wait(under_way.join_next()).unwrap().unwrap().unwrap();
        }
        if number % 1000 == 0 {
            largest = largest.max(bytes_in(&peers.config(1).folder));
        }
    }
    peers::is_soon("the log is cut", || {
        peers
            .status(1)
            .purged_index
            .is_some_and(|purged| purged > ENTRIES - 7000)
    });
    largest = largest.max(bytes_in(&peers.config(1).folder));
    assert!(largest < BOUND, "the folder grew to {largest} bytes");
}
