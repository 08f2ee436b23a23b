//! What is said on a session that stands: reports, renewals and outcomes in, commands and grants out.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock;
use crate::control::{AgentMessage, PeerMessage, decode, encode};
use crate::model::PeerId;

use super::super::{Peer, expect_no_panic, lease};
use super::{Registered, Stream};

/// A session that brought nothing for this long is closed: ten reports were missed.
const QUIET_FOR: Duration = Duration::from_secs(5);
/// A message that the connection does not take for this long ends the session.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// Renewals of one agent that are answered at once; further ones are declined.
const RENEWALS: usize = 4;

/// Serves one session and says why it ended.
pub(super) async fn converse(
    registered: &Registered,
    mut stream: Stream,
    mut outbox: mpsc::Receiver<PeerMessage>,
) -> &'static str {
    let peer = &registered.peer;
    let mut watch = peer.consensus.watch();
    let mut leader = watch.borrow_and_update().leader;
    if send(&mut stream, &welcome(peer)).await.is_err() {
        return "it could not be written to";
    }
    let mut grants = JoinSet::new();
    let mut quiet_until = tokio::time::Instant::now() + QUIET_FOR;
    loop {
        let message = tokio::select! {
            () = registered.session.replaced.cancelled() => return "the agent connected anew, or another took its place",
            frame = stream.next() => {
                quiet_until = tokio::time::Instant::now() + QUIET_FOR;
                let heard_at = clock::monotonic().0;
                registered.session.heard_at.store(heard_at, Ordering::Relaxed);
                match frame {
                    None => return "the agent closed it",
                    Some(Err(_)) => return "the connection broke",
                    Some(Ok(frame)) => match decode::<AgentMessage>(&frame) {
                        Ok(message) => match hear(registered, message, &mut grants) {
                            Some(answer) => answer,
                            None => continue,
                        },
                        Err(error) => {
                            tracing::warn!(%error, "an agent was not understood");
                            return "a frame was not understood";
                        }
                    },
                }
            }
            message = outbox.recv() => match message {
                Some(message) => message,
                None => return "the peer stops",
            },
            Some(granted) = grants.join_next() => match expect_no_panic(granted) {
                Some(message) => message,
                None => continue,
            },
            changed = watch.changed() => {
                if changed.is_err() {
                    return "the peer stops";
                }
                let now = watch.borrow_and_update().leader;
                if now == leader {
                    continue;
                }
                leader = now;
                welcome(peer)
            }
            () = tokio::time::sleep_until(quiet_until) => return "the agent was quiet for too long",
        };
        if send(&mut stream, &message).await.is_err() {
            return "it could not be written to";
        }
    }
}

/// Takes one message in; an answer that is known at once comes back.
fn hear(
    registered: &Registered,
    message: AgentMessage,
    grants: &mut JoinSet<PeerMessage>,
) -> Option<PeerMessage> {
    let (cluster, instance) = registered.key.clone();
    let peer = registered.peer.clone();
    let now = clock::monotonic();
    match message {
        AgentMessage::Hello { .. } => None,
        AgentMessage::Report(report) => {
            peer.board.report(&cluster, &instance, now, report);
            None
        }
        AgentMessage::Outcome { id, outcome } => {
            if let Some(waiting) = registered.session.waiting().remove(&id) {
                // Whoever waited may have given up.
                let _ = waiting.send(outcome);
            }
            None
        }
        AgentMessage::Renew { serial }
        | AgentMessage::RenewAfterStop { serial, .. }
        | AgentMessage::PlanStop { serial }
        | AgentMessage::Adopt { serial }
            if grants.len() >= RENEWALS =>
        {
            Some(PeerMessage::Declined {
                serial,
                why: "earlier requests are not answered yet".to_owned(),
                lasting: false,
            })
        }
        AgentMessage::Renew { serial } => {
            grants
                .spawn(async move { lease::renew(&peer, &cluster, &instance, serial, now).await });
            None
        }
        AgentMessage::RenewAfterStop { serial, stop } => {
            lease::gave_up(&peer, &cluster, &instance, stop);
            grants
                .spawn(async move { lease::renew(&peer, &cluster, &instance, serial, now).await });
            None
        }
        AgentMessage::PlanStop { serial } => {
            grants.spawn(
                async move { lease::plan_stop(&peer, &cluster, &instance, serial, now).await },
            );
            None
        }
        AgentMessage::Adopt { serial } => {
            grants.spawn(async move { lease::adopt(&peer, &cluster, &instance, serial).await });
            None
        }
    }
}

pub(super) fn welcome(peer: &Peer) -> PeerMessage {
    PeerMessage::Welcome {
        group: peer.consensus.group().to_string(),
        peer: peer.config.id,
        leader: peer.consensus.watch().borrow().leader.map(PeerId),
    }
}

pub(super) async fn send(stream: &mut Stream, message: &PeerMessage) -> Result<(), ()> {
    let frame = encode(message).map_err(|error| tracing::error!(%error, "encode a message"))?;
    match timeout(WRITE_WITHIN, stream.send(Bytes::from(frame))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
