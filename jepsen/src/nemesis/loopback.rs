//! Without root: three peers and three nodes on loopback by `primacy dev`, and signals as the only faults.

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::Outcome;
use super::fault::Fault;
use super::ground::Undo;
use super::target::Roles;
use crate::cluster::Dev;
use crate::hosts::Settings;
use crate::hosts::process::Part;

/// A `primacy dev` of its own. Dropping it takes it down.
#[derive(Debug)]
pub struct Loopback {
    dev: Dev,
    runtime: Runtime,
    missing: String,
}

impl Loopback {
    /// Starts it; `missing` is why there are no hosts. Its durability is quorum 1 whatever the settings say.
    ///
    /// # Errors
    /// It does not come up.
    pub fn up(settings: &Settings, missing: &[String]) -> anyhow::Result<Loopback> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let user = rustix::process::getuid().as_raw();
        let folder = PathBuf::from(format!("/tmp/primacy-faults-{user}"));
        let mut dev = Dev::new(settings.program.clone(), folder);
        runtime.block_on(dev.up())?;
        Ok(Loopback {
            dev,
            runtime,
            missing: missing.join(", "),
        })
    }

    /// What this is, and what it cannot show.
    pub fn describe(&self) -> String {
        format!(
            "signals on loopback with quorum 1, because this machine lacks {}: no network, disk or clock faults",
            self.missing
        )
    }

    /// The cluster itself.
    pub fn dev(&self) -> &Dev {
        &self.dev
    }

    /// Who has which role.
    pub fn roles(&self) -> Roles {
        let view = self.runtime.block_on(self.dev.view()).ok();
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Roles {
            primary: view.and_then(|view| view.primary),
            leader: self.runtime.block_on(self.dev.leader()).ok(),
            nodes: own(&["a", "b", "c"]),
            peers: own(&["p1", "p2", "p3"]),
        }
    }

    /// Installs what a signal can do.
    pub fn install(&self, fault: Fault, host: &str) -> (Outcome, Undo) {
        let Some((install, heal)) = verbs(fault, host) else {
            let why = format!("it needs {}", self.missing);
            return (Outcome::Skipped(why), Undo::Nothing);
        };
        let outcome = match self.act(&install) {
            Ok(()) => Outcome::Installed,
            Err(error) => Outcome::Indeterminate(format!("{error:#}")),
        };
        (outcome, heal.map_or(Undo::Nothing, Undo::Verb))
    }

    /// Runs a verb of `primacy dev`.
    ///
    /// # Errors
    /// It fails.
    pub fn act(&self, verb: &[String]) -> anyhow::Result<()> {
        let verb: Vec<_> = verb.iter().map(String::as_str).collect();
        self.runtime.block_on(self.dev.act(&verb))
    }

    /// Waits until nothing of a fault is left.
    ///
    /// # Errors
    /// It is not so in time.
    pub fn until_healed(&self, within: Duration) -> anyhow::Result<()> {
        let healed = self.dev.stable_since(|view| view.is_healed(), within);
        self.runtime.block_on(healed).map(|_| ())
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.runtime.block_on(self.dev.down());
    }
}

/// Whether signals alone do this to somebody.
pub fn is_possible(fault: Fault) -> bool {
    verbs(fault, "").is_some()
}

type Verb = Vec<String>;

/// The verbs of `primacy dev` that install and heal a fault; none if no signal does it.
fn verbs(fault: Fault, host: &str) -> Option<(Verb, Option<Verb>)> {
    let verb = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Verb>()
    };
    let start = || Some(verb(&["start", host]));
    let thaw = || Some(verb(&["thaw", host]));
    let part = |part: Part| match part {
        Part::Postmaster => Some("postmaster"),
        Part::Postgres => Some("postgres"),
        Part::Agent => Some("agent"),
        Part::Leash | Part::Peer => None,
    };
    match fault {
        Fault::KillNode | Fault::Kill(Part::Peer) => Some((verb(&["kill", host]), start())),
        Fault::Freeze | Fault::Pause(Part::Peer) => Some((verb(&["freeze", host]), thaw())),
        Fault::Kill(what) => {
            let kill = verb(&["kill", host, "--only", part(what)?]);
            let heal = if what == Part::Agent { start() } else { None };
            Some((kill, heal))
        }
        Fault::Pause(what) => Some((verb(&["freeze", host, "--only", part(what)?]), thaw())),
        Fault::Isolate
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
        | Fault::PowerCut
        | Fault::DiskFull
        | Fault::DiskStall
        | Fault::FsyncErrors
        | Fault::RollingPeers
        | Fault::RollingAgents
        | Fault::MostPeersDown
        | Fault::AllPeersDown
        | Fault::MembershipChurn
        | Fault::Noise => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_do_what_they_can() {
        let found = verbs(Fault::Kill(Part::Agent), "a").unwrap();
        assert_eq!(found.0, ["kill", "a", "--only", "agent"]);
        assert_eq!(found.1.unwrap(), ["start", "a"]);
        assert_eq!(verbs(Fault::Kill(Part::Postmaster), "a").unwrap().1, None);
        assert!(verbs(Fault::Kill(Part::Leash), "a").is_none());
        assert!(verbs(Fault::PowerCut, "a").is_none());
    }
}
