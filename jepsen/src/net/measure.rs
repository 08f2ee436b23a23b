//! A network is made, judged and measured: so that a fault that is said to be there is there.
#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::matrix::{Matrix, Quality};
use super::owner::Owner;
use super::plane::{self, Plane, Unable};
use super::{Network, probe};
use crate::clock;
use crate::hosts::leftovers;

const ECHOES: u32 = 40;
/// Of three times 100 datagrams on a link that loses or doubles 30 %: more than five times the deviation that chance has.
const LOSSY: RangeInclusive<usize> = 165..=255;
const DOUBLING: RangeInclusive<usize> = 345..=435;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Decides what is lost and late
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What carries the frames; by default the best that this machine has
    #[arg(long, value_enum)]
    plane: Option<Plane>,
}

/// Fails unless links do what they are told, then prints how fast. Whatever dead owners left is removed first.
///
/// # Errors
/// There is no network to be had here, or it does not do what it is told.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let plane = options.plane.or_else(Plane::found);
    let plane = plane.context(plane::NEEDED)?;
    for gone in leftovers::remove_all()? {
        println!("removed what {gone} had left");
    }
    let owner = Owner::this();
    let folder = std::env::temp_dir().join(owner.to_string());
    std::fs::create_dir(&folder)?;
    let result = judge_and_measure(plane, owner, &folder, options.seed);
    leftovers::remove(owner)?;
    result
}

fn judge_and_measure(plane: Plane, owner: Owner, folder: &Path, seed: u64) -> anyhow::Result<()> {
    let began = clock::now();
    let hosts = ["one", "two", "three"].map(str::to_owned);
    let mut network = Network::up(plane, owner, &hosts, folder, seed)?;
    let took = clock::now().ms_since(began);
    println!(
        "{owner}: three hosts up in {took:.0} ms, {}",
        plane.describe()
    );
    judge(&mut network)?;
    println!("links do what they are told");
    measure(&mut network)
}

/// Each link must carry what its matrix says and nothing else.
fn judge(network: &mut Network) -> anyhow::Result<()> {
    let expect = |network: &Network, from: &str, to: &str, expected: usize| {
        let arrived = probe::arrivals(network, from, to)?;
        ensure!(
            arrived == expected,
            "{arrived} of 100 arrive from {from} at {to}, not {expected}"
        );
        Ok(())
    };
    let both = |network: &Network, other: &str, expected: usize| {
        expect(network, "one", other, expected)?;
        expect(network, other, "one", expected)
    };
    let cut = |other: &str| Matrix::default().both_ways(&["one"], &[other], Quality::CUT);
    both(network, "two", 100).context("nothing is laid")?;

    let one_way = Matrix::default().one_way(&["one"], &["two"], Quality::CUT);
    network.lay("one way", one_way)?;
    expect(network, "one", "two", 0).context("cut")?;
    expect(network, "two", "one", 100).context("cut in the other direction")?;
    expect(network, "one", "three", 100).context("another link is cut")?;

    network.lay("two", cut("two"))?;
    network.lay("three", cut("three"))?;
    network.lift("one way")?;
    both(network, "two", 0).context("one of two cuts is lifted")?;
    network.lift("two")?;
    both(network, "two", 100).context("the cut is lifted")?;
    both(network, "three", 0).context("another cut is lifted")?;

    let slow = Quality {
        delay_us: 1_000,
        ..Quality::default()
    };
    let slow = Matrix::default().both_ways(&["one"], &["two", "three"], slow);
    match (network.plane(), network.lay("slow", slow)) {
        (Plane::Switch, result) => result?,
        (Plane::Bridge, Err(error)) if error.is::<Unable>() => {}
        (Plane::Bridge, result) => bail!("a bridge delays frames: {result:?}"),
    }
    both(network, "two", 100).context("a slow link")?;
    both(network, "three", 0).context("a cut beside a slow link")?;
    network.lift("slow")?;
    network.lift("three")?;
    both(network, "three", 100).context("all is lifted")?;

    let lossy = Quality {
        loss_ppm: 300_000,
        ..Quality::default()
    };
    let doubling = Quality {
        duplicate_ppm: 300_000,
        ..Quality::default()
    };
    for (quality, expected) in [(lossy, LOSSY), (doubling, DOUBLING)] {
        network.lay(
            "bad",
            Matrix::default().one_way(&["one"], &["two"], quality),
        )?;
        let mut arrived = 0;
        for _ in 0..3 {
            arrived += probe::arrivals(network, "one", "two")?;
        }
        ensure!(
            expected.contains(&arrived),
            "{arrived} of 300 arrive with {quality:?}"
        );
        expect(network, "two", "one", 100).context("the other direction is bad")?;
    }
    network.lift("bad")
}

fn measure(network: &mut Network) -> anyhow::Result<()> {
    for (delay_ms, jitter_ms) in [(0, 0), (50, 0), (20, 10)] {
        let slow = Quality {
            delay_us: delay_ms * 1_000,
            jitter_us: jitter_ms * 1_000,
            ..Quality::default()
        };
        if laid(
            network,
            Matrix::default().both_ways(&["one"], &["two"], slow),
        )? {
            let times = spread(&mut probe::echoes(network, "one", "two", ECHOES)?);
            println!(
                "delay {delay_ms} ms, jitter {jitter_ms} ms on each link: {times} there and back"
            );
        }
    }
    network.lift("measured")?;
    let rate = probe::throughput(network)?;
    println!("throughput of one stream: {rate:.2} Gbit/s");
    let narrow = Quality {
        bandwidth: Some(10_000_000),
        ..Quality::default()
    };
    if laid(
        network,
        Matrix::default().both_ways(&["one"], &["two"], narrow),
    )? {
        let rate = probe::throughput(network)?;
        println!("the same at 10 MB/s: {rate:.3} Gbit/s");
        network.lift("measured")?;
    }
    let (mut cut, mut heal) = (vec![], vec![]);
    for _ in 0..20 {
        let began = clock::now();
        let matrix = Matrix::default().one_way(&["one"], &["two"], Quality::CUT);
        network.lay("measured", matrix)?;
        let cut_at = clock::now();
        network.lift("measured")?;
        cut.push(cut_at.ms_since(began));
        heal.push(clock::now().ms_since(cut_at));
    }
    println!("cut {}, heal {}", spread(&mut cut), spread(&mut heal));
    Ok(())
}

/// Lays what is measured next; false if this data plane cannot.
fn laid(network: &mut Network, matrix: Matrix) -> anyhow::Result<bool> {
    match network.lay("measured", matrix) {
        Ok(()) => Ok(true),
        Err(error) if error.is::<Unable>() => Ok(false),
        Err(error) => Err(error),
    }
}

fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let worst = values.last().copied().unwrap_or(f64::NAN);
    format!("{middle:.2} ms (median, worst {worst:.2} ms)")
}
