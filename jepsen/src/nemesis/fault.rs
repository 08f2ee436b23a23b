//! Every fault by name: what may strike it, and for how long.

use serde::Serialize;

use super::target::Target;
use crate::expectations::Expectations;
use crate::hosts::process::Part;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL of a part.
    Kill(Part),
    /// SIGKILL of every process of a node.
    KillNode,
    /// SIGSTOP of a part, later SIGCONT.
    Pause(Part),
    /// Every process of a host stops at once.
    Freeze,
    /// A host reaches nobody and nobody reaches it.
    Isolate,
    /// Nobody hears a host, and it hears everybody.
    Mute,
    /// A host hears nobody, and everybody hears it.
    Deaf,
    /// Each peer and node reaches a majority of them, no two the same.
    Ring,
    /// The leader's zone reaches nobody outside it.
    LeaderInMinority,
    /// The primary reaches the clients of its zone and nobody else.
    PrimaryWithClients,
    /// The primary, a standby and the clients of the primary's zone reach nobody else.
    PrimaryWithStandby,
    /// The primary, the leader and the clients of the primary's zone reach nobody else.
    PrimaryWithLeader,
    /// Every host of a zone is dark and frozen.
    ZoneLoss,
    /// 30 to 50 ms on each link of a host, and frames overtake each other.
    SlowLinks,
    /// A twentieth of the frames on each link of a host is lost, a hundredth doubled.
    LossyLinks,
    /// The wall clock is an hour ahead, later right again.
    ClockAhead,
    /// The wall clock is an hour behind, later right again.
    ClockBehind,
    /// The wall clock runs half as fast again.
    ClockDrift,
    /// A host loses power: what was not synced is gone.
    PowerCut,
    /// No byte is free on a host's disk.
    DiskFull,
    /// Whoever writes to a host's disk waits.
    DiskStall,
    /// A host's program cannot sync: PostgreSQL on a node, Primacy on a peer.
    FsyncErrors,
    /// Each peer is stopped and started, one after the other.
    RollingPeers,
    /// Each agent is stopped and started, one after the other.
    RollingAgents,
    /// Two of three peers are dead.
    MostPeersDown,
    /// All peers are dead.
    AllPeersDown,
    /// Members come and go.
    MembershipChurn,
    /// A fifth of the frames on every link is lost, and the processors are taken: no reason to do anything.
    Noise,
}

const DATABASES: &[Target] = &[Target::Primary, Target::Standby(0), Target::Standby(1)];
const PEERS: &[Target] = &[Target::Leader, Target::Follower(0)];
const MACHINES: &[Target] = &[
    Target::Primary,
    Target::Standby(0),
    Target::Leader,
    Target::Follower(1),
];

impl Fault {
    /// All of them.
    pub const ALL: &[Fault] = &[
        Fault::Kill(Part::Postmaster),
        Fault::Kill(Part::Postgres),
        Fault::Kill(Part::Agent),
        Fault::Kill(Part::Leash),
        Fault::Kill(Part::Peer),
        Fault::KillNode,
        Fault::Pause(Part::Postmaster),
        Fault::Pause(Part::Postgres),
        Fault::Pause(Part::Agent),
        Fault::Pause(Part::Leash),
        Fault::Pause(Part::Peer),
        Fault::Freeze,
        Fault::Isolate,
        Fault::Mute,
        Fault::Deaf,
        Fault::Ring,
        Fault::LeaderInMinority,
        Fault::PrimaryWithClients,
        Fault::PrimaryWithStandby,
        Fault::PrimaryWithLeader,
        Fault::ZoneLoss,
        Fault::SlowLinks,
        Fault::LossyLinks,
        Fault::ClockAhead,
        Fault::ClockBehind,
        Fault::ClockDrift,
        Fault::PowerCut,
        Fault::DiskFull,
        Fault::DiskStall,
        Fault::FsyncErrors,
        Fault::RollingPeers,
        Fault::RollingAgents,
        Fault::MostPeersDown,
        Fault::AllPeersDown,
        Fault::MembershipChurn,
        Fault::Noise,
    ];

