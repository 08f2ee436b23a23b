//! Trials on hosts of their own: the client outside the zones of the primary and the leader, a prober for each node in
//! the node's zone, so that an isolated primary keeps the sessions of its own clients.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::clock::{self, Moment};
use crate::cluster::{STABLE, View};
use crate::hosts::process::Part;
use crate::hosts::{Hosts, Settings};
use crate::nemesis::fault::Fault as Nemesis;
use crate::nemesis::ground::{Ground, Undo};
use crate::nemesis::plan::Strike;
use crate::nemesis::target::Target;
use crate::nemesis::{Outcome as Installed, trial::bystander};

use super::faults::Fault;
use super::spread_load::SpreadLoad;
use super::trial::{
    Aftermath, HEALED_WITHIN, Outcome, STREAMS_WITHIN, Struck, Trial, WARM_WITHIN, WRITES_WITHIN,
    is_warm, judge, until_the_fault,
};

const POLL: Duration = Duration::from_millis(20);

/// Hosts that trials share as long as they are well. Dropping it takes them down.
#[derive(Debug)]
pub struct Stage {
    settings: Settings,
    ground: Option<Ground>,
}

impl Stage {
    /// Nothing is up yet.
    pub fn new(settings: Settings) -> Stage {
        Stage {
            settings,
            ground: None,
        }
    }

    /// Runs one trial of `fault`, on the cluster that is there if it is healthy, else on a fresh one.
    pub fn run(&mut self, fault: Fault) -> Trial {
        match self.set_up(fault) {
            Ok((load, struck, undo)) => match &mut self.ground {
                Some(ground) => Trial::Measured(Box::new(observe(ground, load, &struck, undo))),
                None => Trial::NotSetUp(anyhow::anyhow!("nothing is up")),
            },
            Err(error) => Trial::NotSetUp(error),
        }
    }

    /// Copies the logs of all hosts.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep_evidence(&self, folder: &Path) -> anyhow::Result<()> {
        match &self.ground {
            Some(ground) => hosts(ground)?.keep_logs(folder),
            None => Ok(()),
        }
    }

    /// Takes down whatever is up.
    pub fn down(&mut self) {
        self.ground = None;
    }

    fn set_up(&mut self, fault: Fault) -> anyhow::Result<(SpreadLoad, Struck, Vec<Undo>)> {
        let is_healed = |view: &View| view.is_healed();
        let is_well = self
            .ground
            .as_ref()
            .is_some_and(|up| stable_since(up, is_healed, HEALED_WITHIN).is_ok());
        if !is_well {
            self.ground = None;
            let up = Hosts::up(&self.settings)?;
            self.ground = Some(Ground::Hosts(Box::new(up)));
        }
        let ground = self.ground.as_mut().context("nothing is up")?;
        stable_since(ground, is_healed, HEALED_WITHIN)?;
        let load = SpreadLoad::start(hosts(ground)?, &bystander(hosts(ground)?)?)?;
        let is_warm = wait(WARM_WITHIN, || is_warm(&load.recorder));
        ensure!(is_warm, "the writers get nothing acknowledged");
        std::thread::sleep(until_the_fault());
        let view = hosts(ground)?.view()?;
        ensure!(view.is_healed(), "the cluster is not healthy under load");
        let node = view.primary.clone().context("there is no primary")?;
        let blows = blows(fault, &node, hosts(ground)?)?;
        let began = clock::now();
        let mut undo = vec![];
        for (strike, host) in blows {
            let (outcome, heals) = ground.install(&strike, &host);
            undo.push(heals);
            if outcome != Installed::Installed {
                bail!("{} of {host}: {outcome}", strike.fault.name());
            }
        }
        let struck = Struck {
            fault,
            node,
            epoch: view.epoch,
            began,
            ended: clock::now(),
        };
        Ok((load, struck, undo))
    }
}

fn hosts(ground: &Ground) -> anyhow::Result<&Hosts> {
    match ground {
        Ground::Hosts(hosts) => Ok(hosts),
        Ground::Loopback(_) => bail!("there are no hosts on loopback"),
    }
}

/// What is installed where.
fn blows(fault: Fault, primary: &str, hosts: &Hosts) -> anyhow::Result<Vec<(Strike, String)>> {
    let strike = |fault, target| Strike {
        at_ms: 0,
        lasts_ms: 0,
        fault,
        target,
    };
    let on_primary = |fault| (strike(fault, Target::Primary), primary.to_owned());
    Ok(match fault {
        Fault::Postmaster => vec![on_primary(Nemesis::Kill(Part::Postmaster))],
        Fault::Node => vec![on_primary(Nemesis::KillNode)],
        Fault::Freeze => vec![on_primary(Nemesis::Freeze)],
        Fault::Partition => vec![on_primary(Nemesis::PrimaryWithClients)],
        Fault::NodeAndLeader => {
            let leader = strike(Nemesis::Kill(Part::Peer), Target::Leader);
            let leader = (leader, hosts.leader()?);
            // The leader first: one signal, while it takes milliseconds until every process of a node is gone.
            vec![leader, on_primary(Nemesis::KillNode)]
        }
    })
}

fn observe(ground: &mut Ground, load: SpreadLoad, struck: &Struck, undo: Vec<Undo>) -> Outcome {
    let mut errors = vec![];
    std::thread::sleep(struck.fault.lasts());
    let returned = match struck.fault {
        // Only Primacy brings it back.
        Fault::Postmaster => struck.began,
        Fault::Node | Fault::NodeAndLeader | Fault::Freeze | Fault::Partition => clock::now(),
    };
    for heals in undo {
        errors.extend(ground.heal(heals).err().map(|error| format!("{error:#}")));
    }
    if !wait(WRITES_WITHIN, || struck.is_survived(&load.recorder)) {
        errors.push("no write within 60 s".to_owned());
    }
    let streams = stable_since(ground, |view| struck.is_over(view), STREAMS_WITHIN);
    let rejoin = match streams {
        Ok(since) => Some(since.ms_since(returned)),
        Err(error) => {
            errors.push(format!("{error:#}"));
            None
        }
    };
    let recorder = load.recorder.clone();
    let aftermath = Aftermath {
        returned,
        rejoin,
        errors,
    };
    judge(&recorder, load.finish(), struck, aftermath)
}

fn wait(within: Duration, is_so: impl Fn() -> bool) -> bool {
    let began = clock::now();
    while clock::now().since(began) < within {
        if is_so() {
            return true;
        }
        std::thread::sleep(POLL);
    }
    false
}

/// Waits until `is_so` holds for [`STABLE`]; answers since when.
fn stable_since(
    ground: &Ground,
    is_so: impl Fn(&View) -> bool,
    within: Duration,
) -> anyhow::Result<Moment> {
    let hosts = hosts(ground)?;
    let began = clock::now();
    let mut since = None;
    let mut last = None;
    while clock::now().since(began) < within {
        let asked = clock::now();
        let view = hosts.view().ok();
        since = match &view {
            Some(view) if is_so(view) => since.or(Some(asked)),
            Some(_) | None => None,
        };
        last = view.or(last);
        if let Some(since) = since
            && clock::now().since(since) >= STABLE
        {
            return Ok(since);
        }
        std::thread::sleep(POLL);
    }
    bail!("not stable within {} s: {last:?}", within.as_secs())
}
