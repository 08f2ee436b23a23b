//! What agents and peers say to each other. Variants are only ever added at the end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Run;
use crate::duty::Outcome;
use crate::model::{Backers, ClusterName, InstanceId, Order, PeerId, Report};
use crate::recovery::Step;

/// From an agent to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentMessage {
    /// The first message of a session.
    Hello {
        /// The cluster it serves.
        cluster: ClusterName,
        /// Whose agent it is.
        instance: InstanceId,
        /// The Raft group it obeys; none before it adopted one.
        group: Option<String>,
        /// Which process speaks for the instance.
        run: Run,
    },
    /// One reading; sent to every peer, at least every [`super::REPORT_EVERY`].
    Report(Report),
    /// Asks for the primary lease. Counted by the agent from the moment of sending.
    Renew {
        /// Comes back with the answer.
        serial: u64,
    },
    /// Asks for the present order: the agent has no readable promise, or would know which stops may be recorded.
    Adopt {
        /// Comes back with the answer.
        serial: u64,
    },
    /// How a command ended.
    Outcome {
        /// Of the command.
        id: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// Asks for one longer lease: this agent is being stopped on purpose, and its PostgreSQL shall live on.
    PlanStop {
        /// Comes back with the answer.
        serial: u64,
    },
    /// Asks for the primary lease as [`AgentMessage::Renew`] does, and says that no longer lease of a planned stop up
    /// to this one is held any more.
    RenewAfterStop {
        /// Comes back with the answer.
        serial: u64,
        /// The order of that stop.
        stop: Order,
    },
}

/// From a peer to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// The first message of a session, and again whenever the leader changes.
    Welcome {
        /// The Raft group; an agent that obeys another one leaves.
        group: String,
        /// Who speaks.
        peer: PeerId,
        /// Who leads, as far as this peer knows.
        leader: Option<PeerId>,
    },
    /// The lease, granted after a heartbeat round to a majority that began after the request arrived.
    Granted {
        /// Of the request.
        serial: u64,
        /// Under which it was granted.
        order: Order,
        /// From the sending of the request.
        length: Duration,
    },
    /// The present epoch, read linearizably.
    Adopted {
        /// Of the request.
        serial: u64,
        /// The order to start from.
        order: Order,
    },
    /// The request cannot be granted.
    Declined {
        /// Of the request.
        serial: u64,
        /// In words.
        why: String,
        /// Whether every further request is declined too, until somebody corrects the record or a configuration.
        lasting: bool,
    },
    /// A command of the leader.
    Command {
        /// Comes back with the outcome; unique within the session.
        id: u64,
        /// What to do.
        step: Step,
    },
    /// Instead of a welcome, and the end of the session: another process speaks for the instance, and lives.
    TurnedAway {
        /// In words.
        why: String,
    },
    /// The members of the group: after the welcome, and again whenever they change.
    Peers {
        /// The place of this membership in the log.
        index: u64,
        /// `host:port` each.
        addresses: Vec<String>,
    },
    /// [`PeerMessage::Granted`], to an agent that says it understands this: with whom it may ask when its peers are out of
    /// reach.
    GrantedWithBackers {
        /// Of the request.
        serial: u64,
        /// Under which it was granted.
        order: Order,
        /// From the sending of the request.
        length: Duration,
        /// Who can back it.
        backers: Backers,
    },
    /// A leader that reaches a majority declines a renewal, to an agent that understands this: its instance is not recorded
    /// as the primary.
    NotThePrimary {
        /// Of the request.
        serial: u64,
    },
}
