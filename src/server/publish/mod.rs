//! Tells the world which instance is the primary of each cluster, as long as this peer leads. Nothing waits for it: a target
//! that does not answer is tried again, and clients that ask any peer know it anyway.

pub(crate) mod consul;
mod course;
mod keys;
mod web;
mod webhook;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::config::{Consul, Publish, Webhook};
use super::{ConfigError, Peer, expect_no_panic};
use crate::clock;
use crate::model::ClusterName;
use crate::state::PublishedPrimary;

pub use keys::keys;
use web::Web;

/// A change that is older is not told to a webhook any more: somebody was told, or nobody listens.
const NEWS_FOR: Duration = Duration::from_secs(600);
/// How long a majority may take to confirm that this peer leads.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

/// Who is told.
#[derive(Debug, Clone)]
enum Target {
    Consul(Consul),
    Webhook(Webhook),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Consul(consul) => {
                let authority = consul.url.authority().map_or("", |it| it.as_str());
                write!(f, "consul at {authority}")
            }
            Target::Webhook(webhook) => write!(f, "webhook at {webhook}"),
        }
    }
}

/// Who could not be told of which cluster, since when in wall milliseconds, and why.
type Failing = BTreeMap<(String, ClusterName), (u64, String)>;

/// Tells what is to be told.
pub struct Publisher {
    prefix: String,
    targets: Vec<Target>,
    web: Web,
    failing: Mutex<Failing>,
}

impl Publisher {
    /// Nothing is connected yet. Blocks. Errors: `ca` cannot be used.
    pub(super) fn of(config: &Publish) -> Result<Publisher, ConfigError> {
        let web = Web::of(config).map_err(|error| {
            let cause = std::error::Error::source(&error);
            let cause = cause.map_or(String::new(), |it| format!(": {it}"));
            ConfigError(format!("publish: ca: {error}{cause}; correct it"))
        })?;
        let consul = config.consul.iter().cloned().map(Target::Consul);
        let webhooks = config.webhooks.iter().cloned().map(Target::Webhook);
        Ok(Publisher {
            prefix: config.prefix.clone(),
            targets: consul.chain(webhooks).collect(),
            web,
            failing: Mutex::default(),
        })
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who cannot be told, one sentence for each, with one of the clusters.
    pub fn warnings(&self) -> Vec<String> {
        let failing = self.failing();
        let mut said = vec![];
        let mut before: Option<&String> = None;
        for ((target, cluster), (since, why)) in failing.iter() {
            if before == Some(target) {
                continue;
            }
            before = Some(target);
            let clusters = failing.keys().filter(|(it, _)| it == target).count();
            let others = match clusters {
                1 => String::new(),
                _ => format!(" and of {} more", clusters - 1),
            };
            let since = clock::text_of(*since);
            said.push(format!(
                "{target} has not been told of the primary of {cluster}{others} since {since}: {why}"
            ));
        }
        said
    }

    fn note_failure(&self, target: &Target, cluster: &ClusterName, why: &str) {
        let key = (target.to_string(), cluster.clone());
        let mut failing = self.failing();
        let now = clock::wall_millis();
        let since = failing.get(&key).map(|(since, _)| *since);
        if since.is_none() {
            tracing::warn!(%target, %cluster, why, "a primary is not published; it is tried again");
        }
        failing.insert(key, (since.unwrap_or(now), why.to_owned()));
    }

    fn note_success(&self, target: &Target, cluster: &ClusterName) {
        let key = (target.to_string(), cluster.clone());
        if self.failing().remove(&key).is_some() {
            tracing::info!(%target, %cluster, "its primary is published again");
        }
    }

    pub(super) fn clear(&self) {
        self.failing().clear();
    }
}

/// Tells every target, for as long as this peer leads.
pub(super) async fn run(peer: Arc<Peer>) {
    let mut courses = JoinSet::new();
    for target in peer.publisher.targets.clone() {
        courses.spawn(course::run(peer.clone(), Arc::new(target)));
    }
    while let Some(ended) = courses.join_next().await {
        expect_no_panic(ended);
    }
}

/// Tells one target of one cluster. Answers what was told, none if there is nothing to tell any more. Errors: in words.
async fn tell(
    peer: &Peer,
    target: &Target,
    cluster: &ClusterName,
) -> Result<Option<PublishedPrimary>, String> {
    let confirmed = peer.consensus.confirm_leadership(CONFIRM_WITHIN).await;
    let index = match confirmed {
        Ok(leads) => leads.read_index,
        Err(error) => return Err(format!("this peer may not lead any more: {error}")),
    };
    let Some(primary) = peer.consensus.read(|state| state.published(cluster)) else {
        return Ok(None);
    };
    let publisher = &peer.publisher;
    let group = peer.config.group.to_string();
    let is_told = match target {
        Target::Consul(consul) => {
            let keys = keys(&publisher.prefix, &group, cluster, &primary);
            consul::publish(&publisher.web, consul, &keys, index).await?
        }
        Target::Webhook(webhook) => {
            let event = webhook::event(&group, cluster, &primary);
            webhook::send(&publisher.web, webhook, &event).await?;
            true
        }
    };
    if !is_told {
        return Ok(Some(primary));
    }
    tracing::info!(%cluster, %target, primary = %primary.instance, epoch = %primary.epoch, "published");
    Ok(Some(primary))
}
