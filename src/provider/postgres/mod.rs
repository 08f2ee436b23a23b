//! PostgreSQL 12 to 17. The client library is named in this folder only.
//!
//! | file | subject |
//! |---|---|
//! | `conninfo` | connection strings, and another place in them |
//! | `catalogue` | all that differs by version |
//! | `login`, `passfile` | as whom, and with which secret |
//! | `connect`, `cleartext` | TCP and TLS up to a session; who is told no password as it is |
//! | `session`, `failure`, `call` | statements, their errors, their deadline |
//! | `snapshot`, `replicas`, `weak`, `lag` | the one statement that says what an instance is |
//! | `remote` | [`Postgres`]: sessions that are kept, and what is read |
//! | `settings`, `roles`, `sources`, `synchronous` | what is changed |
//! | `write_probe` | a commit that shows whether the disk takes writes |
//! | `revocation` | a standby that receives nothing more, proven |
//! | `grants`, `preflight` | the rights that all of this needs, and what is missing |
//! | `local`, `reading`, `survey` | [`LocalPostgres`]: the server beside an agent |

mod barrier;
mod call;
mod catalogue;
mod cleartext;
mod connect;
pub(crate) mod conninfo;
mod copies;
mod failure;
pub mod grants;
mod installations;
mod lag;
mod local;
mod log_ends;
mod login;
pub(crate) mod passfile;
pub(crate) mod preflight;
mod reading;
mod remote;
pub(crate) mod replicas;
mod revocation;
mod roles;
mod senders;
mod session;
mod settings;
pub(crate) mod snapshot;
mod sources;
mod survey;
pub(crate) mod synchronous;
mod waiting;
mod weak;
mod write_probe;

pub use crate::security::Password;
pub use local::{Endpoint, LocalPostgres};
pub use login::{INSTALLATION, Login};
pub use preflight::{Lack, Receiver};
pub use remote::Postgres;
pub use survey::{Setting, Survey};
