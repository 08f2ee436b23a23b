//! What a cluster at rest costs: CPU and memory of Primacy's processes, and of its sessions in PostgreSQL.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::cluster::Dev;
use crate::usage::{memory, times};

const HEALED_WITHIN: Duration = Duration::from_secs(60);
const CPU_BAR: f64 = 2.0;
const MEMORY_BAR: f64 = 150.0;
/// Of one peer.
const PEER_BAR: f64 = 40.0;

/// How long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Seconds of rest before
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// Seconds to measure
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Why a process counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Peers, agents, leashes.
    Primacy,
    /// The agents' sessions: PostgreSQL's processes that serve a client over the Unix socket. On
    /// an idle `dev` only agents use it.
    Session,
    /// A postmaster: only what its ended children used counts, which is all that short sessions leave.
    Postmaster,
}

/// One process at one moment, in clock ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Usage {
    part: Part,
    own: u64,
    ended_children: u64,
}

/// Answers whether both bars are met.
///
/// # Errors
/// The cluster does not come up.
pub async fn run(dev: &mut Dev, options: Options) -> anyhow::Result<bool> {
    dev.up().await?;
    dev.stable_since(|view| view.is_healed(), HEALED_WITHIN)
        .await?;
    eprintln!("resting for {} s", options.rest);
    sleep(Duration::from_secs(options.rest)).await;
    let before = usages(dev.folder());
    eprintln!("measuring for {} s", options.seconds);
    sleep(Duration::from_secs(options.seconds)).await;
    let after = usages(dev.folder());
    let ticks = rustix::param::clock_ticks_per_second();
    let minutes = Duration::from_secs(options.seconds).as_secs_f64() / 60.0;
    let cpu = |part| {
        let used: u64 = used(&before, &after, part);
        Duration::from_millis(used * 1000 / ticks).as_secs_f64() / minutes
    };
    let memory = proportional_memory(dev.folder());
    let peer = greatest_peer(dev.folder());
    let (primacy, sessions) = (cpu(Part::Primacy), cpu(Part::Session));
    let ended = cpu(Part::Postmaster);
    let sum = primacy + sessions + ended;
    print(&format!(
        "CPU seconds per minute: {sum:.2} (bar {CPU_BAR}): peers, agents and leashes {primacy:.2}, their sessions \
         in PostgreSQL {sessions:.2},\nended children of the postmasters {ended:.2} (short sessions; also autovacuum, which is not ours)\n\
         memory (PSS) of peers, agents and leashes: {memory:.1} MB (bar {MEMORY_BAR}); of the greatest peer (RSS) \
         {peer:.1} MB (bar {PEER_BAR})"
    ));
    Ok(sum <= CPU_BAR && memory <= MEMORY_BAR && peer <= PEER_BAR)
}

/// Growth from `before` to `after`; a process that was born meanwhile counts whole.
fn used(before: &BTreeMap<i32, Usage>, after: &BTreeMap<i32, Usage>, part: Part) -> u64 {
    let count = |usage: &Usage| match part {
        Part::Primacy => usage.own + usage.ended_children,
        Part::Session => usage.own,
        Part::Postmaster => usage.ended_children,
    };
    let of_part = after.iter().filter(|(_, usage)| usage.part == part);
    of_part
        .map(|(pid, usage)| {
            let earlier = before.get(pid).map_or(0, count);
            count(usage).saturating_sub(earlier)
        })
        .sum()
}

fn processes() -> impl Iterator<Item = (i32, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn usages(folder: &Path) -> BTreeMap<i32, Usage> {
    let found = processes().filter_map(|(pid, proc)| Some((pid, usage(&proc, folder)?)));
    found.collect()
}

fn usage(proc: &Path, folder: &Path) -> Option<Usage> {
    let part = part(proc, folder)?;
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    let [own, ended_children] = times(&stat)?;
    Some(Usage {
        part,
        own,
        ended_children,
    })
}

fn part(proc: &Path, folder: &Path) -> Option<Part> {
    let line = fs::read(proc.join("cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let works_in = fs::read_link(proc.join("cwd")).unwrap_or_default();
    let is_told = line.contains(&format!("{}/", folder.display()));
    if !works_in.starts_with(folder) && !is_told {
        return None;
    }
    let name = fs::read_to_string(proc.join("comm")).unwrap_or_default();
    match name.trim() {
        "postgres" if line.contains("[local]") => Some(Part::Session),
        "postgres" if line.contains(" -D") => Some(Part::Postmaster),
        "postgres" => None,
        name if name.starts_with("primacy") => Some(Part::Primacy),
        _ => None,
    }
}

/// The PSS of Primacy's processes, in MB (10^6 bytes).
fn proportional_memory(folder: &Path) -> f64 {
    let ours = processes().filter(|(_, proc)| part(proc, folder) == Some(Part::Primacy));
    ours.filter_map(|(_, proc)| memory(&proc, "Pss:")).sum()
}

/// The resident memory of the peer that has most, in MB (10^6 bytes).
fn greatest_peer(folder: &Path) -> f64 {
    let is_peer = |proc: &Path| {
        let line = fs::read(proc.join("cmdline")).unwrap_or_default();
        let verb = line.split(|byte| *byte == 0).nth(1);
        part(proc, folder) == Some(Part::Primacy) && verb == Some(b"server")
    };
    let peers = processes().filter(|(_, proc)| is_peer(proc));
    peers
        .filter_map(|(_, proc)| memory(&proc, "Rss:"))
        .fold(0.0, f64::max)
}

#[expect(clippy::print_stdout, reason = "a measurement prints")]
fn print(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts_what_is_its_own() {
        let usage = |part, own, ended_children| Usage {
            part,
            own,
            ended_children,
        };
        let before = BTreeMap::from([
            (1, usage(Part::Primacy, 10, 1)),
            (2, usage(Part::Postmaster, 50, 5)),
        ]);
        let after = BTreeMap::from([
            (1, usage(Part::Primacy, 15, 3)),
            (2, usage(Part::Postmaster, 90, 6)),
            (3, usage(Part::Session, 4, 0)),
        ]);
        let found = [Part::Primacy, Part::Postmaster, Part::Session]
            .map(|part| used(&before, &after, part));
        assert_eq!(found, [7, 1, 4]);
    }
}
