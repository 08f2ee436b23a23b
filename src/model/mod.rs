//! Values: what the rest of the product talks about. Nothing here acts, waits or reads a clock.

pub mod ids;
pub mod time;
pub mod wal;

pub use ids::{
    ClusterName, Epoch, Incarnation, InstanceId, InvalidName, Order, PeerId, SystemIdentifier, Zone,
};
pub use time::Timestamp;
pub use wal::{Lineage, Lsn, Timeline, WalPosition};
