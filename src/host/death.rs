//! Knowing at once that a process has ended.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::{Result, on};
use super::place::Place;

/// Watches one process and knows at once when it has ended; a zombie has ended.
pub struct Death {
    pidfd: AsyncFd<OwnedFd>,
}

impl Death {
    /// Opens a watch; `None` if no such process works in the data folder. Must be called within a
    /// tokio runtime. Errors: [`Error::File`](super::Error::File) if pidfds do not work here (Linux before 5.3).
    pub fn watch(data: impl Into<Place>, pid: i32) -> Result<Option<Death>> {
        let path = PathBuf::from(format!("/proc/{pid}"));
        let number = Pid::from_raw(pid).filter(|_| pid > 0);
        let Some(number) = number else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(on("watch process", &path)(error.into())),
        };
        if !data.into().holds(pid)? {
            return Ok(None);
        }
        #[expect(
            deprecated,
            reason = "unsound only for types whose descriptor changes; an OwnedFd keeps its one, \
                      and the successor is an unsafe function"
        )]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)
            .map_err(on("watch process", &path))?;
        Ok(Some(Death { pidfd }))
    }

    /// Waits until the process has ended. Cancel-safe, and may be called again.
    pub async fn wait(&self) -> io::Result<()> {
        self.pidfd
            .readable()
            .await
            .map(|mut guard| guard.retain_ready())
    }
}
