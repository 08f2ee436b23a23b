//! The agent on real PostgreSQL 15, driven by a fake peer. Needs root and a user `postgres`.

#![expect(clippy::print_stdout, reason = "tests print what they measured")]
#![expect(clippy::unwrap_used, reason = "a test ends with the first surprise")]

mod broken;
mod commits;
mod cost;
mod deposed;
mod fencing;
mod folders;
mod hang;
mod identity;
mod kept;
mod ladder;
mod lifetime;
mod peer;
mod rebuild;
mod rig;
mod start;

use std::path::PathBuf;

use primacy::model::Timestamp;

/// Not a test: the leash process of the other tests.
#[test]
#[ignore = "is the leash process of the other tests"]
fn leash_process() {
    let Some(socket) = std::env::var_os("PRIMACY_TEST_SOCKET") else {
        return;
    };
    let deadline = std::env::var("PRIMACY_TEST_DEADLINE").unwrap_or_default();
    let args = primacy::leash::Args {
        socket: PathBuf::from(socket),
        data: PathBuf::from(std::env::var_os("PRIMACY_TEST_DATA").unwrap()),
        deadline: deadline.parse().ok().map(Timestamp),
    };
    primacy::leash::run(&args).unwrap();
}

fn now() -> Timestamp {
    primacy::clock::monotonic()
}
