//! What the API shows, as JSON. Fields are only ever added.

mod access;
mod cluster;
mod orchestrator;
mod peers;
pub(super) mod recovery;

pub use access::{GuestView, TokenView};
pub(super) use cluster::cluster_view;
pub use cluster::{ClusterView, FindingView, InstanceView, StepView, WaitView};
pub use orchestrator::{
    OrchestratorAnswerView, OrchestratorHealthView, OrchestratorNodeView, OrchestratorRaftView,
};
pub use peers::{InvitedView, LeaderView, MembersView, PeerView, TransferredView};
pub(super) use recovery::recovery_view;
pub use recovery::{EntryView, RecoveryView};
