//! Values: what the rest of the product talks about. Nothing here acts, waits or reads a clock.

pub mod access;
pub mod address;
pub mod backers;
pub mod cluster;
pub mod directive;
pub mod durability;
#[cfg(test)]
pub mod example;
pub mod hooks;
pub mod ids;
pub mod network;
pub mod replication;
pub mod report;
pub mod sql_only;
pub mod switchover;
pub mod time;
pub mod view;
pub mod wal;

pub use access::{
    AccessRole, Action, Forbidden, Scope, SecretHash, Subject, TokenRecord, UnknownRole, permits,
};
pub use backers::Backers;
pub use cluster::{Address, Cluster, Loss, Member, PlannedStop, Reads, Standing};
pub use directive::{Blocked, Held, Hold, InForce, Paused, Priority, PromotionRule, Ruled};
pub use durability::{ChangePhase, Durability, DurabilityChange};
pub use hooks::{HookEnd, HookRun, HookStage, Incident};
pub use ids::{
    ClusterName, Epoch, Incarnation, InstanceId, InvalidName, Order, PeerId, SystemIdentifier, Zone,
};
pub use network::Network;
pub use replication::{
    CopyMark, InstanceFacts, LogEnds, Position, PositionOrder, ReplicaFacts, ReplicationStatus,
    Role, SourceFacts, SyncPolicy, SyncState,
};
pub use report::{Database, DiskTrouble, LeaseReport, Receiver, Report, Stopped};
pub use sql_only::{FenceDemand, Opinion, SqlCluster, SqlCopy, SqlMember, SqlView, SyncRule};
pub use switchover::{Forced, Obstacle, Switchover};
pub use time::Timestamp;
pub use view::{Answer, Failure, Sighting, View};
pub use wal::{Lineage, Lsn, Timeline, WalPosition};
