//! The handle on a running peer.

use std::{sync::Arc, time::Duration};

use openraft::{
    Raft,
    async_runtime::WatchReceiver,
    errors::{ClientWriteError, Fatal, ForwardReason, LinearizableReadError, RaftError},
    raft::{ClientWriteResponse, linearizable_read::LinearizerOption},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    Config, ConfirmError, GroupId, ProposeError, StateMachine, Status, Stopped, Timing, Transport,
    View,
    birth::Told,
    heard::Heard,
    lease::{self, Silence, Wakefulness},
    log_writer::Flushes,
    machine::{Machine, Shared},
    record, status,
    types::{CommandBytes, TypeConfig},
    wire::MAX_COMMAND_BYTES,
};

/// What became of a command.
type Written =
    Result<ClientWriteResponse<TypeConfig>, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

/// How long [`Consensus::shutdown`] waits for the log to be closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle on the local peer; clones are cheap and mean the same peer.
///
/// The peer takes part in its group until [`shutdown`](Self::shutdown), or until the last handle is dropped.
pub struct Consensus<S: StateMachine> {
    parts: Arc<Parts<S>>,
}

impl<S: StateMachine> Clone for Consensus<S> {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.clone(),
        }
    }
}

/// What a running peer is made of.
pub(crate) struct Parts<S: StateMachine> {
    pub(crate) raft: Raft<TypeConfig, Machine<S>>,
    pub(crate) shared: Shared<S>,
    pub(crate) config: Arc<Config>,
    /// What a first member with a new folder is told.
    pub(crate) told: Told,
    pub(crate) view: watch::Receiver<View>,
    /// Closes when the log is closed.
    pub(crate) log_closed: watch::Receiver<()>,
    pub(crate) flushes: Arc<Flushes>,
    pub(crate) silence: Silence,
    pub(crate) wakefulness: Wakefulness,
    /// When entries or a heartbeat that this peer accepted arrived last.
    pub(crate) heard: Heard,
    /// Aborted with the last handle.
    pub(crate) _tasks: JoinSet<()>,
}

/// A command that has been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<R> {
    /// Where the command stands in the log; grows with every command and never comes twice.
    pub index: u64,
    /// What the state machine replied.
    pub reply: R,
}

/// Proof that this peer led its group at some moment after the question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// The term it leads in.
    pub term: u64,
    /// The leader: this peer.
    pub leader: u64,
    /// Every command committed before the question is at or below this index, and the state contains it.
    pub read_index: u64,
}

impl<S: StateMachine> Consensus<S> {
    pub(crate) fn new(parts: Parts<S>) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    pub(crate) fn raft(&self) -> &Raft<TypeConfig, Machine<S>> {
        &self.parts.raft
    }

    pub(crate) fn parts(&self) -> &Parts<S> {
        &self.parts
    }

    pub(crate) fn told(&self) -> Told {
        self.parts.told.clone()
    }

    /// This peer.
    pub fn id(&self) -> u64 {
        self.parts.config.id
    }

    /// The group of this peer.
    pub fn group(&self) -> GroupId {
        self.parts.config.group
    }

    /// Which beginning of the group this peer belongs to. Peers of different beginnings refuse each other.
    pub fn beginning(&self) -> u64 {
        self.parts.config.beginning
    }

    /// Whether the group began with this peer alone. Then it stays alone: see
    /// [`ChangeError::BornAlone`](crate::ChangeError::BornAlone).
    pub fn was_born_alone(&self) -> bool {
        self.parts.told.birth.first.len() == 1
    }

