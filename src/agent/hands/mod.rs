//! What the agent does on its host, one function for each act. Nothing here decides.
//!
//! Here: what stops, starts and keeps from starting. What is there is told in `inventory`, PostgreSQL's
//! settings are written in `configuration`, and the data folder is filled in `filling`.

mod configuration;
mod filling;
mod inventory;
mod keeping;
mod starting;
mod taking;

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::config::{AgentConfig, InvalidConfig};
use super::lane::Lane;
use super::observe::blocking;
use super::takeover::consent::{self, Consent};
use crate::clock;
use crate::gate::Admission;
use crate::host::{Account, Binaries, Error, Place, data_folder, durable, history, processes};
use crate::model::{InstanceId, Lsn, SystemIdentifier, Timeline, Timestamp, WalPosition};
use crate::recovery::Source;

pub use inventory::Processes;
pub use keeping::KeptNote;

/// How the slots begin that we make.
const SLOTS: &str = "primacy_";
/// How long processes may survive SIGKILL before that is an error.
const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// How long a stop waits for the data disk to let go of a `promote` file.
const TIDIED_WITHIN: Duration = Duration::from_millis(500);
/// In the state folder: which database system the data folder holds.
const IDENTITY: &str = "identity";
/// In the state folder while a rewind is under way; pg_rewind would remove it from the data folder.
pub const REWINDING: &str = "rewinding";

/// The hands of one agent.
#[derive(Debug)]
pub struct Hands {
    config: AgentConfig,
    binaries: Binaries,
    /// Resolved at the start of the server and held while it runs: no look at processes waits for the
    /// data disk.
    place: Mutex<Place>,
    /// The postmaster started last, which may not have written its lock file yet.
    newborn: Mutex<Option<i32>>,
    /// Where the WAL of an instance at rest ends, and the files for which that holds.
    scanned: Mutex<Option<(WalFiles, Option<WalPosition>)>>,
    /// A stop could not remove the `promote` file in time.
    may_promote_itself: AtomicBool,
    /// Looks at the process table, and signals.
    pub table: Lane,
    /// Looks at the data folder.
    pub looks: Lane,
    /// Scans for the end of the WAL of a fenced instance.
    pub scans: Lane,
    /// What was agreed to about a database that no agent made.
    consent: Option<Consent>,
    /// Removals of the `promote` file.
    tidying: Lane,
    /// Starts of the server.
    starting: Lane,
}

/// What a scan depends on: checkpoint, redo, and every file with its length and time of change.
type WalFiles = (Lsn, Lsn, Vec<(OsString, u64, SystemTime)>);

type Done<T = ()> = Result<T, Error>;

/// The database system of the last filling that an agent with this state folder made.
/// Errors: [`Error::File`]; [`Error::Malformed`].
pub fn identity_in(folder: &Path) -> Done<Option<SystemIdentifier>> {
    let path = folder.join(IDENTITY);
    let Some(text) = durable::read(&path)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(number) => Ok(Some(SystemIdentifier(number))),
        Err(_) => Err(Error::Malformed {
            path,
            reason: "it is no number; remove it".to_owned(),
        }),
    }
}

impl Hands {
    /// Prepares the state folder and the password file. Blocks.
    /// Errors: one sentence for the operator.
    pub fn prepare(config: AgentConfig, binaries: Binaries) -> Result<Hands, InvalidConfig> {
        let explain = |error: Error| InvalidConfig(super::chain(&error));
        let mut place = Place::of(&config.data);
        if !processes::of(&place).map_err(explain)?.is_empty() {
            place.pin();
        }
        let hands = Hands {
            place: Mutex::new(place),
            consent: consent::read(&config.folder).map_err(explain)?,
            config,
            binaries,
            newborn: Mutex::new(None),
            scanned: Mutex::new(None),
            may_promote_itself: AtomicBool::new(false),
            table: Lane::default(),
            looks: Lane::default(),
            scans: Lane::default(),
            tidying: Lane::default(),
            starting: Lane::default(),
        };
        let password = hands.config.replication.password()?;
        let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
        let line = format!("*:*:*:{}:{escaped}\n", hands.config.replication.user);
        hands
            .own_folder(&hands.config.folder)
            .and_then(|()| hands.own_folder(&hands.config.socket_folder()))
            .and_then(|()| durable::write(&hands.passfile(), line.as_bytes()))
            .and_then(|()| consent::link_socket(&hands.config))
            .map_err(explain)?;
        Ok(hands)
    }

