//! Everything that is stored or sent is held against golden files: what was written yesterday is read tomorrow. The formats
//! of the Raft log, of snapshots and of calls between peers have theirs in `raft/src/formats.rs`.
//! To change one deliberately: `UPDATE_GOLDEN=1 cargo test --test formats`, and read the diff.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod control;
mod durability;
mod hooks;
mod log;
mod newcomers;
mod sql_only;
mod state;
mod switchover;

use std::fmt::Debug;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Holds lines of a name and bytes against the golden file of that name.
fn check(golden: &str, lines: &[(&str, Vec<u8>)]) {
    let mut written = String::new();
    for (name, bytes) in lines {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        written.push_str(&format!("{name} {hex}\n"));
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let file = file.join(golden);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &written).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    for (ours, theirs) in written.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs);
    }
    assert!(!golden.is_empty());
    assert_eq!(written.lines().count(), golden.lines().count());
}

/// The record of `value`, which is read again as the same.
fn sealed<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Vec<u8> {
    let bytes = raft::seal(value).unwrap();
    let read: T = raft::unseal(&bytes, raft::MAX_SNAPSHOT_BYTES).unwrap();
    assert_eq!(read, *value);
    bytes
}