    /// How this peer reaches the others.
    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.parts.config.transport
    }

    /// The timing of the group.
    pub fn timing(&self) -> Timing {
        self.parts.config.timing
    }

    /// Has `command` committed by a majority and applied, and gives the reply. Waits at most
    /// [`Timing::proposal`].
    ///
    /// Dropping the future does not take the command back.
    ///
    /// # Errors
    /// [`ProposeError`]; each variant says whether the command may still be applied.
    pub async fn propose(&self, command: S::Command) -> Result<Applied<S::Reply>, ProposeError> {
        let bytes = record::seal(&command).map_err(ProposeError::Command)?;
        if bytes.len() > MAX_COMMAND_BYTES {
            return Err(ProposeError::TooLarge {
                bytes: bytes.len(),
                limit: MAX_COMMAND_BYTES,
            });
        }
        let written = timeout(
            self.timing().proposal,
            self.write(CommandBytes(bytes.into())),
        )
        .await;
        let response =
            written
                .map_err(|_| ProposeError::Unknown)?
                .map_err(|error| match error {
                    RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                        ProposeError::NotLeader {
                            leader: forward.leader_id.filter(|leader| *leader != self.id()),
                        }
                    }
                    RaftError::APIError(_) => ProposeError::Unknown,
                    RaftError::Fatal(fatal) => stopped(&fatal).into(),
                })?;
        let index = response.log_id.index;
        // The reply is made on this peer, from a value of its own: its size needs no limit.
        match record::unseal(&response.data.0, usize::MAX) {
            Ok(reply) => Ok(Applied { index, reply }),
            Err(source) => Err(ProposeError::Reply { index, source }),
        }
    }

    /// Writes `command` into the log. A leader that has heard nothing from a majority for a moment takes no commands, and
    /// on a busy machine goes on a moment later: only one that is cut off refuses, when another may lead.
    async fn write(&self, command: CommandBytes) -> Written {
        let timing = self.timing();
        let patience = Instant::now() + timing.election_max;
        loop {
            let written = self.raft().client_write(command.clone()).await;
            let lacks_lease = matches!(
                &written,
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))
                    if forward.reason == ForwardReason::LeaseExpired
            );
            if !lacks_lease || Instant::now() >= patience {
                return written;
            }
            sleep(timing.heartbeat / 10).await;
        }
    }

    /// Proves that this peer leads: a majority answers heartbeats that were sent after this call began, and the
    /// state has caught up with all that was committed before. What [`read`](Self::read) then gives is at least as
    /// new as the call.
    ///
    /// Two round trips of time at most, without a write; `deadline` bounds the whole.
    ///
    /// # Errors
    /// [`ConfirmError`].
    pub async fn confirm_leadership(&self, deadline: Duration) -> Result<Leadership, ConfirmError> {
        // An age of zero accepts no answer to a heartbeat sent before now.
        let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(deadline);
        let confirmed = timeout(deadline, async {
            let linearizer = self
                .raft()
                .get_read_linearizer(option)
                .await
                .map_err(|error| confirm_error(self.id(), error))?;
            linearizer
                .await_ready(self.raft())
                .await
                .map_err(|fatal| ConfirmError::from(stopped(&fatal)))
        });
        let state = confirmed.await.map_err(|_| ConfirmError::Unconfirmed)??;
        let read = state.read_log_id();
        Ok(Leadership {
            term: read.committed_leader_id().term,
            leader: self.id(),
            read_index: read.index(),
        })
    }

    /// Looks at the state as this peer has applied it, which may be behind the group's. No command is applied while
    /// `look` runs, so it should be short, and it must not call back into this peer.
    ///
    /// # Panics
    /// If applying a command has panicked: the state may be changed by half.
    pub fn read<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        self.parts.shared.read(|replica| look(&replica.state))
    }

    /// What this peer knows of itself and its group. Cheap: no call leaves this peer.
    pub fn status(&self) -> Status {
        let metrics = self.raft().metrics();
        Status::of(&metrics.borrow_watched(), &self.parts.flushes, self.heard())
    }

    /// See [`Status::heard_leader`].
    pub fn heard_leader(&self) -> Option<Duration> {
        let metrics = self.raft().metrics();
        status::heard_leader(&metrics.borrow_watched(), self.heard())
    }

    fn heard(&self) -> Option<lease::Instant> {
        self.parts.heard.at(self.parts.view.borrow().applied_index)
    }

    /// The changes of leader, term and applied index, the latest at any time. The role
    /// [`Stopped`](crate::Role::Stopped) is the last change.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.parts.view.clone()
    }

    /// Starts a snapshot of what is applied; [`Status::snapshot_index`] shows when it is there.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn trigger_snapshot(&self) -> Result<(), Stopped> {
        self.raft()
            .trigger()
            .snapshot()
            .await
            .map_err(|fatal| stopped(&fatal))
    }

    /// Leaves the group's work and closes the store; returns when the folder can be opened again, or after 10 s.
    /// Other handles of this peer then answer [`Stopped`].
    pub async fn shutdown(self) {
        let mut log_closed = self.parts.log_closed.clone();
        let closed = async {
            if let Err(error) = self.raft().shutdown().await {
                tracing::error!(peer = self.id(), %error, "peer ended by a panic");
            }
            // Nothing is ever sent: the channel can only close.
            let _ = log_closed.changed().await;
        };
        // A disk that hangs holds the whole engine up.
        if timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!(peer = self.id(), "the log is still open");
        }
    }
}

/// Why openraft does not let peer `id` read.
pub(crate) fn confirm_error(
    id: u64,
    error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>,
) -> ConfirmError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            ConfirmError::NotLeader {
                leader: forward.leader_id.filter(|leader| *leader != id),
            }
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ConfirmError::Unconfirmed,
        RaftError::Fatal(fatal) => stopped(&fatal).into(),
    }
}

pub(crate) fn stopped(fatal: &Fatal<TypeConfig>) -> Stopped {
    Stopped {
        reason: fatal.to_string(),
    }
}
