//! The connections of agents: each keeps one to every peer, says on all of them what it sees, and obeys
//! the leader's commands. A session that says nothing for a while is closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::control::{AgentMessage, FRAME_LIMIT, PeerMessage, decode, encode};
use crate::duty::Outcome;
use crate::model::{ClusterName, InstanceId, PeerId};
use crate::recovery::Step;

use super::{Peer, expect_no_panic, lease};

/// The first message must arrive within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A session that brought nothing for this long is closed: ten reports were missed.
const QUIET_FOR: Duration = Duration::from_secs(5);
/// A message that the connection does not take for this long ends the session.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// Renewals of one agent that are answered at once; further ones are declined.
const RENEWALS: usize = 4;
/// Messages that wait to be written. When full, a command counts as failed and is sent again.
const OUTBOX: usize = 64;
/// The most sessions at once.
const SESSIONS: usize = 1024;

type Stream = Framed<TokioIo<Upgraded>, LengthDelimitedCodec>;
type Key = (ClusterName, InstanceId);

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no session, or its queue is full.
    #[error("its agent is not connected to this peer")]
    NotConnected,
    /// The session ended before the outcome came; the command may have been carried out.
    #[error("the connection to its agent ended")]
    SessionEnded,
}

/// The sessions of this peer.
#[derive(Default)]
pub struct Sessions {
    by_instance: Mutex<BTreeMap<Key, Arc<Session>>>,
    next: AtomicU64,
}

struct Session {
    number: u64,
    outbox: mpsc::Sender<PeerMessage>,
    next_command: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Outcome>>>,
    replaced: CancellationToken,
}

impl Session {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Outcome>>> {
        self.waiting
            .lock()
            .expect("no holder of the waiting panics")
    }
}

/// Forgets a waiting command when whoever waited for it is dropped.
struct Waiting {
    session: Arc<Session>,
    id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.session.waiting().remove(&self.id);
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Session>>> {
        self.by_instance
            .lock()
            .expect("no holder of the sessions panics")
    }

    /// Sends a command and waits for its outcome. Dropping the future forgets the command, not its effect.
    pub(super) async fn command(
        &self,
        cluster: &ClusterName,
        step: Step,
    ) -> Result<Outcome, CommandError> {
        let key = (cluster.clone(), step.instance.clone());
        let session = self.lock().get(&key).cloned();
        let session = session.ok_or(CommandError::NotConnected)?;
        let id = session.next_command.fetch_add(1, Ordering::Relaxed);
        let (sender, outcome) = oneshot::channel();
        session.waiting().insert(id, sender);
        let waiting = Waiting { session, id };
        waiting
            .session
            .outbox
            .try_send(PeerMessage::Command { id, step })
            .map_err(|_| CommandError::NotConnected)?;
        let outcome = outcome.await.map_err(|_| CommandError::SessionEnded);
        drop(waiting);
        outcome
    }
}

/// Owns every session of the peer.
pub(super) async fn accept(peer: Arc<Peer>, mut upgrades: mpsc::Receiver<OnUpgrade>) -> String {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            upgrade = upgrades.recv(), if sessions.len() < SESSIONS => match upgrade {
                Some(upgrade) => {
                    sessions.spawn(begin(peer.clone(), upgrade));
                }
                None => return "no more sessions can arrive".to_owned(),
            },
            Some(ended) = sessions.join_next() => {
                expect_no_panic(ended);
            }
        }
    }
}

async fn begin(peer: Arc<Peer>, upgrade: OnUpgrade) {
    let Ok(Ok(upgraded)) = timeout(HELLO_WITHIN, upgrade).await else {
        return;
    };
    let codec = LengthDelimitedCodec::builder()
        .max_frame_length(FRAME_LIMIT)
        .new_codec();
    let mut stream = Framed::new(TokioIo::new(upgraded), codec);
    let hello = match timeout(HELLO_WITHIN, stream.next()).await {
        Ok(Some(Ok(frame))) => decode::<AgentMessage>(&frame),
        _ => return,
    };
    let (cluster, instance, group) = match hello {
        Ok(AgentMessage::Hello {
            cluster,
            instance,
            group,
        }) => (cluster, instance, group),
        Ok(_) => return tracing::warn!("an agent did not say hello"),
        Err(error) => return tracing::warn!(%error, "an agent was not understood"),
    };
    let ours = peer.consensus.group().to_string();
    if group.as_ref().is_some_and(|group| *group != ours) {
        tracing::warn!(%cluster, %instance, ?group, "an agent obeys another group");
        // It learns from the welcome whom it reached.
        let _ = send(&mut stream, &welcome(&peer)).await;
        return;
    }
    let (outbox, commands) = mpsc::channel(OUTBOX);
    let session = Arc::new(Session {
        number: peer.sessions.next.fetch_add(1, Ordering::Relaxed) + 1,
        outbox,
        next_command: AtomicU64::new(1),
        waiting: Mutex::default(),
        replaced: CancellationToken::new(),
    });
    let registered = Registered::new(&peer, (cluster, instance), session);
    tracing::info!(cluster = %registered.key.0, instance = %registered.key.1, "an agent connected");
    let why = converse(&registered, stream, commands).await;
    tracing::info!(cluster = %registered.key.0, instance = %registered.key.1, why, "an agent's session ended");
}

/// A session that others can send to; it leaves no trace when it is dropped.
struct Registered {
    peer: Arc<Peer>,
    key: Key,
    session: Arc<Session>,
}

impl Registered {
    fn new(peer: &Arc<Peer>, key: Key, session: Arc<Session>) -> Self {
        let earlier = peer.sessions.lock().insert(key.clone(), session.clone());
        if let Some(earlier) = earlier {
            earlier.replaced.cancel();
            earlier.waiting().clear();
        }
        peer.board.connected(&key.0, &key.1, session.number);
        Registered {
            peer: peer.clone(),
            key,
            session,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut sessions = self.peer.sessions.lock();
        if sessions
            .get(&self.key)
            .is_some_and(|current| current.number == self.session.number)
        {
            sessions.remove(&self.key);
        }
        drop(sessions);
        self.session.waiting().clear();
        let (cluster, instance) = &self.key;
        self.peer
            .board
            .disconnected(cluster, instance, self.session.number);
    }
}

/// Serves one session and says why it ended.
async fn converse(
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
            () = registered.session.replaced.cancelled() => return "the agent connected anew",
            frame = stream.next() => {
                quiet_until = tokio::time::Instant::now() + QUIET_FOR;
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
        AgentMessage::Renew { serial } | AgentMessage::Adopt { serial }
            if grants.len() >= RENEWALS =>
        {
            Some(PeerMessage::Declined {
                serial,
                why: "earlier requests are not answered yet".to_owned(),
            })
        }
        AgentMessage::Renew { serial } => {
            grants
                .spawn(async move { lease::renew(&peer, &cluster, &instance, serial, now).await });
            None
        }
        AgentMessage::Adopt { serial } => {
            grants.spawn(async move { lease::adopt(&peer, &cluster, &instance, serial).await });
            None
        }
    }
}

fn welcome(peer: &Peer) -> PeerMessage {
    PeerMessage::Welcome {
        group: peer.consensus.group().to_string(),
        peer: peer.config.id,
        leader: peer.consensus.watch().borrow().leader.map(PeerId),
    }
}

async fn send(stream: &mut Stream, message: &PeerMessage) -> Result<(), ()> {
    let frame = encode(message).map_err(|error| tracing::error!(%error, "encode a message"))?;
    match timeout(WRITE_WITHIN, stream.send(Bytes::from(frame))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
