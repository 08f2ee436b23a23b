//! The leash: a separate small process that holds one deadline and, when it passes, kills every
//! process of an instance.
//!
//! It makes the primary's lease true although its agent may be frozen, dead or being upgraded: a
//! renewal counts only after the leash has echoed the deadline. Deadlines are CLOCK_BOOTTIME in
//! milliseconds ([`crate::clock::boottime`]), which runs on through a suspend. The leash has one
//! thread, no async runtime, no files but its socket, and never gives up on a process.
//!
//! Two things it must never do: read a renewal before it has looked at the clock, and report an
//! expiry before no process is left.

mod client;
mod process;
mod protocol;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::{Account, durable};
use crate::model::Timestamp;

pub use client::Client;
pub use process::run;
pub use protocol::{Expiry, Hold};
#[cfg(test)]
pub(crate) use protocol::{Reply, Request};

/// What `primacy leash` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// The Unix socket to listen on, in a folder of mode 0700; its lock has the extension `lock`.
    pub socket: PathBuf,
    /// The data folder whose processes are killed.
    pub data: PathBuf,
    /// A deadline to hold from the start, for an agent that replaces a leash that died.
    pub deadline: Option<Timestamp>,
}

/// Why the leash, or a word with it, failed. The text names the path and the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("{action} {}; check that it exists and that this user may do so", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// Another leash holds the lock.
    #[error("another leash serves {}; talk to that one", socket.display())]
    Taken {
        /// The socket.
        socket: PathBuf,
    },
    /// Others could talk to the leash.
    #[error("folder {} is open to other users; run: chmod 700 '{}'", folder.display(), folder.display())]
    OpenFolder {
        /// The folder of the socket.
        folder: PathBuf,
    },
    /// The leash did not answer in time: the deadline does not count as held.
    #[error("the leash at {} did not answer within {} ms; see whether it runs", socket.display(), after.as_millis())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// The leash said no.
    #[error("the leash at {} refuses: {reason}", socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// Its words.
        reason: String,
    },
}

fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

/// Starts a leash detached, in a session of its own, so that it outlives the agent, as the user
/// `account` (or this process's own). `exe` is run as `<exe> leash --socket … --data … [--deadline
/// …]` with its output appended to the socket's path with the extension `log`. Returns its process number at once; it is ready
/// when [`Client::state`] answers. Creates the socket's folder if it is not there. Must be called within a tokio runtime. Errors: [`Error::Io`].
pub fn spawn(exe: &Path, args: &Args, account: Option<Account>) -> Result<i32, Error> {
    let folder = args.socket.parent().unwrap_or(Path::new("."));
    if process::create_private(folder)?
        && let Some(account) = account
        && rustix::process::geteuid().is_root()
    {
        durable::give_folder(folder, account.uid, account.gid).map_err(on("chown", folder))?;
    }
    let log_path = args.socket.with_extension("log");
    let log = durable::append(&log_path).map_err(on("open", &log_path))?;
    let errors = log.try_clone().map_err(on("open", &log_path))?;
    let mut command = tokio::process::Command::new("setsid");
    command
        .arg(exe)
        .arg("leash")
        .arg("--socket")
        .arg(&args.socket)
        .arg("--data")
        .arg(&args.data)
        .current_dir("/")
        .env_remove("NOTIFY_SOCKET")
        .stdin(std::process::Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(false);
    if let Some(deadline) = args.deadline {
        command.arg("--deadline").arg(deadline.0.to_string());
    }
    if let Some(account) = account
        && rustix::process::geteuid().is_root()
    {
        command.uid(account.uid).gid(account.gid);
    }
    // Dropping the handle leaves the process alone; the runtime reaps it should it die first.
    let child = command.spawn().map_err(on("start", exe))?;
    Ok(child.id().map_or(0, |id| id as i32))
}
