//! One trial: a healthy cluster under load, one fault, its healing, and the judgement.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::checker::two_writers::Freeze;
use crate::checker::{loss, outage, two_writers};
use crate::clock::{self, Moment};
use crate::cluster::Dev;
use crate::history::acknowledgement::Writer;
use crate::load::{Load, Probing};

use super::faults::{Fault, Struck};

const HEALED_WITHIN: Duration = Duration::from_secs(60);
const WARM_WITHIN: Duration = Duration::from_secs(20);
const WARM: Duration = Duration::from_secs(1);
/// How long the cluster has to recover before the trial counts as not recovered.
const WRITES_WITHIN: Duration = Duration::from_secs(60);
const STREAMS_WITHIN: Duration = Duration::from_secs(90);
/// How many missing ids of each writer are told.
const SHOWN: usize = 20;
/// After this, a primary that was restarted in its place counts as recovered too.
const NO_HANDOVER: Duration = Duration::from_secs(5);

/// A trial.
#[derive(Debug)]
pub enum Trial {
    /// The fault was done.
    Measured(Box<Outcome>),
    /// It could not be done.
    NotSetUp(anyhow::Error),
}

/// What one trial showed. Times in milliseconds; none if what ended it did not happen in time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Last acknowledgement before to first after, at the client.
    pub outage: Option<f64>,
    /// The same at the prober: without the client's way to the new primary.
    pub server_gap: Option<f64>,
    /// The client's longest gap after that.
    pub later_gap: Option<f64>,
    /// From the node's return until all members streamed on the new timeline, for 2 s at least.
    pub rejoin: Option<f64>,
    /// Rows acknowledged to the client, to the prober.
    pub acknowledged: [usize; 2],
    /// Rows acknowledged to the client, to the prober, and missing at the end; none if they could not be read.
    pub lost: Option<[usize; 2]>,
    /// The first of the missing ids.
    pub lost_ids: Vec<i64>,
    /// Rows that are there more than once.
    pub repeated: usize,
    /// For how long two nodes acknowledged writes.
    pub two_writable: f64,
    /// Acknowledgements beside another node's.
    pub stale: usize,
    /// Statements that a freeze caught after their commit was confirmed.
    pub confirmed_at_freeze: usize,
    /// What went wrong meanwhile.
    pub errors: Vec<String>,
}

impl Outcome {
    /// Whether nothing was lost, no two nodes wrote, and the cluster recovered.
    pub fn is_safe(&self) -> bool {
        self.lost == Some([0, 0]) && self.two_writable == 0.0 && self.errors.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: Option<f64>| ms.map_or("never".to_owned(), |ms| format!("{ms:.0} ms"));
        write!(
            f,
            "outage {}, server gap {}, rejoin {}, ",
            time(self.outage),
            time(self.server_gap),
            time(self.rejoin)
        )?;
        match self.lost {
            Some([client, prober]) => write!(f, "lost {client}+{prober}")?,
            None => write!(f, "rows unreadable")?,
        }
        let [client, prober] = self.acknowledged;
        write!(
            f,
            " of {client}+{prober}, two writable {:.0} ms",
            self.two_writable
        )?;
        for error in &self.errors {
            write!(f, "; {error}")?;
        }
        Ok(())
    }
}

/// Runs one trial of `fault`, on the cluster that is there if it is healthy, else on a fresh one.
pub async fn run(dev: &mut Dev, fault: Fault) -> Trial {
    let (load, epoch, struck) = match set_up(dev, fault).await {
        Ok(ready) => ready,
        Err(error) => return Trial::NotSetUp(error),
    };
    let outcome = observe(dev, load, epoch, &struck).await;
    Trial::Measured(Box::new(outcome))
}

struct StruckPrimary {
    node: String,
    struck: Struck,
    fault: Fault,
}

