//! The end of a peer: in order, or because it was removed.

use std::time::Duration;

use raft::Consensus;
use tokio::time::{sleep, timeout};

use crate::model::PeerId;

use super::{Machine, Peer, Removed};

/// How long a leader that is stopped tries to hand over: a healthy group takes some 20 ms.
const HAND_OVER: Duration = Duration::from_secs(1);
/// How often a peer that does not lead asks whether it was removed: one small call.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// How long another peer may take to say so.
const SAY_WITHIN: Duration = Duration::from_secs(1);

/// Hands leadership over, if this peer has it. The group goes on without an election.
pub(super) async fn hand_over(consensus: &Consensus<Machine>) {
    // The transfer itself may last longer than the search for whom to hand over to.
    match timeout(2 * HAND_OVER, consensus.hand_over(HAND_OVER)).await {
        Ok(Ok(Some(to))) => tracing::info!(to, "leadership is handed over"),
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "leadership is not handed over"),
        Err(_) => tracing::warn!("leadership is not handed over in time"),
    }
}

/// Returns once another peer says that this one was removed. One that was removed hears nothing more, and goes on believing
/// in the last leader that it knew, so that one is asked first.
pub(super) async fn until_removed(peer: &Peer) -> Removed {
    let path = format!("/internal/v1/peers/{}", peer.config.id);
    let ours = (
        peer.consensus.group().to_string(),
        peer.consensus.beginning(),
    );
    loop {
        sleep(ASK_EVERY).await;
        let leader = peer.leader().map(|(leader, _)| leader);
        if leader == Some(peer.config.id) {
            continue;
        }
        let members = peer.members().into_iter();
        let mut others: Vec<_> = members.filter(|(id, _)| *id != peer.config.id).collect();
        others.sort_by_key(|(id, _)| Some(*id) != leader);
        for (id, address) in others {
            let told = peer.calls.get(&address, &path, SAY_WITHIN).await;
            let word: Option<Word> = told
                .ok()
                .and_then(|(_, body)| serde_json::from_slice(&body).ok());
            match word.filter(|word| (&word.group, word.beginning) == (&ours.0, ours.1)) {
                Some(word) if word.removed => return Removed(id),
                // Whoever answers knows as much as the next one, or a little less: it is asked again.
                Some(_) => break,
                None => {}
            }
        }
    }
}

/// What a peer says of another one.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Word {
    /// The group that it speaks of.
    pub group: String,
    /// Which beginning of it.
    pub beginning: u64,
    /// Whether the other one was removed, or was never to come.
    pub removed: bool,
}

/// What this peer knows of peer `id`.
pub fn word_of(peer: &Peer, id: PeerId) -> Word {
    let members = peer.consensus.committed_members();
    Word {
        group: peer.consensus.group().to_string(),
        beginning: peer.consensus.beginning(),
        removed: peer
            .consensus
            .read(|state| state.peers.is_gone(id, &members)),
    }
}
