//! Faults: planned from a seed, installed on hosts, healed, and written down.
//!
//! Each kind is one small file with an [`Injection`]. What became of it is a value: `installed`, `skipped` with a
//! reason (nothing was changed), or `indeterminate` (perhaps some of it was done; it is healed all the same).

mod clocks;
mod company;
mod control_plane;
pub mod coverage;
mod disks;
pub mod fault;
mod freeze;
pub mod ground;
mod kill;
mod links;
pub mod loopback;
mod membership;
mod noise;
mod partition;
mod pause;
pub mod plan;
mod power;
mod rolling;
pub mod runner;
pub mod target;
pub mod trial;
mod zone;

use std::fmt;

use serde::Serialize;

use crate::clock::Moment;
use crate::hosts::Hosts;
use crate::net::plane::Unable;
use fault::Fault;
use target::Target;

/// What became of an attempt to install a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is there.
    Installed,
    /// It cannot be done here or now, and nothing was changed.
    Skipped(String),
    /// Nobody knows how much of it was done.
    Indeterminate(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Installed => write!(f, "installed"),
            Outcome::Skipped(why) => write!(f, "skipped: {why}"),
            Outcome::Indeterminate(why) => write!(f, "indeterminate: {why}"),
        }
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// What.
    pub fault: Fault,
    /// Whom the plan names.
    pub target: Target,
    /// Who that was; empty if nobody in particular.
    pub host: String,
    /// Just before.
    pub began: Moment,
    /// When it was complete.
    pub installed: Moment,
    /// What became of it.
    pub outcome: Outcome,
    /// When it was healed.
    pub healed: Option<Moment>,
    /// Why it could not be healed.
    pub trouble: Option<String>,
}

/// Why a fault is not there.
#[derive(Debug)]
enum Trouble {
    /// Nothing was changed.
    Impossible(String),
    /// Something may have been changed.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Trouble {
        let error = error.into();
        match error.downcast_ref::<Unable>() {
            Some(unable) => Trouble::Impossible(unable.to_string()),
            None => Trouble::Failed(error),
        }
    }
}

impl From<Result<(), Trouble>> for Outcome {
    fn from(result: Result<(), Trouble>) -> Outcome {
        match result {
            Ok(()) => Outcome::Installed,
            Err(Trouble::Impossible(why)) => Outcome::Skipped(why),
            Err(Trouble::Failed(error)) => Outcome::Indeterminate(format!("{error:#}")),
        }
    }
}

/// A fault on certain hosts.
trait Injection: fmt::Debug + Send {
    /// Does it.
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble>;

    /// Undoes it; whatever it killed is started again.
    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()>;
}

/// The injection of `fault` on `host`.
fn injection(fault: Fault, host: &str) -> Box<dyn Injection> {
    let host = host.to_owned();
    match fault {
        Fault::Kill(part) => Box::new(kill::Kill {
            host,
            part: Some(part),
        }),
        Fault::KillNode => Box::new(kill::Kill { host, part: None }),
        Fault::Pause(part) => Box::new(pause::Pause { host, part }),
        Fault::Freeze => Box::new(freeze::Freeze { host }),
        Fault::Isolate => Box::new(partition::Partition::isolate(host)),
        Fault::Mute => Box::new(partition::Partition::mute(host)),
        Fault::Deaf => Box::new(partition::Partition::deaf(host)),
        Fault::Ring => Box::new(partition::Partition::ring()),
        Fault::LeaderInMinority => Box::new(partition::Partition::zone(host)),
        Fault::PrimaryWithClients => Box::new(partition::Partition::with_clients(host)),
        Fault::PrimaryWithStandby => Box::new(company::Company::with_standby(host)),
        Fault::PrimaryWithLeader => Box::new(company::Company::with_leader(host)),
        Fault::ZoneLoss => Box::new(zone::ZoneLoss { host }),
        Fault::SlowLinks => Box::new(links::BadLinks::slow(host)),
        Fault::LossyLinks => Box::new(links::BadLinks::lossy(host)),
        Fault::ClockAhead => Box::new(clocks::WrongClock::ahead(host)),
        Fault::ClockBehind => Box::new(clocks::WrongClock::behind(host)),
        Fault::ClockDrift => Box::new(clocks::WrongClock::drifting(host)),
        Fault::PowerCut => Box::new(power::PowerCut { host }),
        Fault::DiskFull => Box::new(disks::DiskFull { host }),
        Fault::DiskStall => Box::new(disks::DiskStall { host }),
        Fault::FsyncErrors => Box::new(disks::FsyncErrors { host }),
        Fault::RollingPeers => Box::new(rolling::Peers),
        Fault::RollingAgents => Box::new(rolling::Agents),
        Fault::MostPeersDown => Box::new(control_plane::PeersDown { left: 1 }),
        Fault::AllPeersDown => Box::new(control_plane::PeersDown { left: 0 }),
        Fault::MembershipChurn => Box::new(membership::Churn),
        Fault::Noise => Box::new(noise::Noise::default()),
    }
}
