//! What a peer is told when it starts, and the timing of a group.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    GroupId,
    error::StartError,
    transport::Transport,
    wire::{Addressee, MAX_APPEND_ENTRIES},
};

/// Everything a peer needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// This peer, unique in the group for ever: an id is never given to another peer or to an emptied folder.
    pub id: u64,
    /// The group; peers of another group are refused.
    pub group: GroupId,
    /// Which beginning of the group a new folder belongs to: 0 for its first members, [`Consensus::beginning`] of the
    /// others for a peer that is added. A folder that is marked keeps its own.
    ///
    /// [`Consensus::beginning`]: crate::Consensus::beginning
    pub beginning: u64,
    /// Where this peer keeps what it must not lose, under these names: `log`, `snapshot`, `identity`, `witness` (how far
    /// the log has come, beside it) and `granted` (the leases that it granted). All belong together: none is ever copied
    /// alone, or taken back. A restore leaves `before-…`, the files of before.
    pub folder: PathBuf,
    /// The first members, id to `host:port`, the same on every first member. Used when the group is born, for which
    /// all of them must be up; afterwards the log says who is a member, and only a peer whose folder is empty still
    /// asks them. A peer that is not among them waits to be added.
    pub members: BTreeMap<u64, String>,
    /// How fast the group notices and decides.
    pub timing: Timing,
    /// How the peers reach each other: [`Plain`](crate::Plain), or one that proves who is who.
    pub transport: Arc<dyn Transport>,
    /// A snapshot is taken after this many new entries. The log before it can then be dropped.
    pub snapshot_every: u64,
    /// So many entries before the snapshot are kept, for peers that are only a little behind.
    pub keep_before_snapshot: u64,
}

/// The timing of a group; the same on all its peers, which refuse each other's calls otherwise.
///
/// A leader that dies is replaced after `election_max` plus a random time between `election_min` and `election_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader shows that it lives; it must exceed a round trip.
    pub heartbeat: Duration,
    /// Shortest silence after which a follower stands for election.
    pub election_min: Duration,
    /// Longest such silence, and the length of the leader's lease.
    pub election_max: Duration,
    /// How long a leader without a majority stays silent, then tries again, in turn. Without it a leader that
    /// reaches only one peer keeps the others from electing (databendlabs/openraft#2080). At least twice
    /// `election_max`.
    pub quorum_loss_probe: Duration,
    /// Deadline for sending a whole snapshot.
    pub snapshot_transfer: Duration,
    /// How long [`propose`](crate::Consensus::propose) waits for its command to be applied.
    pub proposal: Duration,
}

impl Timing {
    /// For peers a few milliseconds apart: a new leader within 0.8 s. Below these figures two busy cores make a
    /// healthy leader lose its lease.
    pub const fn lan() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(400),
            quorum_loss_probe: Duration::from_millis(1000),
            snapshot_transfer: Duration::from_secs(10),
            proposal: Duration::from_secs(5),
        }
    }

    /// For peers up to 100 ms apart, there and back: a new leader within 4 s.
    pub const fn wan() -> Self {
        Self {
            heartbeat: Duration::from_millis(400),
            election_min: Duration::from_millis(1500),
            election_max: Duration::from_millis(2000),
            quorum_loss_probe: Duration::from_millis(5000),
            snapshot_transfer: Duration::from_secs(60),
            proposal: Duration::from_secs(20),
        }
    }
}

impl Config {
    /// Which calls are for this peer.
    pub(crate) fn addressee(&self) -> Addressee {
        Addressee {
            group: self.group,
            beginning: self.beginning,
            id: self.id,
            election_max: self.timing.election_max,
        }
    }

    /// The same in openraft's words.
    ///
    /// Three settings are about safety, and differ from openraft's defaults: `enable_leader_restore` off, because a
    /// leader that resumes after a restart with an older state gave stale linearizable reads; `enable_pre_vote` and
    /// `quorum_loss_probe_interval` on, so that a cut-off peer neither disturbs nor blocks the others.
    pub(crate) fn engine(&self) -> Result<openraft::Config, StartError> {
        let timing = self.timing;
        let engine = openraft::Config {
            cluster_name: self.group.to_string(),
            heartbeat_interval: millis(timing.heartbeat),
            election_timeout_min: millis(timing.election_min),
            election_timeout_max: millis(timing.election_max),
            quorum_loss_probe_interval: Some(millis(timing.quorum_loss_probe)),
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            install_snapshot_timeout: millis(timing.snapshot_transfer),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.keep_before_snapshot,
            // A learner or follower further behind than this gets a snapshot; must exceed the snapshot step.
            replication_lag_threshold: self.snapshot_every.max(5000),
            max_payload_entries: MAX_APPEND_ENTRIES,
            // How often a peer that cannot be reached is tried again.
            backoff: "50ms 50ms 100ms ...1s".to_owned(),
            ..openraft::Config::default()
        };
        engine
            .validate()
            .map_err(|error| StartError::Config(error.to_string()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
