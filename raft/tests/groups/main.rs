//! Peers of real groups: each over a folder of its own, with calls over the loopback.
//!
//! One binary, because the protocol is compiled anew into each.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod birth;
mod group;
mod lease;
mod membership;
mod partitions;
mod peers;
#[path = "../../../src/dev/ports.rs"]
mod ports;
mod refusals;
mod saved;
mod storage;
mod transport;
