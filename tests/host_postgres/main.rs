//! `host` and `leash` against real PostgreSQL servers.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![expect(clippy::print_stdout, reason = "a run shows the times it measured")]

mod end_of_wal;
mod leash;
mod server;
mod support;
mod timelines;
