//! What the API says, asked from the host that no fault touches.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::Hosts;
use super::configuration::CLUSTER;
use super::layout::{Kind, PEER_PORT, WATCH};
use crate::clock::{self, Moment};
use crate::cluster::View;
use crate::http::Http;
use crate::net::namespace::{in_namespace, joined};

const ASK_WITHIN: Duration = Duration::from_millis(700);
const POLL: Duration = Duration::from_millis(50);

impl Hosts {
    /// What the first peer that answers says to a path.
    ///
    /// # Errors
    /// None does in time.
    pub fn ask<T: DeserializeOwned + Send + 'static>(&self, path: &str) -> anyhow::Result<T> {
        let peers = self.layout().peers();
        let path = path.to_owned();
        let certificate = self.certificate.clone();
        let asking = in_namespace(&self.namespace(WATCH), move || async move {
            let http = Http::new(Some(&certificate));
            let mut asked = JoinSet::new();
            for peer in peers {
                let (http, path) = (http.clone(), path.clone());
                asked.spawn(async move { http.get(&peer, &path, ASK_WITHIN).await });
            }
            let mut last = anyhow::anyhow!("there are no peers");
            while let Some(answer) = asked.join_next().await {
                match answer? {
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })?;
        joined(asking)
    }

    /// The cluster as the leader sees it.
    ///
    /// # Errors
    /// No peer answers.
    pub fn view(&self) -> anyhow::Result<View> {
        self.ask(&format!("/api/v1/clusters/{CLUSTER}"))
    }

    /// The recorded primary's host.
    ///
    /// # Errors
    /// No peer answers, or there is none.
    pub fn primary(&self) -> anyhow::Result<String> {
        self.view()?.primary.context("there is no primary")
    }

    /// The host of the peer that leads.
    ///
    /// # Errors
    /// No peer answers.
    pub fn leader(&self) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Leader {
            address: String,
        }
        let leader: Leader = self.ask("/api/v1/leader")?;
        let of = |host: &super::layout::Host| format!("{}:{PEER_PORT}", host.address);
        let mut peers = self.layout().of(Kind::Peer);
        match peers.find(|host| of(host) == leader.address) {
            Some(host) => Ok(host.name.clone()),
            None => bail!("no peer has the leader's address {}", leader.address),
        }
    }

    /// Whether every peer is reachable and follows the same leader.
    pub fn peers_agree(&self) -> bool {
        #[derive(Deserialize)]
        struct Peer {
            reachable: bool,
            role: String,
            leader: Option<u64>,
        }
        let mut peers: Vec<Peer> = self.ask("/api/v1/peers").unwrap_or_default();
        peers.retain(|peer| peer.role != "invited");
        let leader = peers.first().and_then(|peer| peer.leader);
        let follows = |peer: &Peer| peer.reachable && peer.leader == leader;
        leader.is_some() && peers.iter().all(follows)
    }

    /// Waits until the cluster looks like that; answers when it did.
    ///
    /// # Errors
    /// It does not in time; what was seen last is told.
    pub fn until(
        &self,
        within: Duration,
        what: &str,
        is_so: impl Fn(&View) -> bool,
    ) -> anyhow::Result<Moment> {
        let began = clock::now();
        let mut last = None;
        while clock::now().since(began) < within {
            match self.view() {
                Ok(view) if is_so(&view) => return Ok(clock::now()),
                Ok(view) => last = Some(format!("{view:?}")),
                Err(error) => last = last.or(Some(format!("{error:#}"))),
            }
            std::thread::sleep(POLL);
        }
        bail!("not {what} within {} s: {last:?}", within.as_secs())
    }
}
