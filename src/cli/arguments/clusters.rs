//! What is recorded of clusters.

use clap::{Args, Subcommand};

use super::Adopt;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ClusterVerb {
    /// Record a new cluster; its first instance is initialised, the others are cloned from it
    #[command(before_long_help = "Examples:
  primacy cluster create orders --durability quorum:1 \\
      --member a=10.0.0.1:5432/8008@z1 --member b=10.0.0.2:5432/8008@z2 --member c=10.0.0.3:5432/8008@z3")]
    Create(NewCluster),
    /// Change how many standbys a commit waits for, while clients go on
    ///
    /// Fewer are recorded at once; async, in the place of a quorum, once the longer leases of a quorum cluster have ended, some
    /// ten seconds later. More are recorded once it is proven that every commit waits for them. `primacy status` shows how far
    /// that is and what it waits for. What is recorded, asked for, takes back what is not recorded yet: commits wait for as many
    /// as before.
    #[command(before_long_help = "Examples:
  primacy cluster durability orders quorum:2 --reason \"a third standby\"
  primacy cluster durability orders quorum:1 --yes
  primacy cluster durability orders async --yes")]
    Durability(NewDurability),
    /// Look after a cluster that there is, over SQL alone: shows what was found, and asks
    ///
    /// No database is changed, and none is restarted. The peers sign in as their table [postgresql] says.
    #[command(before_long_help = "Examples:
  primacy cluster adopt db1.example
  primacy cluster adopt 10.0.0.1:5432 --name orders --instance 10.0.0.3:5440 --yes")]
    Adopt(Adopt),
    /// How much a cluster matters when more lose their primaries than are given a new one at once: the greater first
    ///
    /// How many at once, max_concurrent_recoveries in the configuration of the peers says.
    #[command(before_long_help = "Examples:
  primacy cluster priority orders 10
  primacy cluster priority reports -10
  primacy cluster priority orders 0                 as at the beginning")]
    Priority {
        /// Its name
        name: String,
        /// From -100 to 100
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i16).range(-100..=100))]
        priority: i16,
    },
    /// Look after a cluster without agents no longer; no database is touched
    Forget {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NewDurability {
    /// The cluster
    pub name: String,
    /// `quorum:K`: a commit waits for K standbys; or `async`: for none
    pub durability: String,
    /// Why; the history keeps it
    #[arg(long)]
    pub reason: Option<String>,
    /// Who asks
    #[arg(long, env = "USER", default_value = "somebody")]
    pub owner: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NewCluster {
    /// Its name
    pub name: String,
    /// `quorum:K`, a commit waits for K standbys, or `async`
    #[arg(long, default_value = "quorum:1")]
    pub durability: String,
    /// `strict`: a failover also waits until nobody can read from the old primary: 2.5 s, between distant peers 10.5 s, longer while
    /// its agent is stopped on purpose
    #[arg(long, default_value = "fast", value_parser = ["fast", "strict"])]
    pub reads: String,
    /// An instance: NAME=HOST:PORT/HEALTHPORT@ZONE
    #[arg(long, required = true)]
    pub member: Vec<String>,
    /// The one that is initialised; the first member if left out
    #[arg(long)]
    pub first: Option<String>,
}