async fn set_up(dev: &mut Dev, fault: Fault) -> anyhow::Result<(Load, u64, StruckPrimary)> {
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
        while load.recorder.count(Writer::Client).0 < 100
            || load.recorder.count(Writer::Prober).0 < 25
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WARM_WITHIN, warm)
        .await
        .context("the writers get nothing acknowledged")?;
    // A phase of its own against every timer of the cluster.
    let phase = Duration::from_millis(clock::now().0 / 1_000 % 1_000);
    sleep(WARM + phase).await;
    let view = dev.view().await?;
    ensure!(view.is_healed(), "the cluster is not healthy under load");
    let node = view.primary.clone().context("there is no primary")?;
    let struck = fault.strike(dev, &node).await?;
    let struck = StruckPrimary {
        node,
        struck,
        fault,
    };
    Ok((load, view.epoch, struck))
}

async fn observe(dev: &Dev, load: Load, epoch: u64, primary: &StruckPrimary) -> Outcome {
    let struck = &primary.struck;
    let mut errors = vec![];
    let returned = match struck.heal(dev).await {
        Ok(returned) => returned,
        Err(error) => {
            errors.push(format!("{error:#}"));
            clock::now()
        }
    };
    if timeout(WRITES_WITHIN, writes_again(&load, struck.ended))
        .await
        .is_err()
    {
        errors.push("no write within 60 s".to_owned());
    }
    let recovered = |view: &crate::cluster::View| {
        view.streams() && (view.epoch > epoch || clock::now().since(struck.began) > NO_HANDOVER)
    };
    let rejoin = match dev.stable_since(recovered, STREAMS_WITHIN).await {
        Ok(since) => Some(since.ms_since(returned)),
        Err(error) => {
            errors.push(format!("{error:#}"));
            None
        }
    };
    judge(load, primary, returned, rejoin, errors).await
}

/// Until the client had a statement acknowledged that came after the fault.
async fn writes_again(load: &Load, fault: Moment) {
    while load
        .recorder
        .count(Writer::Client)
        .1
        .is_none_or(|newest| newest < Moment(fault.0 + 50_000_000))
    {
        sleep(Duration::from_millis(20)).await;
    }
}

async fn judge(
    load: Load,
    primary: &StruckPrimary,
    returned: Moment,
    rejoin: Option<f64>,
    mut errors: Vec<String>,
) -> Outcome {
    let recorder = load.recorder.clone();
    let rows = match load.finish().await {
        Ok((_, rows)) => Some(rows),
        Err(error) => {
            errors.push(format!("{error:#}"));
            None
        }
    };
    let history = recorder.all();
    let writers = [Writer::Client, Writer::Prober];
    let losses = rows
        .as_ref()
        .map(|rows| writers.map(|writer| loss::check(&history, writer, rows.of(writer))));
    let freeze = (primary.fault == Fault::Freeze).then_some(Freeze {
        node: &primary.node,
        frozen: primary.struck.ended,
        thawed: returned,
    });
    let two = two_writers::check(&history, freeze);
    let [client, prober] =
        writers.map(|writer| outage::check(&history, writer, primary.struck.began));
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    Outcome {
        outage: client.as_ref().map(|it| ms(it.gap)),
        server_gap: prober.map(|it| ms(it.gap)),
        later_gap: client.map(|it| ms(it.later)),
        rejoin,
        acknowledged: writers.map(|writer| history.iter().filter(|it| it.writer == writer).count()),
        lost: losses.as_ref().map(|[a, b]| [a.lost.len(), b.lost.len()]),
        lost_ids: losses
            .iter()
            .flatten()
            .flat_map(|it| it.lost.iter().copied().take(SHOWN))
            .collect(),
        repeated: losses.map_or(0, |[a, b]| a.repeated.len() + b.repeated.len()),
        two_writable: ms(two.overlap),
        stale: two.stale,
        confirmed_at_freeze: two.confirmed_at_freeze,
        errors,
    }
}
