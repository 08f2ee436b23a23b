//! What can be typed to change the peers, and to save what they know.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PeersVerb {
    /// The recorded state in a file
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
    #[command(flatten)]
    Change(ChangePeers),
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SnapshotVerb {
    /// Save what a stopped peer knows, down to the last entry of its log
    #[command(before_long_help = "Examples:
  primacy peers snapshot save /backup/peers-1 --folder /var/lib/primacy/peer")]
    Save {
        /// Where to; a file that is there is left alone
        file: PathBuf,
        /// The `folder` of the peer's configuration
        #[arg(long)]
        folder: PathBuf,
    },
    /// Begin the group anew with this peer alone: the last resort when a majority of the peers is gone for good
    #[command(
        before_long_help = "Stop all peers that still run first, for good: they would go on as the old group.\n\n\
Every epoch rises above all that was granted before, so every cluster elects its primary anew. Changes that this\n\
peer did not know are lost. The others come back as new peers: empty their folders, and let each join with a token\n\
of `primacy peers add`.\n\n\
Examples:
  primacy peers snapshot restore --force-new-cluster --config /etc/primacy/server.toml
  primacy peers snapshot restore /backup/peers-1 --config /etc/primacy/server.toml"
    )]
    Restore {
        /// What was saved; the `folder` of the configuration must hold no peer
        #[arg(required_unless_present = "force_new_cluster")]
        file: Option<PathBuf>,
        /// Begin with what this stopped peer knows itself; its files are put aside
        #[arg(long, conflicts_with = "file")]
        force_new_cluster: bool,
        /// The peer's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a saved file, and show what is in it
    Verify {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ChangePeers {
    /// Invite a new peer: print the token with which it joins, once, within an hour
    Add {
        /// Where it will answer, host:port, as the other peers reach it
        address: String,
    },
    /// Give a peer that has caught up a vote
    Promote {
        /// Its number
        peer: u64,
    },
    /// Remove a peer for ever, or withdraw an invitation; refused if the others could not go on
    Remove {
        /// Its number
        peer: u64,
    },
    /// Have another peer lead
    TransferLeader {
        /// Its number; the one that is most up to date if left out
        peer: Option<u64>,
    },
}
