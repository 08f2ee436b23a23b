//! How peers and agents talk: an agent opens one connection to every peer, says what it sees on all of
//! them, and obeys the commands of the leader. The messages are values; the connection is framed.

pub mod backing;
pub mod frame;
pub mod message;
pub mod run;

pub use frame::{FrameError, decode, encode};
pub use message::{AgentMessage, PeerMessage};
pub use run::{Holder, Run};

/// The path on a peer's HTTP port that is upgraded to a session.
pub const SESSION_PATH: &str = "/agent/v1/session";
/// The protocol named in the HTTP upgrade.
pub const SESSION_PROTOCOL: &str = "primacy-agent/1";
/// The largest frame, in bytes: a report is below 2 KiB, a command with a long lineage below 64 KiB.
pub const FRAME_LIMIT: usize = 256 * 1024;
/// How often an agent reports when nothing changes. [`crate::model::view::SILENT_AFTER`] allows for two
/// that were missed.
pub const REPORT_EVERY: std::time::Duration = std::time::Duration::from_millis(500);
