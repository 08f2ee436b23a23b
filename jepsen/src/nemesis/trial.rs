//! Faults one after the other, with a client that inserts a row every 5 ms: to see that each one bites, that it
//! heals, and how long the client had to wait.
#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;

use super::ground::Ground;
use super::plan::Strike;
use super::{Outcome, coverage, runner};
use crate::checker::{loss, outage};
use crate::clock::{self, Moment};
use crate::history::acknowledgement::{Acknowledgement, Recorder, Writer};
use crate::hosts::Hosts;
use crate::hosts::layout::Kind;
use crate::load::{Load, Probing, Rows};
use crate::net::namespace::{in_namespace, joined};

const HEALED_WITHIN: Duration = Duration::from_secs(90);
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const WARM: Duration = Duration::from_secs(2);

/// A client on one host.
struct Client {
    recorder: Recorder,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<(Vec<Acknowledgement>, Rows)>>,
}

impl Client {
    fn start(hosts: &Hosts, host: &str) -> anyhow::Result<Client> {
        let targets = hosts.targets();
        let (stop, stopped) = oneshot::channel();
        let (started, recorder) = std::sync::mpsc::sync_channel(1);
        let thread = in_namespace(&hosts.namespace(host), move || async move {
            let load = Load::start(targets, Probing::Off).await?;
            started.send(load.recorder.clone())?;
            // It ends as well if whoever drives it is gone.
            let _ = stopped.await;
            load.finish().await
        })?;
        match recorder.recv() {
            Ok(recorder) => Ok(Client {
                recorder,
                stop,
                thread,
            }),
            Err(_) => match joined(thread) {
                Err(error) => Err(error),
                Ok(_) => anyhow::bail!("the client ends at once"),
            },
        }
    }

    /// Until a row was acknowledged after `moment`, or too much time has passed.
    fn until_written_after(&self, moment: Moment) {
        let newest = || self.recorder.count(Writer::Client).1;
        while newest().is_none_or(|newest| newest < moment)
            && clock::now().since(moment) < WRITTEN_WITHIN
        {
            std::thread::sleep(POLL);
        }
    }

    fn finish(self) -> anyhow::Result<(Vec<Acknowledgement>, Rows)> {
        let _ = self.stop.send(());
        joined(self.thread)
    }
}

/// Answers whether every fault was installed and healed, and nothing acknowledged was lost. Prints one line a strike;
/// each begins once the one before is healed, whatever its time.
///
/// # Errors
/// The cluster does not heal, or no client can write.
pub fn run(ground: &mut Ground, strikes: &[Strike]) -> anyhow::Result<bool> {
    println!("on {}", ground.describe());
    let mut records = vec![];
    let mut lost = 0;
    for strike in strikes {
        let Strike { fault, target, .. } = strike;
        ground.until_healed(HEALED_WITHIN)?;
        let client = match &*ground {
            Ground::Hosts(hosts) => Some(Client::start(hosts, &bystander(hosts)?)?),
            Ground::Loopback(_) => None,
        };
        std::thread::sleep(WARM);
        let strike = Strike {
            at_ms: 0,
            ..*strike
        };
        let done = runner::run(ground, &[strike], &AtomicBool::new(false), |_| {});
        let Some(record) = done.first() else { continue };
        let healed = clock::now();
        let result = ground.until_healed(HEALED_WITHIN);
        let whole = clock::now().ms_since(healed);
        print!(
            "{:20} {:12} {:6} {} in {:.0} ms",
            fault.name(),
            format!("{target:?}"),
            record.host,
            record.outcome,
            record.installed.ms_since(record.began)
        );
        if let Some(trouble) = &record.trouble {
            print!(", not healed: {trouble}");
        }
        match &result {
            Ok(()) => print!(", all stream {:.1} s after", whole / 1000.0),
            Err(error) => print!(", {error:#}"),
        }
        if let Some(client) = client {
            client.until_written_after(clock::now());
            let recorder = client.recorder.clone();
            let (history, rows) = client.finish().context("end the client")?;
            let loss = loss::check(&history, Writer::Client, rows.of(Writer::Client));
            lost += loss.lost.len();
            let rate = rate(&recorder, record.began);
            match outage::check(&history, Writer::Client, record.began) {
                Some(outage) => print!(
                    ", outage {:.0} ms{}",
                    outage.gap.as_secs_f64() * 1000.0,
                    if outage.took_over {
                        " to another node"
                    } else {
                        ""
                    }
                ),
                None => print!(", no write after it"),
            }
            print!(
                ", lost {} of {}, {rate:.0}/s before",
                loss.lost.len(),
                loss.acknowledged
            );
        }
        println!();
        if let (Err(error), Ground::Hosts(hosts)) = (result, &*ground) {
            let kept = std::env::temp_dir().join(format!("jepsen-trial-{}", fault.name()));
            hosts.keep_logs(&kept)?;
            return Err(error.context(format!("the logs are in {}", kept.display())));
        }
        records.extend(done);
    }
    let required: Vec<_> = strikes.iter().map(|strike| strike.fault).collect();
    let uncovered = coverage::check(&required, &records);
    for fault in &uncovered {
        println!("{fault}");
    }
    let is_healed = records.iter().all(|record| record.trouble.is_none());
    let only_skipped = uncovered.iter().all(|fault| {
        fault
            .attempts
            .iter()
            .all(|attempt| matches!(attempt, Outcome::Skipped(_)))
    });
    Ok(lost == 0 && is_healed && only_skipped)
}

/// A host for clients outside the zones of the primary and of the leader, if there is one outside both.
///
/// # Errors
/// Nobody leads or is primary, or every client is in the zone of the primary.
pub fn bystander(hosts: &Hosts) -> anyhow::Result<String> {
    let zones = [hosts.leader()?, hosts.primary()?].map(|host| hosts.layout().zone_of(&host));
    let outside =
        |client: &String, zones: &[Vec<String>]| !zones.iter().flatten().any(|host| host == client);
    let clients = hosts.layout().names(Kind::Client);
    let found = clients.iter().find(|client| outside(client, &zones));
    let found = found.or_else(|| clients.iter().find(|client| outside(client, &zones[1..])));
    found
        .cloned()
        .context("there is no client outside the zone of the primary")
}

/// Acknowledged rows a second until `end`.
fn rate(recorder: &Recorder, end: Moment) -> f64 {
    let all = recorder.all();
    let before: Vec<_> = all.iter().filter(|it| it.at <= end).collect();
    let Some(first) = before.first() else {
        return 0.0;
    };
    before.len() as f64 / end.since(first.at).as_secs_f64()
}
