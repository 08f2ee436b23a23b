//! How long a linearizable read takes, at the leader and through a follower: over TLS, on a connection that is kept,
//! one after the other. What the same connection takes for an answer that asks nobody stands beside it.

use std::time::Duration;

use clap::Args;

use crate::clock;
use crate::cluster::Dev;
use crate::http::Http;

const HEALED_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Medians, in milliseconds.
const LEADER_BAR: f64 = 0.3;
const FOLLOWER_BAR: f64 = 1.0;

/// How many.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Reads from each peer
    #[arg(long, default_value_t = 5_000)]
    reads: usize,
}

/// Answers whether both bars are met.
///
/// # Errors
/// The cluster does not come up, or a read fails.
pub async fn run(dev: &mut Dev, options: Options) -> anyhow::Result<bool> {
    dev.up().await?;
    dev.stable_since(|view| view.is_healed(), HEALED_WITHIN)
        .await?;
    let leader = dev.leader().await?;
    print("| peer | GET | p50 ms | p99 ms |\n|---|---|---|---|");
    let mut is_met = true;
    for (peer, address) in dev.peers()? {
        let (role, bar) = match peer == leader {
            true => ("leader", LEADER_BAR),
            false => ("follower", FOLLOWER_BAR),
        };
        for (path, bar) in [
            ("/api/v1/leader?consistency=stale", f64::INFINITY),
            ("/api/v1/leader", bar),
        ] {
            let took = took(dev, &address, path, options.reads)?;
            let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
            print(&format!(
                "| {peer}, {role} | {path} | {:.3} | {:.3} |",
                at(50),
                at(99)
            ));
            is_met &= at(50) <= bar;
        }
    }
    print(&format!(
        "bars (p50 of /api/v1/leader): {LEADER_BAR} ms at the leader, {FOLLOWER_BAR} ms through a follower: {}",
        if is_met { "met" } else { "NOT met" }
    ));
    Ok(is_met)
}

/// How long each of so many took, the shortest first. Asked from one thread that does nothing else: what a client takes to
/// wake threads of its own is not the peer's.
fn took(dev: &Dev, address: &str, path: &str, reads: usize) -> anyhow::Result<Vec<Duration>> {
    let http = Http::new(dev.certificate());
    let asked = async {
        let mut took = vec![];
        // The first ones connect.
        for number in 0..reads + reads / 10 {
            let began = clock::now();
            http.get::<serde_json::Value>(address, path, ANSWER_WITHIN)
                .await?;
            if number >= reads / 10 {
                took.push(clock::now().since(began));
            }
        }
        took.sort_unstable();
        Ok(took)
    };
    tokio::task::block_in_place(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(asked)
    })
}

#[expect(clippy::print_stdout, reason = "a measurement prints")]
fn print(text: &str) {
    println!("{text}");
}
