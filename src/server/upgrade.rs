//! Raises the feature level of the group while this peer leads.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::state::level::spoken;

use super::{Peer, expect_no_panic};

/// How often the members are asked while they speak less than this peer: nobody waits for it.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long a member may take.
const TELL_WITHIN: Duration = Duration::from_millis(500);

/// What a peer says of itself.
#[derive(Deserialize)]
pub(crate) struct Told {
    /// Another peer may answer at the address of one that is gone.
    id: u64,
    feature_level_spoken: Option<u32>,
}

/// Ends once the group has reached what this peer speaks.
pub(super) async fn run(peer: Arc<Peer>) {
    loop {
        let level = peer.consensus.read(|state| state.level);
        #[cfg(feature = "mutants")]
        trial(&peer).await;
        if level >= spoken() {
            return;
        }
        if let Some(next) = level.next(&ask_all(&peer).await) {
            match peer.raise(next).await {
                Ok(level) => {
                    tracing::info!(%level, "every peer speaks it: the feature level rises")
                }
                Err(error) => tracing::warn!(%error, "the feature level does not rise"),
            }
        }
        sleep(ASK_EVERY).await;
    }
}

/// What each member speaks, learners too; none of one that does not say.
async fn ask_all(peer: &Arc<Peer>) -> Vec<Option<u32>> {
    let mut asked = JoinSet::new();
    for (id, address) in peer.members() {
        let peer = peer.clone();
        asked.spawn(async move {
            if id == peer.config.id {
                return Some(spoken().number());
            }
            let told = peer
                .calls
                .get(&address, "/internal/v1/peer", TELL_WITHIN)
                .await;
            let (_, body) = told.ok()?;
            let told: Told = serde_json::from_slice(&body).ok()?;
            told.feature_level_spoken.filter(|_| told.id == id.0)
        });
    }
    let mut told = vec![];
    while let Some(ended) = asked.join_next().await {
        told.push(expect_no_panic(ended).flatten());
    }
    told
}

/// What a build of the next level does as soon as it may, and tries before.
#[cfg(feature = "mutants")]
async fn trial(peer: &Arc<Peer>) {
    if spoken() > crate::state::FeatureLevel::default() {
        let tried = peer.try_next_level().await;
        tracing::info!(?tried, "an entry of the next level");
    }
}
