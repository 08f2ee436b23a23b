//! What a peer keeps through power cuts and says of a damaged folder, seen from outside: a real process on a file
//! system of its own.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../peers/mod.rs"]
mod peers;

mod bounds;
mod child;
mod damage;
mod disk;
mod power;
