//! What is done to the cluster, and how it is undone.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tokio::time::sleep;

use crate::clock::{self, Moment};
use crate::cluster::Dev;

const FROZEN_FOR: Duration = Duration::from_secs(15);
const DEAD_FOR: Duration = Duration::from_secs(3);

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

/// A fault that was done.
#[derive(Debug)]
pub struct Struck {
    /// Just before.
    pub began: Moment,
    /// When it was complete.
    pub ended: Moment,
    fault: Fault,
    node: String,
    leader: Option<String>,
}

impl Fault {
    /// Those of the table.
    pub const ALL: [Fault; 4] = [
        Fault::Postmaster,
        Fault::Node,
        Fault::Freeze,
        Fault::NodeAndLeader,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Postmaster => "kill -9 postmaster",
            Fault::Node => "kill -9 node",
            Fault::Freeze => "SIGSTOP node",
            Fault::NodeAndLeader => "kill -9 node + leader",
        }
    }

    /// Its bar.
    pub fn bar(self) -> Bar {
        let (median, worst, rival) = match self {
            Fault::Postmaster => (400.0, 1_500.0, Some(1_100.0)),
            Fault::Node => (600.0, 2_000.0, Some(12_000.0)),
            Fault::Freeze => (3_000.0, 5_000.0, Some(13_000.0)),
            Fault::NodeAndLeader => (3_000.0, 6_000.0, None),
        };
        Bar {
            median,
            worst,
            rival,
        }
    }

    /// Does it to the node `primary`.
    ///
    /// # Errors
    /// The leader is not known, or `primacy dev` could not do it.
    pub async fn strike(self, dev: &Dev, primary: &str) -> anyhow::Result<Struck> {
        let leader = match self {
            Fault::NodeAndLeader => Some(dev.leader().await?),
            Fault::Postmaster | Fault::Node | Fault::Freeze => None,
        };
        let began = clock::now();
        match (self, &leader) {
            (Fault::Postmaster, _) => {
                dev.act(&["kill", primary, "--only", "postmaster"]).await?;
            }
            (Fault::Freeze, _) => dev.act(&["freeze", primary]).await?,
            (Fault::Node | Fault::NodeAndLeader, None) => dev.act(&["kill", primary]).await?,
            (Fault::Node | Fault::NodeAndLeader, Some(leader)) => {
                let (node, leader) = (["kill", primary], ["kill", leader.as_str()]);
                tokio::try_join!(dev.act(&node), dev.act(&leader))?;
            }
        }
        Ok(Struck {
            began,
            ended: clock::now(),
            fault: self,
            node: primary.to_owned(),
            leader,
        })
    }
}

impl Struck {
    /// Waits as long as the fault lasts and lets the node return; answers when that began. Whom only
    /// Primacy brings back returns with the fault itself.
    ///
    /// # Errors
    /// `primacy dev` could not do it.
    pub async fn heal(&self, dev: &Dev) -> anyhow::Result<Moment> {
        match self.fault {
            Fault::Postmaster => Ok(self.began),
            Fault::Freeze => {
                sleep(FROZEN_FOR).await;
                let returned = clock::now();
                dev.act(&["thaw", &self.node]).await?;
                Ok(returned)
            }
            Fault::Node | Fault::NodeAndLeader => {
                sleep(DEAD_FOR).await;
                let returned = clock::now();
                dev.act(&["start", &self.node]).await?;
                if let Some(leader) = &self.leader {
                    dev.act(&["start", leader]).await?;
                }
                Ok(returned)
            }
        }
    }
}
