//! The processes and files of one local PostgreSQL: what the agent's hands do.
//!
//! Nothing here decides. Functions that touch files or scan `/proc` block for as long as the disk
//! does and are meant for `spawn_blocking`; child processes are run through tokio with a deadline,
//! killed on drop, and their stderr is in the error. PostgreSQL itself outlives us by design.
//!
//! What this module never does: delete or overwrite a data folder (all that it removes is the unfinished
//! copy of its own clone), initialise one that is not empty, overwrite a timeline history file, or trust
//! `kill(pid, 0)` (a zombie looks alive to it, and a process number is reused).

pub mod account;
mod clone_room;
mod configuration;
pub mod control_file;
pub mod data_folder;
pub mod death;
pub mod durable;
pub mod error;
pub mod history;
pub mod kept_wal;
pub mod place;
pub(crate) mod process_table;
pub mod processes;
pub mod programs;
pub mod salvage;
pub mod server;
pub mod settings;
pub mod tools;
pub mod wal_page;
mod wal_record;
pub mod wal_scan;
pub mod write_probe;

pub use account::Account;
pub use death::Death;
pub use error::{Error, Result};
pub use place::Place;
pub use programs::Binaries;
