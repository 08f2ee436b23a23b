//! Primacy keeps exactly one primary in every database cluster it looks after.
//!
//! Several peers in different zones form one Raft group and replicate topology, epochs and leases. Only
//! their elected leader promotes and fences. An agent on each database host has the hands; a leash beside
//! it kills PostgreSQL when the primary's lease ends, whatever became of the agent.
//!
//! # The one rule
//!
//! Observe, decide, execute. What is seen becomes a value ([`model::View`], [`duty::Local`]); what to do
//! is a function of values ([`decision::decide`], [`recovery`], [`duty`]); the shell performs one named
//! [`recovery::Step`] or [`duty::Act`] and looks again. What came back is [`recovery::Evidence`], recorded
//! in Raft before the next decision, so that a new leader continues where the old one stopped.
//!
//! # The map
//!
//! ```text
//! pure    model ◄─ recovery ◄─ state ◄─ decision          values, procedures, the log, decisions
//!         model, recovery ◄─ duty ◄─ control              what an agent does; what is said on the wire
//! shell   server (a peer) ─► http                         gather, propose, execute, answer
//!         agent (a database host) ─► host, provider       act on files, processes and SQL
//!         leash                                           the deadline, in a process of its own
//!         security                                        certificates, TLS, tokens: who is who
//!         cli, dev                                        verbs; a whole installation on one machine
//!         config, output, telemetry                       how files are read, how people are told
//! ```
//!
//! `tests/architecture.rs` enforces these directions and the purity of the pure modules;
//! `tests/simulation/` runs the pure modules against thousands of seeded worlds.
#![forbid(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod clock;
mod config;
pub mod control;
pub mod decision;
pub mod dev;
pub mod duty;
#[cfg(test)]
mod fuzz_tests;
pub mod gate;
pub mod host;
pub mod http;
pub mod leash;
pub mod model;
mod output;
pub mod provider;
pub mod recovery;
pub mod security;
pub mod server;
pub mod state;
pub mod telemetry;
