//! What the API shows, as JSON. Fields are only ever added.

mod cluster;
mod peers;
mod recovery;

pub(super) use cluster::cluster_view;
pub use cluster::{ClusterView, FindingView, InstanceView, StepView, WaitView};
pub use peers::{InvitedView, LeaderView, MembersView, PeerView, TransferredView};
pub(super) use recovery::recovery_view;
pub use recovery::{EntryView, RecoveryView};
