//! What the checkers must know of a round: what this version promises, and what its README says it does not.

use jepsen::history::{Durability, Setup};
use jepsen::workload::bank;

use super::plan::RoundPlan;
use crate::nemesis::fault::Fault;
use crate::nemesis::plan::Strike;

/// Until its lease ends, an isolated primary of a quorum cluster answers reads with old data.
const LEASE_MS: u64 = 10_000;

/// The primary of an async cluster whose whole host was frozen may acknowledge until its leash has run and killed it.
const RESUMED_MS: u64 = 300;

/// Of a round.
pub fn setup(plan: &RoundPlan) -> Setup {
    let durability = match plan.durability.as_str() {
        "async" => Durability::Async,
        _ => Durability::Quorum,
    };
    let may_isolate = plan.strikes.iter().any(|it| may_isolate(it.fault));
    let is_strict = durability == Durability::Async || !may_isolate;
    let freezes = |it: &Strike| matches!(it.fault, Fault::Freeze | Fault::ZoneLoss);
    let may_resume = durability == Durability::Async && plan.strikes.iter().any(freezes);
    let longest = plan.strikes.iter().map(|strike| strike.lasts_ms).max();
    let expected = plan.expectations();
    Setup {
        durability,
        // A stale answer is what the peer last saw, however long it has been cut off or frozen.
        staleness_ms: expected.known_ms + longest.unwrap_or(0),
        stale_reads_ms: if is_strict { 0 } else { LEASE_MS },
        resumed_ms: if may_resume { RESUMED_MS } else { 0 },
        superseded_ms: expected.superseded_ms,
        quiet: plan.quiet_ms > 0,
        noise: plan.noise_ms > 0,
        total: Some(bank::TOTAL),
        ..Setup::default()
    }
}

/// Whether a primary may live on that does not hear of its successor, or cannot write down that it does.
fn may_isolate(fault: Fault) -> bool {
    match fault {
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
        | Fault::Noise
        | Fault::DiskFull
        | Fault::DiskStall => true,
        Fault::Kill(_)
        | Fault::KillNode
        | Fault::ClockAhead
        | Fault::ClockBehind
        | Fault::ClockDrift
        | Fault::PowerCut
        | Fault::FsyncErrors
        | Fault::RollingPeers
        | Fault::RollingAgents
        | Fault::MostPeersDown
        | Fault::AllPeersDown
        | Fault::MembershipChurn => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::{Wanted, rounds};

    #[test]
    fn reads_are_strict_but_from_an_isolated_primary_of_a_quorum_cluster() {
        let check = |durability: &str, fault: Fault, expected| {
            let found = rounds(&Wanted {
                seed: 1,
                rounds: 1,
                strikes: 1,
                faults: vec![fault.into()],
                nodes: 3,
                apart_ms: 0,
                quiet_ms: 0,
                noise_ms: 0,
                durability: durability.parse().unwrap(),
            });
            let setup = setup(&found[0]);
            assert_eq!(setup.stale_reads_ms, expected, "{durability}");
            let lasts = found[0].strikes[0].lasts_ms;
            assert_eq!(setup.staleness_ms, 5_000 + lasts);
        };
        check("quorum:1", Fault::Isolate, 10_000);
        check("quorum:1", Fault::DiskFull, 10_000);
        check("quorum:1", Fault::PowerCut, 0);
        check("async", Fault::Isolate, 0);
        check("async", Fault::Freeze, 0);
    }
}
