//! Clusters without agents, on real PostgreSQL 15: three peers in this process, servers of their own, SQL and nothing else
//! between them. Without PostgreSQL on this machine the tests say so and pass.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]
#![allow(
    dead_code,
    reason = "the servers are those of the provider's tests, which do more with them"
)]

mod adoption;
mod bar;
mod by_hand;
mod explain;
mod failover;
mod group;
mod hooks;
mod hung;
mod load;
mod problems;
mod publication;
mod rig;
#[path = "../provider/servers.rs"]
mod servers;
mod switchover;
mod verbs;

/// What `servers` asks of the crate that it is a part of.
mod stage {
    /// How long anything may take.
    pub const LONG: std::time::Duration = std::time::Duration::from_secs(30);
}
