//! What follows from a finding: what Primacy does about it by itself, or what a person should do.

use super::{Death, Finding, Heard};
use crate::decision::turns::Queue;

impl Finding {
    /// In one sentence, for people.
    pub fn remedy(&self) -> &'static str {
        match self {
            Finding::NoPrimary => {
                "Primacy elects one as soon as enough instances promise; what it waits for is in the status"
            }
            Finding::MultiplePrimaries { .. } => {
                "agents stop whoever holds no lease; if it lasts, look at the agent of every instance but the recorded \
                 primary, and do not write to these"
            }
            Finding::DeadPrimary {
                death:
                    Death::Told {
                        has_the_data: false,
                        ..
                    },
                ..
            } => {
                "Primacy elects another one if its standbys hear nothing from it; see whose name that agent has in its \
                 configuration"
            }
            Finding::DeadPrimary { .. } => {
                "Primacy elects another one as soon as that can be proven to be safe; what it waits for is in the status"
            }
            Finding::DeadPrimaryAndSomeStandbys { .. } => {
                "Primacy does not act while a standby hears the primary, and cannot act without one that it reaches; bring \
                 the hosts of the standbys back, or their network"
            }
            Finding::DeadPrimaryWithoutStandbys { .. } => {
                "nobody could take its place: bring its host and its agent back"
            }
            Finding::UnreachablePrimary {
                heard: Heard::ByStandbys,
                ..
            } => {
                "Primacy does not act, because its standbys hear it, and asks them again; look at its agent and at the \
                 network between its host and the peers"
            }
            Finding::UnreachablePrimary { .. } => {
                "Primacy asks the other peers, and acts only if a majority does not hear it either; look at the network \
                 between its host and this peer"
            }
            Finding::UnresponsivePrimary { .. } => {
                "Primacy replaces it if that lasts and its standbys hear nothing from it; look at the load of its host"
            }
            Finding::StalledPrimary { .. } => {
                "Primacy replaces it if enough standbys have disks that work; repair its disk, or make room on it"
            }
            Finding::FailingDisk { .. } => {
                "repair its disk, or make room on it: until then it cannot take the place of the primary"
            }
            Finding::PrimaryBlockedOnSync { .. } => {
                "commits go on when enough standbys stream, which Primacy brings back by itself where it can; look at \
                 their hosts"
            }
            Finding::PrimaryReadOnly { .. } => {
                "if nobody wants that: ALTER SYSTEM RESET default_transaction_read_only, then SELECT pg_reload_conf()"
            }
            Finding::AllStandbyNotReplicating { .. } | Finding::StandbyNotReplicating { .. } => {
                "Primacy brings whoever it reaches back by itself; what it waits for is in the status; look at the hosts of \
                 those whose agents are silent"
            }
            Finding::DivergedStandby { .. } => {
                "Primacy rewinds or clones it, keeping its old data, as soon as no acknowledged commit can be lost by that"
            }
            Finding::StandbyBehindBeyondLimit { .. } => {
                "look for replay that is paused or waits for a long query there, a slow disk, or a slow network"
            }
            Finding::WeakCommits { .. } => {
                "set synchronous_commit = on for these, or accept that a failover may lose what they wrote"
            }
            Finding::FailoverBlocked { .. } => {
                "look why the primary fails so often; primacy ack lets the failover proceed, and so does the end of the block period"
            }
            Finding::WaitsForTurn { .. } => Queue::REMEDY,
            Finding::Paused { .. } => {
                "nothing is begun by itself until it ends, in the status; primacy resume ends it now; leases and fencing go on"
            }
        }
    }
}
