//! What follows from a finding over SQL: what Primacy does about it by itself, or what a person should do.

use super::SqlFinding;
use crate::decision::turns::Queue;

impl SqlFinding {
    /// What Primacy does about it, or a person should: in one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            SqlFinding::DeadPrimary { .. } | SqlFinding::NoPrimary => {
                "Primacy promotes a standby as soon as none hears the primary and those that it reaches prove that nothing \
                 acknowledged is missing; what it waits for is in the status"
            }
            SqlFinding::UnreachablePrimary { .. } => {
                "Primacy acts only if a majority of peers finds nobody there; if it serves, look at the network between the \
                 leader and it, and until that is mended have a peer lead that reaches it: primacy peers transfer-leader PEER"
            }
            SqlFinding::MultiplePrimaries { .. } => {
                "stop all but the recorded one: nothing can be done over SQL, and one that ran beside it is never taken for the \
                 primary; to keep another one, forget the cluster and adopt it from there"
            }
            SqlFinding::DeposedPrimary { .. } => {
                "stop it, and copy it anew from the primary; pg_rewind does not see a branch whose timeline has the number of \
                 the primary's"
            }
            SqlFinding::AllStandbyNotReplicating { .. }
            | SqlFinding::StandbyNotReplicating { .. } => {
                "Primacy gives back a source that it took away itself; else look at the server's log, at its primary_conninfo, \
                 and whether its source lets it in"
            }
            SqlFinding::Refuses { .. } => {
                "primacy preflight says of a server what its peers lack there; until the leader can look at it, it counts for \
                 nothing. If primacy peers warns of the leader alone, correct [postgresql] in its configuration, and have another \
                 peer lead meanwhile: primacy peers transfer-leader"
            }
            SqlFinding::PrimaryReadOnly { .. } => {
                "if nobody wants that: ALTER SYSTEM RESET default_transaction_read_only, then SELECT pg_reload_conf()"
            }
            SqlFinding::PrimaryBlockedOnSync { .. } => {
                "commits wait until enough of the standbys in synchronous_standby_names stream: bring these back, or name there \
                 those that stream, and call pg_reload_conf()"
            }
            SqlFinding::RuleUnclear { .. } => {
                "name the standbys in synchronous_standby_names by their application_name, each with one of its own"
            }
            SqlFinding::StalledPrimary { .. } => {
                "look at its disk; over SQL nothing replaces a primary that still answers, because it could not be kept from \
                 acknowledging once its disk goes on: stop it, and another one is promoted"
            }
            SqlFinding::WeakCommits { .. } => {
                "set synchronous_commit = on for these, or accept that a failover may lose what they wrote"
            }
            SqlFinding::DivergedStandby { at: Some(_), .. } => {
                "stop it, and copy it anew from the primary, or rewind it with pg_rewind; over SQL neither can be done"
            }
            SqlFinding::DivergedStandby { at: None, .. } => {
                "copy it anew from the primary with pg_basebackup; it counts again once its data was replaced, which only peers \
                 that may call pg_stat_file see, and not of a copy that keeps the times of its files. pg_rewind does not see a \
                 branch whose timeline has the number of the primary's"
            }
            SqlFinding::UnprovenCopy { .. } => {
                "it counts as soon as it was seen to have streamed as far as the primary was; if it does not, look at its log"
            }
            SqlFinding::UnusedSlots { .. } => {
                "SELECT pg_drop_replication_slot(slot) there, unless something beside this cluster needs it"
            }
            SqlFinding::StandbyBehindBeyondLimit { .. } => {
                "look for replay that is paused or waits for a long query there, a slow disk, or a slow network"
            }
            SqlFinding::RecoveryBlocked { .. } => {
                "start whoever it names, or the old primary: Primacy goes on by itself as soon as the cause is gone. If they are \
                 gone for good, docs/without-agents.md says what is left to do"
            }
            SqlFinding::FailoverImpossible { .. } => {
                "while this lasts Primacy watches, and promotes nobody when the primary dies"
            }
            SqlFinding::Unprepared { .. } => {
                "primacy preflight says of that server what mends each; this ends within a minute of it"
            }
            SqlFinding::WaitsForTurn { .. } => Queue::REMEDY,
            SqlFinding::FailoverBlocked { .. } => {
                "look why the primary fails so often; primacy ack lets the failover proceed, and so does the end of the block period"
            }
            SqlFinding::Paused { .. } => {
                "nothing is begun by itself until it ends, in the status; primacy resume ends it now"
            }
        }
    }
}
