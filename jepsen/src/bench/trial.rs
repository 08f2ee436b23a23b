//! One trial: a healthy cluster under load, one fault, its healing, and the judgement.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::checker::two_writers::Freeze;
use crate::checker::{loss, outage, two_writers};
use crate::clock::{self, Moment};
use crate::cluster::View;
use crate::history::acknowledgement::{Recorder, Writer};
use crate::load::Rows;

use super::faults::Fault;

/// How long a cluster may take to be healthy before a trial.
pub const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// How long the writers may take to be warm.
pub const WARM_WITHIN: Duration = Duration::from_secs(20);
/// How long the cluster has to recover before the trial counts as not recovered.
pub const WRITES_WITHIN: Duration = Duration::from_secs(60);
/// How long all members may take to stream again.
pub const STREAMS_WITHIN: Duration = Duration::from_secs(90);
const WARM: Duration = Duration::from_secs(1);
/// How many missing ids of each writer are told.
const SHOWN: usize = 20;
/// After this, a primary that was restarted in its place counts as recovered too, but not one that was cut off.
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
        let is_single = self.two_writable == 0.0 && self.stale == 0;
        self.lost == Some([0, 0]) && is_single && self.errors.is_empty()
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

/// A fault that was done to a primary.
#[derive(Debug, Clone)]
pub struct Struck {
    /// What.
    pub fault: Fault,
    /// The primary.
    pub node: String,
    /// Its epoch.
    pub epoch: u64,
    /// Just before.
    pub began: Moment,
    /// When it was complete.
    pub ended: Moment,
}

impl Struck {
    /// Whether a cluster has recovered, be it by another primary or by this one in its place.
    pub fn is_over(&self, view: &View) -> bool {
        let in_place =
            self.fault != Fault::Partition && clock::now().since(self.began) > NO_HANDOVER;
        view.streams() && (view.epoch > self.epoch || in_place)
    }

    /// Whether the client had a statement acknowledged that came after the fault.
    pub fn is_survived(&self, recorder: &Recorder) -> bool {
        let after = Moment(self.ended.0 + 50_000_000);
        let newest = recorder.count(Writer::Client).1;
        newest.is_some_and(|newest| newest >= after)
    }
}

/// Whether both writers had enough acknowledged to strike.
pub fn is_warm(recorder: &Recorder) -> bool {
    recorder.count(Writer::Client).0 >= 100 && recorder.count(Writer::Prober).0 >= 25
}

/// How long a warm load goes on before the fault: each time in another phase of every timer of the cluster.
pub fn until_the_fault() -> Duration {
    WARM + Duration::from_millis(clock::now().0 / 1_000 % 1_000)
}

/// What became of the cluster after a fault.
#[derive(Debug)]
pub struct Aftermath {
    /// When the node returned.
    pub returned: Moment,
    /// From then until all streamed again, in milliseconds.
    pub rejoin: Option<f64>,
    /// What went wrong.
    pub errors: Vec<String>,
}

/// Judges a trial by what was acknowledged and what was found in the end.
pub fn judge(
    recorder: &Recorder,
    found: anyhow::Result<Rows>,
    struck: &Struck,
    aftermath: Aftermath,
) -> Outcome {
    let Aftermath {
        returned,
        rejoin,
        mut errors,
    } = aftermath;
    let rows = match found {
        Ok(rows) => Some(rows),
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
    let freeze = (struck.fault == Fault::Freeze).then_some(Freeze {
        node: &struck.node,
        frozen: struck.ended,
        thawed: returned,
    });
    let two = two_writers::check(&history, freeze);
    let [client, prober] = writers.map(|writer| outage::check(&history, writer, struck.began));
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
