//! The connections of agents: each keeps one to every peer, says on all of them what it sees, and obeys
//! the leader's commands. A session that says nothing for a while is closed. An instance has one session; a
//! second process that claims its name is turned away while the first is heard.

mod conversation;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::control::{AgentMessage, FRAME_LIMIT, Holder, PeerMessage, Run, decode};
use crate::duty::Outcome;
use crate::model::{ClusterName, InstanceId, Timestamp};
use crate::recovery::Step;
use crate::security::Who;

use super::{Peer, expect_no_panic};
use conversation::{converse, send, welcome};

/// The first message must arrive within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Messages that wait to be written. When full, a command counts as failed and is sent again.
const OUTBOX: usize = 64;
/// An agent that is turned away tries again within a second or two.
const CONTESTED_FOR: Duration = Duration::from_secs(5);
/// The most sessions at once.
const SESSIONS: usize = 1024;

/// A connection that becomes a session, and whose certificate came with it; none in plain HTTP.
pub struct Upgrade {
    /// The connection.
    pub upgrade: OnUpgrade,
    /// Whom its certificate speaks for.
    pub caller: Option<Who>,
    /// Whether the agent understands who can back its instance.
    pub takes_backers: bool,
}

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
    run: Run,
    /// When the last frame came, in milliseconds of this peer's clock.
    heard_at: AtomicU64,
    /// The last other process that was turned away for this one, and when. Said once in the log.
    turned_away: Mutex<Option<(Run, Timestamp)>>,
    takes_backers: bool,
    outbox: mpsc::Sender<PeerMessage>,
    next_command: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Outcome>>>,
    replaced: CancellationToken,
}

impl Session {
    fn holder(&self) -> Holder {
        Holder {
            run: self.run,
            heard_at: Timestamp(self.heard_at.load(Ordering::Relaxed)),
        }
    }

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

    /// The instances of which a second agent, turned away a moment ago, says that they are its own.
    pub(super) fn contested(&self, cluster: &ClusterName) -> Vec<InstanceId> {
        let now = clock::monotonic();
        let is_contested = |session: &Session| {
            let last = session.turned_away.lock().expect("no holder panics");
            last.is_some_and(|(_, at)| now.since(at) <= CONTESTED_FOR)
        };
        let sessions = self.lock();
        let of_cluster = sessions.iter().filter(|((of, _), _)| of == cluster);
        of_cluster
            .filter(|(_, session)| is_contested(session))
            .map(|((_, instance), _)| instance.clone())
            .collect()
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
pub(super) async fn accept(peer: Arc<Peer>, mut upgrades: mpsc::Receiver<Upgrade>) -> String {
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

async fn begin(peer: Arc<Peer>, upgrade: Upgrade) {
    let Upgrade {
        upgrade,
        caller,
        takes_backers,
    } = upgrade;
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
    let (cluster, instance, group, run) = match hello {
        Ok(AgentMessage::Hello {
            cluster,
            instance,
            group,
            run,
        }) => (cluster, instance, group, run),
        Ok(_) => return tracing::warn!("an agent did not say hello"),
        Err(error) => return tracing::warn!(%error, "an agent was not understood"),
    };
    let is_itself = |who: &Who| {
        let (cluster, instance) = (cluster.clone(), instance.clone());
        *who == Who::Agent { cluster, instance }
    };
    if let Some(who) = caller.filter(|who| !is_itself(who)) {
        return tracing::warn!(%cluster, %instance, certificate = %who, "an agent says that it is another than its certificate");
    }
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
        run,
        heard_at: AtomicU64::new(clock::monotonic().0),
        turned_away: Mutex::default(),
        takes_backers,
        outbox,
        next_command: AtomicU64::new(1),
        waiting: Mutex::default(),
        replaced: CancellationToken::new(),
    });
    let registered = match Registered::new(&peer, (cluster, instance), session) {
        Ok(registered) => registered,
        Err(why) => {
            // It tries again, and knows why.
            let _ = send(&mut stream, &PeerMessage::TurnedAway { why }).await;
            return;
        }
    };
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
    /// Takes the place of an earlier session if that makes room. Errors: in words, it does not.
    fn new(peer: &Arc<Peer>, key: Key, session: Arc<Session>) -> Result<Self, String> {
        let now = clock::monotonic();
        let awake_since = peer.vigil.since(now);
        let mut sessions = peer.sessions.lock();
        if let Some(present) = sessions.get(&key)
            && !present.holder().makes_room(session.run, now, awake_since)
        {
            return Err(turn_away(peer, &key, present, session.run));
        }
        let earlier = sessions.insert(key.clone(), session.clone());
        drop(sessions);
        if let Some(earlier) = earlier {
            earlier.replaced.cancel();
            earlier.waiting().clear();
        }
        peer.board.connected(&key.0, &key.1, session.number);
        Ok(Registered {
            peer: peer.clone(),
            key,
            session,
        })
    }
}

fn turn_away(peer: &Peer, (cluster, instance): &Key, present: &Session, newcomer: Run) -> String {
    let mut last = present.turned_away.lock().expect("no holder panics");
    let earlier = last.replace((newcomer, clock::monotonic()));
    if earlier.is_none_or(|(run, _)| run != newcomer) {
        tracing::warn!(%cluster, %instance, "a second agent says that it is this instance's, and is turned away");
    }
    format!(
        "another agent of instance {instance} of cluster {cluster} is connected to peer {} and alive",
        peer.config.id
    )
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
