//! PostgreSQL 12 to 17. The client library is named in this folder only.
//!
//! | file | subject |
//! |---|---|
//! | `conninfo` | connection strings, and another place in them |
//! | `catalogue` | all that differs by version |
//! | `login`, `passfile` | as whom, and with which secret |
//! | `connect` | TCP and TLS up to a session |
//! | `session`, `failure`, `call` | statements, their errors, their deadline |
//! | `snapshot`, `replicas`, `lag` | the one statement that says what an instance is |
//! | `remote` | [`Postgres`]: sessions that are kept, and what is read |
//! | `settings`, `roles`, `sources`, `synchronous` | what is changed |
//! | `revocation` | a standby that receives nothing more, proven |
//! | `grants`, `preflight` | the rights that all of this needs, and what is missing |
//! | `local`, `reading`, `survey` | [`LocalPostgres`]: the server beside an agent |

mod call;
mod catalogue;
mod connect;
pub(crate) mod conninfo;
mod failure;
pub mod grants;
mod lag;
mod local;
mod login;
pub(crate) mod passfile;
mod preflight;
mod reading;
mod remote;
mod replicas;
mod revocation;
mod roles;
mod session;
mod settings;
mod snapshot;
mod sources;
mod survey;
pub(crate) mod synchronous;

pub use crate::security::Password;
pub use local::{Endpoint, LocalPostgres};
pub use login::Login;
pub use preflight::{Lack, Receiver};
pub use remote::Postgres;
pub use survey::{Setting, Survey};
