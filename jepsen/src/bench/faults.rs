//! The faults that are measured, how long they last, and what they may cost.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// kill -9 of the primary's postmaster
    Postmaster,
    /// kill -9 of the primary's agent, leash and PostgreSQL
    Node,
    /// SIGSTOP of the primary's agent, leash and PostgreSQL
    Freeze,
    /// kill -9 of the primary's node and of the Raft leader at the same moment
    NodeAndLeader,
    /// The primary's node goes dark towards everyone but its own clients; needs hosts of their own
    Partition,
}

/// What a fault may cost, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bar {
    /// The median.
    pub median: f64,
    /// The worst.
    pub worst: f64,
    /// The best rival's median, measured in the same way.
    pub rival: Option<f64>,
}

/// The median time from a node's return until all stream again, in milliseconds.
pub const REJOIN_BAR: f64 = 10_000.0;

impl Fault {
    /// Those of the table.
    pub const ALL: [Fault; 5] = [
        Fault::Postmaster,
        Fault::Node,
        Fault::Freeze,
        Fault::NodeAndLeader,
        Fault::Partition,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Postmaster => "kill -9 postmaster",
            Fault::Node => "kill -9 node",
            Fault::Freeze => "SIGSTOP node",
            Fault::NodeAndLeader => "kill -9 node + leader",
            Fault::Partition => "partition",
        }
    }

    /// Its bar.
    pub fn bar(self) -> Bar {
        let (median, worst, rival) = match self {
            Fault::Postmaster => (400.0, 1_500.0, Some(1_100.0)),
            Fault::Node => (600.0, 2_000.0, Some(12_000.0)),
            Fault::Freeze => (3_000.0, 5_000.0, Some(13_000.0)),
            Fault::NodeAndLeader => (3_000.0, 6_000.0, None),
            Fault::Partition => (3_000.0, 5_000.0, Some(11_200.0)),
        };
        Bar {
            median,
            worst,
            rival,
        }
    }

    /// How long it lasts; zero if only Primacy brings back what it struck. A partition outlasts every lease.
    pub fn lasts(self) -> Duration {
        match self {
            Fault::Postmaster => Duration::ZERO,
            Fault::Node | Fault::NodeAndLeader => Duration::from_secs(3),
            Fault::Freeze => Duration::from_secs(15),
            Fault::Partition => Duration::from_secs(12),
        }
    }
}
