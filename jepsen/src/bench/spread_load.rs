//! The writers of [`crate::load`], each in a network of its own.

use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::history::acknowledgement::Recorder;
use crate::hosts::Hosts;
use crate::hosts::layout::Kind;
use crate::load::{IDS_OF_A_NODE, PREPARED_WITHIN, Rows, create_tables, probe, rows, until, write};
use crate::net::namespace::{Namespace, in_namespace, joined};
use crate::session::Target;

/// Running writers. They end with it.
#[derive(Debug)]
pub struct SpreadLoad {
    /// What was acknowledged so far.
    pub recorder: Recorder,
    targets: Vec<Target>,
    client: Namespace,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl SpreadLoad {
    /// Creates empty tables and starts the client at `host`, and the prober of each node at the host for clients in
    /// the node's zone.
    ///
    /// # Errors
    /// No primary creates the tables in time, or the system has no thread left.
    pub fn start(hosts: &Hosts, host: &str) -> anyhow::Result<SpreadLoad> {
        let (targets, client) = (hosts.targets(), hosts.namespace(host));
        let own = targets.clone();
        let creating = in_namespace(&client, move || async move {
            timeout(PREPARED_WITHIN, create_tables(&own))
                .await
                .context("no primary creates the tables in time")?
        })?;
        joined(creating)?;
        let recorder = Recorder::default();
        let (stop, stopped) = watch::channel(false);
        let mut load = SpreadLoad {
            recorder: recorder.clone(),
            targets: targets.clone(),
            client: client.clone(),
            stop,
            threads: vec![],
        };
        let (own, its) = (targets.clone(), stopped.clone());
        let writer = recorder.clone();
        load.threads.push(in_namespace(&client, move || async {
            until(its, write(own, writer)).await;
            Ok(())
        })?);
        let clients = hosts.layout().names(Kind::Client);
        for (number, target) in (1..).zip(targets) {
            let zone = hosts.layout().zone_of(&target.node);
            let beside = clients.iter().find(|client| zone.contains(client));
            let beside = beside.context("a zone has no host for clients")?;
            let (its, prober) = (stopped.clone(), recorder.clone());
            let thread = in_namespace(&hosts.namespace(beside), move || async move {
                until(its, probe(target, number * IDS_OF_A_NODE, prober)).await;
                Ok(())
            });
            load.threads.push(thread?);
        }
        Ok(load)
    }

    /// Ends the writers and reads all rows from the primary. Statements under way are given up: their rows were
    /// acknowledged to nobody.
    ///
    /// # Errors
    /// A writer failed, or no primary answers in time.
    pub fn finish(self) -> anyhow::Result<Rows> {
        let _ = self.stop.send(true);
        for thread in self.threads {
            joined(thread)?;
        }
        let targets = self.targets;
        let reading = in_namespace(&self.client, move || async move {
            timeout(PREPARED_WITHIN, rows(&targets))
                .await
                .context("no primary shows the rows in time")
        })?;
        joined(reading)
    }
}
