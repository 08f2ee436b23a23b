//! Values: what the rest of the product talks about. Nothing here acts, waits or reads a clock.

pub mod access;
pub mod address;
pub mod cluster;
pub mod directive;
#[cfg(test)]
pub mod example;
pub mod ids;
pub mod network;
pub mod replication;
pub mod report;
pub mod sql_only;
pub mod time;
pub mod view;
pub mod wal;

pub use access::{
    AccessRole, Action, Forbidden, Scope, SecretHash, Subject, TokenRecord, UnknownRole, permits,
};
pub use cluster::{Address, Cluster, Durability, Member, PlannedStop, Reads, Standing};
pub use directive::{Blocked, Held, Hold, InForce, Paused, PromotionRule, Ruled};
pub use ids::{
    ClusterName, Epoch, Incarnation, InstanceId, InvalidName, Order, PeerId, SystemIdentifier, Zone,
};
pub use network::Network;
pub use replication::{
    InstanceFacts, Position, PositionOrder, ReplicaFacts, ReplicationStatus, Role, SourceFacts,
    SyncPolicy, SyncState,
};
pub use report::{Database, DiskTrouble, LeaseReport, Receiver, Report, Stopped};
pub use sql_only::{FenceDemand, Opinion, SqlCluster, SqlMember, SqlView, SyncRule};
pub use time::Timestamp;
pub use view::{Answer, Failure, Sighting, View};
pub use wal::{Lineage, Lsn, Timeline, WalPosition};
