//! The connection to one peer: opened again for ever, never trusted with a wait.
//!
//! It carries reports and answers out and commands in. It decides nothing; the one thing it refuses
//! is a peer of another Raft group. It stands from the peer's welcome on: a peer that hears another agent of
//! the same instance turns this one away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::backing::Asked;
use super::claim::{Claim, Verdict};
use super::directory::Named;
use crate::clock;
use crate::control::backing::BACKERS_HEADER;
use crate::control::{
    AgentMessage, FRAME_LIMIT, FrameError, PeerMessage, REPORT_EVERY, Run, SESSION_PATH,
    SESSION_PROTOCOL, decode, encode,
};
use crate::model::view::SILENT_AFTER;
use crate::model::{ClusterName, InstanceId, Report, Timestamp};
use crate::security::{Expected, Wire};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The peer says its welcome at once; one that is too busy for longer is asked anew.
const WELCOME_WITHIN: Duration = Duration::from_secs(2);
const WRITE_WITHIN: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many messages may wait for a peer that does not read. More are dropped: its session is ending.
const OUTBOX: usize = 64;

/// One session of a peer, for as long as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId {
    /// Which of the configured peers.
    pub peer: usize,
    /// Counts its sessions.
    pub number: u64,
}

/// What a session tells the worker.
#[derive(Debug)]
pub enum Incoming {
    /// It stands; messages for the peer go here.
    Opened(SessionId, mpsc::Sender<AgentMessage>),
    /// The peer said something.
    Said(SessionId, PeerMessage),
    /// It ended.
    Closed(SessionId),
    /// Not of a session: another agent asks.
    Back(Asked),
    /// Not of a session: the agent is being stopped on purpose. Answered when it may end.
    Stop(oneshot::Sender<()>),
}

