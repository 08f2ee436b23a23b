//! A healthy group on a busy machine refuses nothing.

use std::{
    process::{Child, Command},
    time::Duration,
};

use crate::{
    Place, group,
    group::Group,
    keys::Keys,
    load::{drive, millis, percentile},
};

const WRITERS: usize = 64;
const HOGS: usize = 2;

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// For how long
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Busy loops; they end with it.
struct Hogs(Vec<Child>);

impl Drop for Hogs {
    fn drop(&mut self) {
        group::end(&mut self.0);
    }
}

/// Prints how many commands were committed and refused.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = arguments.place.prepare()?;
    let mut group = Group::start(folder.path(), &Keys::create(folder.path())?).await?;
    let writers = group.writers(WRITERS, 1).await?;
    let mut hogs = Hogs(vec![]);
    for _ in 0..HOGS {
        hogs.0
            .push(Command::new(std::env::current_exe()?).arg("hog").spawn()?);
    }
    let mut seen = drive(writers, Duration::from_secs(arguments.seconds)).await?;
    drop(hogs);
    let example = seen.example.as_ref();
    println!(
        "{} s with {WRITERS} writers and {HOGS} hogs: {} commits, {} refused{}; p99 {:.1} ms, slowest {:.1} ms",
        arguments.seconds,
        seen.latencies.len(),
        seen.refused,
        example.map_or(String::new(), |example| format!(" (first: {example})")),
        millis(percentile(&mut seen.latencies, 99)),
        millis(percentile(&mut seen.latencies, 100))
    );
    Ok(())
}
