//! Trials on loopback: `primacy dev` and signals.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::cluster::Dev;
use crate::load::{Load, Probing};

use super::faults::Fault;
use super::trial::{
    Aftermath, HEALED_WITHIN, Outcome, STREAMS_WITHIN, Struck, Trial, WARM_WITHIN, WRITES_WITHIN,
    is_warm, judge, until_the_fault,
};

const POLL: Duration = Duration::from_millis(20);

/// Runs one trial of `fault`, on the cluster that is there if it is healthy, else on a fresh one.
pub async fn run(dev: &mut Dev, fault: Fault) -> Trial {
    match set_up(dev, fault).await {
        Ok((load, struck, leader)) => {
            let outcome = observe(dev, load, &struck, leader.as_deref()).await;
            Trial::Measured(Box::new(outcome))
        }
        Err(error) => Trial::NotSetUp(error),
    }
}

/// The load, the fault, and the leader if that was struck as well.
async fn set_up(dev: &mut Dev, fault: Fault) -> anyhow::Result<(Load, Struck, Option<String>)> {
    let is_healed = dev.targets().is_ok()
        && dev
            .stable_since(|view| view.is_healed(), HEALED_WITHIN)
            .await
            .is_ok();
    if !is_healed {
        dev.up().await?;
        dev.stable_since(|view| view.is_healed(), HEALED_WITHIN)
            .await?;
    }
    let load = Load::start(dev.targets()?, Probing::On).await?;
    let warm = async {
        while !is_warm(&load.recorder) {
            sleep(POLL).await;
        }
    };
    timeout(WARM_WITHIN, warm)
        .await
        .context("the writers get nothing acknowledged")?;
    sleep(until_the_fault()).await;
    let view = dev.view().await?;
    ensure!(view.is_healed(), "the cluster is not healthy under load");
    let node = view.primary.clone().context("there is no primary")?;
    let leader = match fault {
        Fault::NodeAndLeader => Some(dev.leader().await?),
        Fault::Postmaster | Fault::Node | Fault::Freeze | Fault::Partition => None,
    };
    let began = clock::now();
    strike(dev, fault, &node, leader.as_deref()).await?;
    let struck = Struck {
        fault,
        node,
        epoch: view.epoch,
        began,
        ended: clock::now(),
    };
    Ok((load, struck, leader))
}

async fn strike(
    dev: &Dev,
    fault: Fault,
    primary: &str,
    leader: Option<&str>,
) -> anyhow::Result<()> {
    match (fault, leader) {
        (Fault::Postmaster, _) => dev.act(&["kill", primary, "--only", "postmaster"]).await,
        (Fault::Freeze, _) => dev.act(&["freeze", primary]).await,
        (Fault::Node | Fault::NodeAndLeader, None) => dev.act(&["kill", primary]).await,
        (Fault::Node | Fault::NodeAndLeader, Some(leader)) => {
            let (node, leader) = (["kill", primary], ["kill", leader]);
            tokio::try_join!(dev.act(&node), dev.act(&leader)).map(|_| ())
        }
        (Fault::Partition, _) => bail!("no signal cuts links"),
    }
}

/// Waits as long as the fault lasts and lets the node return; answers when that began. Whom only Primacy brings
/// back returns with the fault itself.
async fn heal(dev: &Dev, struck: &Struck, leader: Option<&str>) -> anyhow::Result<clock::Moment> {
    sleep(struck.fault.lasts()).await;
    let returned = clock::now();
    match struck.fault {
        Fault::Postmaster | Fault::Partition => return Ok(struck.began),
        Fault::Freeze => dev.act(&["thaw", &struck.node]).await?,
        Fault::Node | Fault::NodeAndLeader => {
            dev.act(&["start", &struck.node]).await?;
            if let Some(leader) = leader {
                dev.act(&["start", leader]).await?;
            }
        }
    }
    Ok(returned)
}

async fn observe(dev: &Dev, load: Load, struck: &Struck, leader: Option<&str>) -> Outcome {
    let mut errors = vec![];
    let returned = match heal(dev, struck, leader).await {
        Ok(returned) => returned,
        Err(error) => {
            errors.push(format!("{error:#}"));
            clock::now()
        }
    };
    let survived = async {
        while !struck.is_survived(&load.recorder) {
            sleep(POLL).await;
        }
    };
    if timeout(WRITES_WITHIN, survived).await.is_err() {
        errors.push("no write within 60 s".to_owned());
    }
    let streams = dev.stable_since(|view| struck.is_over(view), STREAMS_WITHIN);
    let rejoin = match streams.await {
        Ok(since) => Some(since.ms_since(returned)),
        Err(error) => {
            errors.push(format!("{error:#}"));
            None
        }
    };
    let recorder = load.recorder.clone();
    let found = load.finish().await.map(|(_, rows)| rows);
    let aftermath = Aftermath {
        returned,
        rejoin,
        errors,
    };
    judge(&recorder, found, struck, aftermath)
}