    /// Whose hands.
    pub fn instance(&self) -> &InstanceId {
        &self.config.instance
    }

    /// The configuration.
    pub fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// The user that runs PostgreSQL.
    pub fn account(&self) -> Account {
        self.binaries.account
    }

    /// Whose working folder makes a process the instance's.
    pub fn place(&self) -> Place {
        self.pinned().clone()
    }

    fn pinned(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passfile(&self) -> PathBuf {
        self.config.folder.join("passfile")
    }

    fn log(&self) -> PathBuf {
        self.config.folder.join("postgresql.log")
    }

    fn data_path(&self) -> &Path {
        &self.config.data
    }

    fn pg_wal(&self) -> PathBuf {
        self.config.data.join("pg_wal")
    }

    fn own_folder(&self, path: &Path) -> Done {
        let failed = |source| Error::File {
            action: "create folder",
            path: path.to_owned(),
            source,
        };
        make_parent(path)?;
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        if rustix::process::geteuid().is_root() {
            let account = self.binaries.account;
            durable::give_folder(path, account.uid, account.gid).map_err(failed)?;
        }
        Ok(())
    }

    /// Kills every process, and then removes what would promote the instance at its next start. Only the
    /// killing is waited for: a disk that hangs holds it up for half a second. Needs no admission: stopping
    /// is always safe. Errors: processes live on.
    pub async fn stop_all(&self) -> Done {
        let place = self.place();
        let killed = blocking(move || processes::kill_all(&place, KILLED_WITHIN)).await?;
        tracing::info!(instance = %self.instance(), processes = killed.processes, took_ms = killed.took.as_millis() as u64, "every process is stopped");
        *self.newborn.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.pinned().unpin();
        let data = self.config.data.clone();
        let remove = move || data_folder::remove_promote_trigger(&data);
        let why = match self.tidying.run(TIDIED_WITHIN, remove).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(super::chain(&error)),
            Err(hung) => Some(format!("the data disk {hung}")),
        };
        self.may_promote_itself.store(why.is_some(), SeqCst);
        if let Some(why) = why {
            tracing::warn!(instance = %self.instance(), why, "its promote file is not removed yet");
        }
        Ok(())
    }

    /// Whether a `promote` file may have been left behind by the last stop.
    pub fn may_promote_itself(&self) -> bool {
        self.may_promote_itself.load(SeqCst)
    }

    /// Makes the next start a standby's, with its settings. Blocks.
    pub fn prepare_standby(&self, _by: &Admission, source: Option<&Source>) -> Done {
        let data = self.data_path();
        data_folder::create_standby_signal(data)?;
        data_folder::remove_promote_trigger(data)?;
        history::remove_planted_above(&self.pg_wal(), Timeline(1))?;
        // From when it was a primary: they would keep WAL for ever.
        data_folder::remove_slots(data, SLOTS)?;
        self.write_settings(data, source, None)?;
        self.write_access(data)
    }

    /// SIGTERM to every walreceiver, connecting ones and who may become one included.
    pub fn end_receivers(&self, _by: &Admission) -> Done {
        match processes::postmaster(self.place())? {
            Some(postmaster) => processes::end_receivers(self.place(), postmaster.pid).map(drop),
            None => Ok(()),
        }
    }

    /// SIGINT to the postmaster: PostgreSQL calls that a fast shutdown. Not after `until`: nobody waits for it any more, and
    /// whoever ordered it may have given it up.
    pub fn shut_down(&self, _by: &Admission, until: Timestamp) -> Done {
        if let Some(postmaster) = processes::postmaster(self.place())?
            && clock::monotonic() < until
        {
            processes::signal(self.place(), postmaster.pid, Signal::INT);
        }
        Ok(())
    }

    /// Plants history files for every unused number below.
    pub fn plant(&self, _by: &Admission, below: Timeline) -> Done {
        history::plant(&self.pg_wal(), Timeline(2)..below).map(drop)
    }
}

/// Makes the folders above; PostgreSQL's user must get through them, whoever owns them.
fn make_parent(path: &Path) -> Done {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let made = durable::Folder::make(parent).map(drop);
    made.map_err(|source| Error::File {
        action: "create folder",
        path: parent.to_owned(),
        source,
    })
}
