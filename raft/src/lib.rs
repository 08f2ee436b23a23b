//! A replicated state machine: three or five peers agree on one order of commands and apply it.
//!
//! What a caller sees is [`Consensus`], a cheap handle on the local peer, over a [`StateMachine`] of its own.
//! The protocol is openraft's; this crate adds what openraft leaves open: a log that is really on the platter
//! when it says so, snapshots in plain files, the wire between peers, and a small honest API. It knows nothing
//! of what the commands mean.
//!
//! From the bottom up:
//!
//! | module | subject |
//! |---|---|
//! | `record` | the one envelope of everything stored or sent: version, checksum, body |
//! | `durable_file` | replace a small file so that a power cut leaves the old or the new one |
//! | `group_id`, `identity` | which group and peer a folder belongs to, and whether it has held data |
//! | `birth`, `newborn` | how a group is born once, and an emptied folder recognised |
//! | `types` | openraft's types, filled in once |
//! | `witness` | what the log has acknowledged, noted outside of it |
//! | `sled_files`, `log_parts`, `log_entry`, `log_check`, `log`, `log_writer` | the durable log and vote |
//! | `machine`, `snapshot_file` | applying committed commands; snapshots |
//! | `transport`, `connection` | how a connection between peers is made, and the one that each caller keeps |
//! | `once` | commands that take effect once, however often they are proposed |
//! | `saved` | what a stopped peer knows, taken out of its folder into one file |
//! | `restore` | a group that begins anew from such a file, or from a stopped peer alone |
//! | `wire`, `network`, `handle`, `serve` | calls between peers, sent and answered |
//! | `config`, `start`, `consensus`, `lease`, `membership`, `transfer`, `status`, `error` | what a caller touches |
//!
//! openraft is named only in this crate. sled is named only in `sled_files`, `log_check` and `log`.
//!
//! Rules that keep a group sound, for whoever runs one:
//! * The folder of a peer is never emptied and reused under the same id: a peer that forgot its vote can elect
//!   two leaders. The others know it by its folder and refuse another; see `birth`. A peer that lost its folder
//!   comes back under a fresh id.
//! * A term alone is no fencing token, because two leaders may share a term. The index of an applied command is.
//! * A proposal that ended in [`ProposeError::Unknown`] may still be applied. [`Deduplicated`] makes it safe to propose
//!   it again.
#![forbid(unsafe_code)]

mod birth;
mod config;
mod connection;
mod consensus;
pub mod durable_file;
mod error;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod fuzz_tests;
mod group_id;
mod handle;
mod heard;
mod identity;
mod lease;
mod log;
mod log_check;
mod log_entry;
mod log_parts;
mod log_writer;
mod machine;
mod membership;
mod network;
mod newborn;
mod once;
mod record;
mod restore;
mod saved;
mod serve;
mod sled_files;
mod snapshot_file;
mod start;
mod state_machine;
mod status;
mod transfer;
mod transport;
mod types;
mod wire;
mod witness;

pub use birth::Waiting;
pub use config::{Config, Timing};
pub use consensus::{Applied, Consensus, Leadership};
pub use error::{ConfirmError, ProposeError, StartError, Stopped, TransferError};
pub use group_id::{GroupId, InvalidGroupId};
pub use lease::LeaderLease;
pub use log_writer::LAST_WORDS;
pub use membership::{ChangeError, Progress};
pub use newborn::{Newborn, holds_a_peer};
pub use once::{Deduplicated, Key, Numbered, Once, WINDOW};
pub use record::{RecordError, seal, unseal};
pub use restore::Restored;
pub use saved::{Saved, SavedError, read_saved, save};
pub use serve::serve;
pub use state_machine::StateMachine;
pub use status::{Role, Status, View};
pub use transport::{
    Accepting, CONNECT_TIMEOUT, Connecting, Plain, Stream, Transport, VerifiedPeer, tcp,
};
pub use wire::{MAX_COMMAND_BYTES, MAX_SNAPSHOT_BYTES, PATH_PREFIX};
