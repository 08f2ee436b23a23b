//! The program as a newcomer meets it: what its verbs say, and how they end. Peers are real processes, without any
//! PostgreSQL behind them.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod deaths;
mod elections;
mod fakes;
mod installation;
mod members;
mod operating;
mod orchestrator;
mod pipes;
mod reads;
mod refusals;
mod restarts;
mod rig;
mod rotation;
mod security;
mod snapshots;
mod strangers;
