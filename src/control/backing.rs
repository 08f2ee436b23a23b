//! What agents ask each other: whether one backs the primary of the other, whose peers are out of reach.

use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, Epoch, InstanceId};

/// Where an agent answers it, on the port of its health checks.
pub const BACK_PATH: &str = "/agent/v1/back";
/// The header by which an agent says, when it opens a session, that it understands
/// [`super::PeerMessage::GrantedWithBackers`].
pub const BACKERS_HEADER: &str = "primacy-backers";

/// The question, as JSON. The answer is 204, or 409 with the reason as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackRequest {
    /// The cluster of both.
    pub cluster: ClusterName,
    /// Who asks: the primary.
    pub instance: InstanceId,
    /// The Raft group that both obey.
    pub group: String,
    /// Under which it is the primary.
    pub epoch: Epoch,
    /// Whether only those shall back it whose instances receive from it.
    pub receiving: bool,
}
