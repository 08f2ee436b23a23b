//! Primacy keeps exactly one primary in every database cluster it looks after.
#![forbid(unsafe_code)]
pub mod agent;
pub mod cli;
pub mod clock;
pub mod control;
pub mod decision;
pub mod dev;
pub mod duty;
pub mod gate;
pub mod host;
pub mod http;
pub mod leash;
pub mod model;
pub mod provider;
pub mod recovery;
pub mod server;
pub mod state;
pub mod telemetry;
