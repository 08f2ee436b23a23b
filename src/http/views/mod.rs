//! What the API shows, as JSON. Fields are only ever added.

mod access;
mod cluster;
mod directive;
mod durability;
mod finding;
mod instance;
mod kv;
mod orchestrator;
mod peers;
pub(super) mod recovery;
mod sql_only;
mod switchover;

pub use access::{GuestView, TokenView};
pub use cluster::{ClusterView, StepView, WaitView};
pub(super) use cluster::{cluster_view, guarantee};
pub(super) use directive::hold_view;
pub use directive::{BlockView, HoldView, PauseView};
pub use durability::DurabilityChangeView;
pub use finding::{FindingView, ProblemView};
pub use instance::InstanceView;
pub use kv::KeyView;
pub use orchestrator::{
    OrchestratorAnswerView, OrchestratorHealthView, OrchestratorNodeView, OrchestratorRaftView,
    OrchestratorSwitchView,
};
pub use peers::{
    INVITED, InvitedView, JOINING, LeaderView, MembersView, PeerView, TransferredView,
};
pub(super) use recovery::recovery_view;
pub use recovery::{EntryView, RecoveryView};
pub use sql_only::{AdoptedView, AdoptionView, LackView};
pub(super) use sql_only::{adoption_view, guarantee_over_sql, sql_cluster_view};
pub use switchover::SwitchoverView;
