//! Feeds a decoder with damaged and hostile input, and holds it to its limits.
//!
//! A test beside a decoder names a [`Target`] with examples of valid input. Each example is damaged in ways that know of
//! formats: bits flip, parts are cut out, repeated or exchanged with those of other examples, numbers become huge, and
//! the checksum of the envelope is computed anew, so that the damage gets past it. Plain random bytes come too. Of every
//! input is demanded:
//!
//! * the decoder returns, without a panic and within [`PATIENCE`];
//! * it allocates no more than [`Limit::most`] for an input of that length, and refuses one that is too long;
//! * what it makes of it passes the target's own check: encoded and decoded again it is the same value.
//!
//! An ordinary test run tries [`CASES`] inputs of each target, always the same. `FUZZ_SECONDS=600` tries others for so
//! long instead (`make fuzz`). A failure is reduced to its smallest input, which belongs into the test as a
//! [`Target::found`] one.
//!
//! proptest makes and reduces the inputs; allocation-counter counts. Both are named only here.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

mod input;
mod limits;
mod mutation;
mod target;

pub use limits::{Keeper, LIMITS, Limit};
pub use target::{CASES, PATIENCE, Target, target};

/// Where a decoder that reads a file finds it many times a second: a folder in memory, if there is one.
pub fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    }
}

/// The bytes of a text of hexadecimal digits, as golden files have them.
///
/// # Panics
/// If it is something else.
pub fn hex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes();
    assert!(digits.len().is_multiple_of(2), "half a byte");
    let value = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit") as u8;
    let pairs = digits.chunks_exact(2);
    pairs
        .map(|pair| value(pair[0]) << 4 | value(pair[1]))
        .collect()
}

/// The bytes behind a name in a golden file of lines `name hex`.
///
/// # Panics
/// If it has no such line.
pub fn golden(file: &str, name: &str) -> Vec<u8> {
    let line = file.lines().filter_map(|line| line.split_once(' '));
    let found = line.into_iter().find(|(found, _)| *found == name);
    let (_, digits) = found.unwrap_or_else(|| panic!("the golden file has no {name}"));
    hex(digits)
}