/// What every session needs.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// Whom the agent serves.
    pub cluster: ClusterName,
    /// Whose agent it is.
    pub instance: InstanceId,
    /// This process.
    pub run: Run,
    /// How it speaks to the peers.
    pub wire: Wire,
    /// What the peers say to it.
    pub claim: Arc<Claim>,
    /// The Raft group that is obeyed: of the promise, or under which the data was filled; none before the
    /// first adoption.
    pub group: watch::Receiver<Option<String>>,
    /// The latest report; none before the first look.
    pub reports: watch::Receiver<Option<Report>>,
    /// What the peers say of the group's members.
    pub named: Arc<watch::Sender<Named>>,
    /// The worker. Bounded: a busy worker slows the peers down.
    pub worker: mpsc::Sender<Incoming>,
}

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("connect")]
    Connect(#[source] std::io::Error),
    #[error("upgrade the connection")]
    Upgrade(#[source] hyper::Error),
    #[error("the peer answers {0}")]
    Status(StatusCode),
    #[error("{0} took too long")]
    Deadline(&'static str),
    #[error("the connection ended")]
    Ended,
    #[error("transfer a frame")]
    Transfer(#[source] std::io::Error),
    #[error("understand a frame")]
    Frame(#[from] FrameError),
    #[error(
        "the peer belongs to Raft group {theirs}, this agent obeys {ours}; check `peers`, or move its state folder and its data folder away if the group was built anew"
    )]
    ForeignGroup { ours: String, theirs: String },
    #[error("the peer turns this agent away: {0}")]
    TurnedAway(String),
    #[error("most peers turn this agent away")]
    Withdrawn,
    #[error("the peer does not say its welcome")]
    NoWelcome,
    #[error("the worker ended")]
    NoWorker,
}

/// Since when a peer has turned the agent away, and whether that was said in the log.
#[derive(Debug, Default)]
struct TurnedAway {
    since: Option<Timestamp>,
    is_said: bool,
}

impl TurnedAway {
    /// Another agent is certain only once it must have been heard meanwhile: before that it may be the
    /// connection of the process before this one.
    fn note(&mut self, sessions: &Sessions, peer: &str, why: &str) {
        let now = clock::monotonic();
        let since = *self.since.get_or_insert(now);
        if self.is_said || now.since(since) <= SILENT_AFTER {
            return;
        }
        self.is_said = true;
        tracing::error!(
            cluster = %sessions.cluster,
            instance = %sessions.instance,
            peer,
            why,
            "there are two agents of this instance, and this one is not obeyed; stop one, or give this one an `instance`, `folder` and `data` of its own"
        );
    }

    fn is_over(&mut self, sessions: &Sessions, peer: &str) {
        if self.is_said {
            tracing::info!(instance = %sessions.instance, peer, "the peer takes this agent now");
        }
        *self = TurnedAway::default();
    }
}

impl Sessions {
    /// Keeps a session to this peer until dropped.
    pub async fn keep(self, peer: usize, address: String) {
        let mut pause = FIRST_PAUSE;
        let mut was_reported = false;
        let mut turned_away = TurnedAway::default();
        for number in 0u64.. {
            self.claim.may_offer(peer).await;
            let id = SessionId { peer, number };
            let mut opened = false;
            let progress = (&mut opened, &mut turned_away);
            let end = self.clone().run(id, &address, progress).await;
            let verdict = match &end {
                SessionError::TurnedAway(_) => Some(Verdict::TurnedAway),
                _ => None,
            };
            self.claim.note(peer, verdict);
            if opened {
                pause = FIRST_PAUSE;
                was_reported = false;
                if self.worker.send(Incoming::Closed(id)).await.is_err() {
                    return;
                }
            }
            match end {
                SessionError::NoWorker => return,
                SessionError::ForeignGroup { .. } => {
                    tracing::error!(peer = %address, error = %end, "session refused");
                    pause = LONGEST_PAUSE;
                }
                SessionError::TurnedAway(why) => turned_away.note(&self, &address, &why),
                other if !was_reported => {
                    tracing::warn!(peer = %address, error = %crate::agent::chain(&other), "no session");
                    was_reported = true;
                }
                _ => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn run(
        self,
        id: SessionId,
        address: &str,
        progress: (&mut bool, &mut TurnedAway),
    ) -> SessionError {
        match self.talk(id, address, progress).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn talk(
        mut self,
        id: SessionId,
        address: &str,
        (opened, turned_away): (&mut bool, &mut TurnedAway),
    ) -> Result<std::convert::Infallible, SessionError> {
        let connected = timeout(CONNECT_WITHIN, upgraded(&self.wire, address)).await;
        // The driver of the HTTP connection ends with the upgrade.
        let (upgraded, _driver) = connected.map_err(|_| SessionError::Deadline("connecting"))??;
        let codec = LengthDelimitedCodec::builder()
            .max_frame_length(FRAME_LIMIT)
            .new_codec();
        let mut framed = Framed::new(TokioIo::new(upgraded), codec);
        let hello = AgentMessage::Hello {
            cluster: self.cluster.clone(),
            instance: self.instance.clone(),
            group: self.group.borrow().clone(),
            run: self.run,
        };
        write(&mut framed, &hello).await?;
        let welcome = timeout(WELCOME_WITHIN, heard(&mut framed)).await;
        let welcome = welcome.map_err(|_| SessionError::Deadline("the welcome"))??;
        match &welcome {
            PeerMessage::Welcome { group, .. } => self.check_group(group)?,
            PeerMessage::TurnedAway { why } => return Err(SessionError::TurnedAway(why.clone())),
            _ => return Err(SessionError::NoWelcome),
        }
        let claim = Arc::clone(&self.claim);
        claim.note(id.peer, Some(Verdict::Welcomed));
        turned_away.is_over(&self, address);
        let (outbox, mut messages) = mpsc::channel(OUTBOX);
        let worker = self.worker.clone();
        let tell = |incoming| async {
            let told = worker.send(incoming).await;
            told.map_err(|_| SessionError::NoWorker)
        };
        *opened = true;
        tell(Incoming::Opened(id, outbox)).await?;
        tell(Incoming::Said(id, welcome)).await?;
        self.reports.mark_changed();
        loop {
            tokio::select! {
                message = heard(&mut framed) => {
                    let message = message?;
                    if let PeerMessage::Welcome { group, .. } = &message {
                        self.check_group(group)?;
                    }
                    if let PeerMessage::Peers { index, addresses } = message {
                        Named { index, addresses }.tell(&self.named);
                        continue;
                    }
                    tell(Incoming::Said(id, message)).await?;
                }
                () = claim.must_withdraw() => return Err(SessionError::Withdrawn),
                message = messages.recv() => {
                    let message = message.ok_or(SessionError::NoWorker)?;
                    write(&mut framed, &message).await?;
                }
                changed = self.reports.changed() => {
                    changed.map_err(|_| SessionError::NoWorker)?;
                    self.report(&mut framed).await?;
                }
                // The worker publishes at least this often; a report is due even if it is busy.
                () = sleep(REPORT_EVERY + REPORT_EVERY / 4) => self.report(&mut framed).await?,
            }
        }
    }

    fn check_group(&self, theirs: &str) -> Result<(), SessionError> {
        match self.group.borrow().clone() {
            Some(ours) if ours != theirs => Err(SessionError::ForeignGroup {
                ours,
                theirs: theirs.to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    async fn report(&mut self, framed: &mut Connection) -> Result<(), SessionError> {
        let report = self.reports.borrow_and_update().clone();
        match report {
            Some(report) => write(framed, &AgentMessage::Report(report)).await,
            None => Ok(()),
        }
    }
}

type Connection = Framed<TokioIo<hyper::upgrade::Upgraded>, LengthDelimitedCodec>;

/// The next message. Cancel-safe.
async fn heard(framed: &mut Connection) -> Result<PeerMessage, SessionError> {
    let frame = framed.next().await.ok_or(SessionError::Ended)?;
    Ok(decode(&frame.map_err(SessionError::Transfer)?)?)
}

async fn write(framed: &mut Connection, message: &AgentMessage) -> Result<(), SessionError> {
    let frame = Bytes::from(encode(message)?);
    timeout(WRITE_WITHIN, framed.send(frame))
        .await
        .map_err(|_| SessionError::Deadline("writing"))?
        .map_err(SessionError::Transfer)
}

async fn upgraded(
    wire: &Wire,
    address: &str,
) -> Result<(hyper::upgrade::Upgraded, JoinSet<()>), SessionError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(SessionError::Connect)?;
    stream.set_nodelay(true).map_err(SessionError::Connect)?;
    // A peer whose host died is given up after this, although nothing resets the connection.
    rustix::net::sockopt::set_tcp_user_timeout(&stream, 2_000)
        .map_err(|error| SessionError::Connect(error.into()))?;
    let stream = wire
        .call(stream, Expected::AnyPeer)
        .await
        .map_err(SessionError::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(SessionError::Upgrade)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error is the request's error too.
        let _ = connection.with_upgrades().await;
    });
    let request = Request::get(SESSION_PATH)
        .header(HOST, address)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, SESSION_PROTOCOL)
        .header(BACKERS_HEADER, "1")
        .body(Empty::<Bytes>::new())
        .expect("constant headers and a configured address make a request");
    let response = sender
        .send_request(request)
        .await
        .map_err(SessionError::Upgrade)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(SessionError::Status(response.status()));
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(SessionError::Upgrade)?;
    Ok((upgraded, driver))
}