    /// Its name, as it is typed and printed.
    pub fn name(self) -> String {
        let part = |part: Part| format!("{part:?}").to_lowercase();
        match self {
            Fault::Kill(what) => format!("kill-{}", part(what)),
            Fault::Pause(what) => format!("pause-{}", part(what)),
            Fault::KillNode => "kill-node".to_owned(),
            Fault::Freeze => "freeze".to_owned(),
            Fault::Isolate => "isolate".to_owned(),
            Fault::Mute => "mute".to_owned(),
            Fault::Deaf => "deaf".to_owned(),
            Fault::Ring => "ring".to_owned(),
            Fault::LeaderInMinority => "leader-in-minority".to_owned(),
            Fault::PrimaryWithClients => "primary-with-clients".to_owned(),
            Fault::PrimaryWithStandby => "primary-with-standby".to_owned(),
            Fault::PrimaryWithLeader => "primary-with-leader".to_owned(),
            Fault::ZoneLoss => "zone-loss".to_owned(),
            Fault::SlowLinks => "slow-links".to_owned(),
            Fault::LossyLinks => "lossy-links".to_owned(),
            Fault::ClockAhead => "clock-ahead".to_owned(),
            Fault::ClockBehind => "clock-behind".to_owned(),
            Fault::ClockDrift => "clock-drift".to_owned(),
            Fault::PowerCut => "power-cut".to_owned(),
            Fault::DiskFull => "disk-full".to_owned(),
            Fault::DiskStall => "disk-stall".to_owned(),
            Fault::FsyncErrors => "fsync-errors".to_owned(),
            Fault::RollingPeers => "rolling-peers".to_owned(),
            Fault::RollingAgents => "rolling-agents".to_owned(),
            Fault::MostPeersDown => "most-peers-down".to_owned(),
            Fault::AllPeersDown => "all-peers-down".to_owned(),
            Fault::MembershipChurn => "membership-churn".to_owned(),
            Fault::Noise => "noise".to_owned(),
        }
    }

    /// The fault of that name.
    pub fn named(name: &str) -> Option<Fault> {
        Fault::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == name)
    }

    /// Whom it may strike.
    pub fn targets(self) -> &'static [Target] {
        match self {
            Fault::Kill(Part::Peer) | Fault::Pause(Part::Peer) => PEERS,
            // An agent starts its leash with the first lease: a standby may have none.
            Fault::Kill(Part::Leash) | Fault::Pause(Part::Leash) => &[Target::Primary],
            Fault::Kill(_) | Fault::KillNode | Fault::Pause(_) => DATABASES,
            Fault::Freeze
            | Fault::Isolate
            | Fault::Mute
            | Fault::Deaf
            | Fault::SlowLinks
            | Fault::LossyLinks
            | Fault::ClockAhead
            | Fault::ClockBehind
            | Fault::ClockDrift
            | Fault::PowerCut
            | Fault::DiskFull
            | Fault::DiskStall
            | Fault::FsyncErrors => MACHINES,
            Fault::LeaderInMinority => &[Target::Leader],
            Fault::PrimaryWithClients | Fault::PrimaryWithStandby | Fault::PrimaryWithLeader => {
                &[Target::Primary]
            }
            Fault::ZoneLoss => &[Target::Primary, Target::Leader],
            Fault::Ring
            | Fault::RollingPeers
            | Fault::RollingAgents
            | Fault::MostPeersDown
            | Fault::AllPeersDown
            | Fault::MembershipChurn
            | Fault::Noise => &[Target::Everybody],
        }
    }

    /// Whether the hosts must have clocks that can be set wrong.
    pub fn needs_clocks(self) -> bool {
        matches!(
            self,
            Fault::ClockAhead | Fault::ClockBehind | Fault::ClockDrift
        )
    }

    /// The shortest and the longest time that it lasts, in milliseconds.
    pub fn lasts_ms(self, expected: &Expectations) -> (u64, u64) {
        match self {
            Fault::Kill(_) | Fault::KillNode | Fault::PowerCut => expected.killed_for_ms,
            Fault::RollingPeers | Fault::RollingAgents | Fault::MembershipChurn => (0, 0),
            Fault::MostPeersDown | Fault::AllPeersDown => expected.peers_gone_for_ms,
            Fault::Pause(_)
            | Fault::Freeze
            | Fault::Isolate
            | Fault::Mute
            | Fault::Deaf
            | Fault::Ring
            | Fault::LeaderInMinority
            | Fault::PrimaryWithClients
            | Fault::PrimaryWithStandby
            | Fault::PrimaryWithLeader
            | Fault::ZoneLoss
            | Fault::SlowLinks
            | Fault::LossyLinks
            | Fault::ClockAhead
            | Fault::ClockBehind
            | Fault::ClockDrift
            | Fault::DiskFull
            | Fault::DiskStall
            | Fault::FsyncErrors
            | Fault::Noise => expected.struck_for_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectations::Network;

    #[test]
    fn every_fault_is_found_by_its_name_and_strikes_somebody() {
        for fault in Fault::ALL {
            assert_eq!(Fault::named(&fault.name()), Some(*fault));
            assert!(!fault.targets().is_empty());
            for network in [Network::Lan, Network::Wan] {
                let (shortest, longest) = fault.lasts_ms(&network.expectations());
                assert!(shortest <= longest);
            }
        }
        assert_eq!(Fault::named("nothing"), None);
    }
}
