//! What is said on a session that stands: reports, renewals and outcomes in, commands and grants out.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, StreamExt};
use raft::View;
use tokio::sync::{mpsc, watch};
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
const REPLACED: &str = "the agent connected anew, or another took its place";
const STOPS: &str = "the peer stops";

/// Serves one session and says why it ended.
///
/// It reads and writes at the same time: an agent that is slow to read is heard meanwhile, or it would pass for a silent
/// one and make room for another.
pub(super) async fn converse(
    registered: &Registered,
    stream: Stream,
    outbox: mpsc::Receiver<PeerMessage>,
) -> &'static str {
    let (sink, frames) = stream.split();
    tokio::select! {
        biased;
        () = registered.session.replaced.cancelled() => REPLACED,
        why = listen(registered, frames) => why,
        why = speak(registered, sink, outbox) => why,
    }
}

/// Says what is to be said: the welcome first and whenever the leader changes, and who belongs to the group.
async fn speak(
    registered: &Registered,
    mut sink: SplitSink<Stream, Bytes>,
    mut outbox: mpsc::Receiver<PeerMessage>,
) -> &'static str {
    let peer = &registered.peer;
    let mut watch = peer.consensus.watch();
    let mut known = *watch.borrow_and_update();
    let mut messages = VecDeque::from([welcome(peer), members(peer)]);
    loop {
        while let Some(message) = messages.pop_front() {
            if send(&mut sink, &message).await.is_err() {
                return "it could not be written to";
            }
        }
        tokio::select! {
            message = outbox.recv() => match message {
                Some(message) => messages.push_back(message),
                None => return STOPS,
            },
            now = group_changes(&mut watch, known) => {
                let Some(now) = now else {
                    return STOPS;
                };
                if now.leader != known.leader {
                    messages.push_back(welcome(peer));
                }
                if now.members_index != known.members_index {
                    messages.push_back(members(peer));
                }
                known = now;
            }
        }
    }
}

/// Returns once another leader or other members are known; none if the peer stops. Cancel-safe.
async fn group_changes(watch: &mut watch::Receiver<View>, known: View) -> Option<View> {
    while watch.changed().await.is_ok() {
        let now = *watch.borrow_and_update();
        if (now.leader, now.members_index) != (known.leader, known.members_index) {
            return Some(now);
        }
    }
    None
}

fn members(peer: &Peer) -> PeerMessage {
    let status = peer.consensus.status();
    PeerMessage::Peers {
        index: status.members_index.unwrap_or(0),
        addresses: status.members.into_values().collect(),
    }
}

/// Takes in what the agent says.
async fn listen(registered: &Registered, mut frames: SplitStream<Stream>) -> &'static str {
    let session = &registered.session;
    let mut requests = Requests::default();
    let mut quiet_until = tokio::time::Instant::now() + QUIET_FOR;
    loop {
        let answer = tokio::select! {
            frame = frames.next() => {
                if session.replaced.is_cancelled() {
                    return REPLACED;
                }
                quiet_until = tokio::time::Instant::now() + QUIET_FOR;
                session.heard_at.store(clock::monotonic().0, Ordering::Relaxed);
                match frame {
                    None => return "the agent closed it",
                    Some(Err(_)) => return "the connection broke",
                    Some(Ok(frame)) => match decode::<AgentMessage>(&frame) {
                        Ok(message) => hear(registered, message, &mut requests),
                        Err(error) => {
                            tracing::warn!(%error, "an agent was not understood");
                            return "a frame was not understood";
                        }
                    },
                }
            }
            Some(granted) = requests.renewals.join_next() => expect_no_panic(granted),
            Some(granted) = requests.stops.join_next() => expect_no_panic(granted),
            () = tokio::time::sleep_until(quiet_until) => return "the agent was quiet for too long",
        };
        if let Some(answer) = answer {
            // Full: it does not read, and will ask again.
            let _ = session.outbox.try_send(answer);
        }
    }
}

/// Requests of one agent that are not answered yet. Another one beyond the limits is declined.
#[derive(Default)]
struct Requests {
    /// At most [`RENEWALS`].
    renewals: JoinSet<PeerMessage>,
    /// At most one: the next would be recorded under an order of its own, and the agent takes the first that is granted.
    stops: JoinSet<PeerMessage>,
}

impl Requests {
    fn are_too_many(&self, for_stop: bool) -> bool {
        match for_stop {
            true => !self.stops.is_empty(),
            false => self.renewals.len() >= RENEWALS,
        }
    }
}

/// Takes one message in; an answer that is known at once comes back.
fn hear(
    registered: &Registered,
    message: AgentMessage,
    requests: &mut Requests,
) -> Option<PeerMessage> {
    let (cluster, instance) = registered.key.clone();
    let peer = registered.peer.clone();
    let takes_backers = registered.session.takes_backers;
    let now = clock::monotonic();
    let declined = |serial| {
        Some(PeerMessage::Declined {
            serial,
            why: "earlier requests are not answered yet".to_owned(),
            lasting: false,
        })
    };
    match message {
        AgentMessage::Hello { .. } => None,
        AgentMessage::Report(report) => {
            let session = registered.session.number;
            peer.board.report(&cluster, &instance, session, now, report);
            None
        }
        AgentMessage::Outcome { id, outcome } => {
            if let Some(waiting) = registered.session.waiting().remove(&id) {
                // Whoever waited may have given up.
                let _ = waiting.send(outcome);
            }
            None
        }
        AgentMessage::PlanStop { serial } if requests.are_too_many(true) => declined(serial),
        AgentMessage::PlanStop { serial } => {
            requests.stops.spawn(async move {
                lease::plan_stop(&peer, &cluster, &instance, serial, now).await
            });
            None
        }
        AgentMessage::Renew { serial }
        | AgentMessage::RenewAfterStop { serial, .. }
        | AgentMessage::Adopt { serial }
            if requests.are_too_many(false) =>
        {
            declined(serial)
        }
        AgentMessage::Renew { serial } => {
            requests.renewals.spawn(async move {
                lease::renew(&peer, &cluster, &instance, (serial, takes_backers), now).await
            });
            None
        }
        AgentMessage::RenewAfterStop { serial, stop } => {
            lease::gave_up(&peer, &cluster, &instance, stop);
            requests.renewals.spawn(async move {
                lease::renew(&peer, &cluster, &instance, (serial, takes_backers), now).await
            });
            None
        }
        AgentMessage::Adopt { serial } => {
            requests
                .renewals
                .spawn(async move { lease::adopt(&peer, &cluster, &instance, serial).await });
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

pub(super) async fn send(
    sink: &mut (impl Sink<Bytes> + Unpin),
    message: &PeerMessage,
) -> Result<(), ()> {
    let frame = encode(message).map_err(|error| tracing::error!(%error, "encode a message"))?;
    match timeout(WRITE_WITHIN, sink.send(Bytes::from(frame))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
