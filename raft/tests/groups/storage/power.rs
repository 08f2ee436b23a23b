//! Power cuts under load: nothing that was acknowledged is lost, and nothing is acknowledged after the cut.
//!
//! `RAFT_POWER_CUTS=25` cuts so often on each file system instead of a few times.

use super::{
    child::{Process, Said},
    disk::{Disk, Filesystem},
};

/// Cuts on each file system in the permanent test.
const CUTS: u64 = 3;

/// Nothing of what was told is missing, and nothing came up that was not even asked for.
fn check(cut: u64, before: &Said, found: &Said) {
    assert!(
        found.is_serving,
        "cut {cut}: {:?} after {before:?}",
        found.stopped
    );
    assert!(
        found.term > before.term,
        "cut {cut}: a vote is lost: {found:?} after {before:?}"
    );
    assert!(
        found.snapshot >= before.snapshot,
        "cut {cut}: a snapshot is lost: {found:?} after {before:?}"
    );
    for (writer, number) in &before.numbers {
        let state = found.numbers.get(writer).copied();
        let is_kept = state.is_some_and(|state| (*number..=number + 1).contains(&state));
        assert!(
            is_kept,
            "cut {cut}: writer {writer} was told of {number}, found {state:?}"
        );
    }
}

fn survives_cuts(kind: Filesystem) {
    let Some(disk) = Disk::new(kind) else {
        return;
    };
    let cuts = std::env::var("RAFT_POWER_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let (mut acknowledged, mut snapshots) = (0, 0);
    let mut before = Said::default();
    for cut in 0..=cuts {
        let mut process = Process::start(&disk.home());
        process.listen_until(|said| said.is_serving);
        check(cut, &before, &process.said);
        if cut == cuts {
            process.kill();
            break;
        }
        // Another moment each time: of batches, snapshots and purges.
        let enough = 200 + cut * 137 % 900;
        let is_running = process.listen_until(|said| said.acknowledged >= enough);
        assert!(is_running, "cut {cut}: {:?}", process.said);
        disk.cut_power();
        if cut % 2 == 1 {
            process.kill();
        }
        // Else it ends by itself, because its next flush fails.
        before = process.ended();
        acknowledged += before.acknowledged;
        snapshots = snapshots.max(before.snapshot);
        disk.restart();
    }
    println!(
        "{kind:?}: {cuts} cuts, {acknowledged} acknowledged entries, snapshots up to entry {snapshots}"
    );
}

#[test]
fn as_root_nothing_acknowledged_is_lost_by_power_cuts_of_ext4() {
    survives_cuts(Filesystem::Ext4);
}

#[test]
fn as_root_nothing_acknowledged_is_lost_by_power_cuts_of_xfs() {
    survives_cuts(Filesystem::Xfs);
}
