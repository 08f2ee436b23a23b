//! Why something on the host could not be done, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `host` functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed act on this host. The text names the path and the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an act on a file or process.
    #[error("{action} {}; check that it exists and that this user may do so", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// No usable PostgreSQL programs in the folder.
    #[error("no PostgreSQL programs in {}: {reason}; install postgresql-15 or later, or name its bin folder", folder.display())]
    NoBinaries {
        /// The folder that was tried.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no such user.
    #[error("user '{name}' is not known here; create it or configure another one")]
    NoAccount {
        /// The name that was looked up.
        name: String,
    },
    /// PostgreSQL refuses to run as root, and no other user was configured.
    #[error("PostgreSQL does not run as root; configure the user that owns the data folder")]
    Root,
    /// The data folder belongs to somebody else.
    #[error("data folder {} belongs to uid {owner}, not to uid {wanted}; run: chown -R {wanted} '{}'", folder.display(), folder.display())]
    ForeignOwner {
        /// The data folder.
        folder: PathBuf,
        /// To whom it belongs.
        owner: u32,
        /// To whom it should belong.
        wanted: u32,
    },
    /// Data would have to be overwritten, which is never done.
    #[error("{} is not empty; move it away, it is never overwritten", folder.display())]
    NotEmpty {
        /// The folder with something in it.
        folder: PathBuf,
    },
    /// A file has content that cannot be understood.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The end of valid WAL could not be found, so no position can be claimed.
    #[error("cannot scan the WAL in {}: {reason}; this instance cannot count, re-clone it", folder.display())]
    Unscannable {
        /// The `pg_wal` folder.
        folder: PathBuf,
        /// What stood in the way.
        reason: String,
    },
    /// A program ended badly.
    #[error("{program} failed ({status}): {stderr}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// A program or a stop took too long and was killed.
    #[error("{program} did not finish within {} ms and was killed: {stderr}", after.as_millis())]
    Deadline {
        /// Its name.
        program: String,
        /// How long it was given.
        after: Duration,
        /// The end of what it had said.
        stderr: String,
    },
    /// A program stopped getting on and was killed.
    #[error("{program} got no further for {} ms and was killed: {stderr}", after.as_millis())]
    Stalled {
        /// Its name.
        program: String,
        /// How long nothing came.
        after: Duration,
        /// The end of what it had said.
        stderr: String,
    },
    /// A start took so long that nobody wanted it any more.
    #[error("the start in {} was given up; see why its disk is slow", folder.display())]
    GivenUp {
        /// The data folder.
        folder: PathBuf,
    },
    /// A copy would fill the disk, which nothing is deleted for.
    #[error("the copy takes {needed} bytes and {free} are free where {} is; {}", target.display(), in_the_way(kept))]
    NoRoom {
        /// Where it would be made.
        target: PathBuf,
        /// By the source's estimate.
        needed: u64,
        /// On that disk.
        free: u64,
        /// Old data that is kept there.
        kept: Vec<PathBuf>,
    },
    /// Something needs the instance to be stopped, and it is not.
    #[error("processes {processes:?} still work in {}; stop them first", folder.display())]
    Alive {
        /// The data folder.
        folder: PathBuf,
        /// The process numbers.
        processes: Vec<i32>,
    },
}

/// What may be moved away.
fn in_the_way(kept: &[PathBuf]) -> String {
    let paths: Vec<_> = kept.iter().map(|it| it.display().to_string()).collect();
    match paths.is_empty() {
        true => "give it more".to_owned(),
        false => format!("move old data away that nobody needs: {}", paths.join(", ")),
    }
}

impl Error {
    /// Whether a file makes no sense: reading it again brings nothing else. One that is missing may be on a disk that is
    /// not mounted.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::Malformed { .. })
    }
}

/// Names the act and the path of an `io::Error`.
pub(crate) fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}
