//! The adapter to a database engine over SQL.
//!
//! It says what a session sees and carries out single acts. It decides nothing, and every call ends
//! within the deadline that it is given.
//!
//! | file | subject |
//! |---|---|
//! | `database` | [`DatabaseProvider`]: any instance of a cluster, over the network |
//! | `operation` | who changes an instance, for what, and until when |
//! | `registry` | engines by their names, and one provider for each cluster |
//! | `local` | [`LocalServer`]: the instance beside an agent, over its socket |
//! | `positions` | how places in the log stand to each other, for both |
//! | `error` | why a call failed, for both |
//! | `postgres` | PostgreSQL 12 to 17 |
//! | `simulated` | an engine in memory, for the simulator and the conformance suite |

pub mod database;
pub mod error;
pub mod local;
pub mod operation;
mod positions;
pub mod postgres;
pub mod registry;
pub mod simulated;

pub use database::{Capabilities, DatabaseProvider, Extent, Gtid};
pub use error::{Outcome, Phase, ProviderError, Result, Source};
pub use local::{LocalServer, Reading};
pub use operation::Operation;
pub use postgres::{Endpoint, LocalPostgres, Postgres};
pub use registry::{Engine, Provider, Providers};
pub use simulated::Simulated;
