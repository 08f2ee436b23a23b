//! What is checked before an agent does anything, in this order: its configuration, its locks, its health
//! port, the process table, the room beside the data folder, PostgreSQL's port, PostgreSQL's programs, the data
//! folder.
//!
//! Nothing here creates, writes or removes a file: an agent that is refused leaves the host as it was. Each
//! refusal is one sentence that names the field or path and the next step. A disk that does not answer is a
//! refusal, too.

mod data;
mod folders;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::net::TcpListener;

use super::chain;
use super::config::{AgentConfig, InvalidConfig};
use super::observe::blocking;
use crate::gate::{self, FolderLock, GateError};
use crate::host::data_folder::{self, Content};
use crate::host::{Account, Binaries, Error, Place, processes};
use crate::model::SystemIdentifier;
use data::Whose;
pub use folders::DataLock;

/// How long the names in `listen` may take to resolve.
const RESOLVED_WITHIN: Duration = Duration::from_secs(2);

/// How long the disks of the state folder, the data folder and the programs may take to be looked at: a busy one
/// answers within a second or two.
const DISK_WITHIN: Duration = Duration::from_secs(10);

/// How long PostgreSQL's port may still be in use.
const FREE_WITHIN: Duration = Duration::from_secs(1);

/// What was found on a host that fits.
#[derive(Debug)]
pub struct Fit {
    /// PostgreSQL's programs and the user that runs them.
    pub binaries: Binaries,
    /// The lock on the state folder; none if there is no such folder yet.
    pub lock: Option<FolderLock>,
    /// The data folder, claimed for this process.
    pub data: DataLock,
    /// Where health checks arrive.
    pub listener: TcpListener,
    /// The Raft group that is obeyed: of the promise, or else of the data folder.
    pub group: Option<String>,
    /// What the data folder holds if no agent filled it, and nobody has agreed to have it taken over.
    pub unfilled: Option<SystemIdentifier>,
}

/// For what it is checked that an agent can work here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is about to.
    Run,
    /// Somebody will be asked whether it may take over what is in the data folder.
    Join,
}

/// Why an agent is refused, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The configuration, or what it names on this host, cannot work.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The state folder cannot be had.
    #[error(transparent)]
    Gate(#[from] GateError),
}

/// Checks that an agent can work here. Changes nothing on disk.
/// Errors: [`Refused`], the first reason found.
pub async fn check(config: &AgentConfig) -> Result<Fit, Refused> {
    check_for(config, Purpose::Run).await
}

/// The same for this purpose. Errors: [`Refused`], the first reason found.
pub async fn check_for(config: &AgentConfig, purpose: Purpose) -> Result<Fit, Refused> {
    config.validate()?;
    let of = config.clone();
    let state = in_time("folder", &config.folder, move || {
        let account = account(&of)?;
        for role in [Some(&of.replication), of.application.as_ref()] {
            role.map(|role| role.password()).transpose()?;
        }
        check_program(&of)?;
        Ok((account, folders::lock_state(&of.folder, account)?))
    });
    let (account, lock) = state.await?;
    let of = config.clone();
    let claim = in_time("data", &config.data, move || Ok(DataLock::take(&of.data)?));
    let data = claim.await?;
    let listener = health(config.health).await?;
    let of = config.clone();
    let runs = in_time("data", &config.data, move || {
        check_sight(account)?;
        data::check_is_folder(&of.data)?;
        folders::check_room(&of.data, account)?;
        Ok(server_runs(&of)?)
    });
    if !runs.await? {
        check_port(config).await?;
    }
    let of = config.clone();
    let looked = in_time("data", &config.data, move || {
        let binaries = binaries(&of, account)?;
        let obeyed = gate::group_in(&of.folder);
        let whose = data::check(&of, &binaries, obeyed.as_deref())?;
        let (filled, unfilled) = match whose {
            Whose::Nobodys => (None, None),
            Whose::Ours { group } => (group, None),
            Whose::Unfilled(system) if purpose == Purpose::Join => (None, Some(system)),
            Whose::Unfilled(system) => return Ok(data::refuse_unfilled(&of, system)?),
        };
        Ok((binaries, obeyed.or(filled), unfilled))
    });
    let (binaries, group, unfilled) = looked.await?;
    Ok(Fit {
        binaries,
        lock,
        data,
        listener,
        group,
        unfilled,
    })
}

/// Looks at what is on a disk, which may hang.
async fn in_time<T: Send + 'static>(
    field: &str,
    path: &Path,
    look: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::time::timeout(DISK_WITHIN, blocking(look)).await {
        Ok(looked) => looked,
        Err(_) => Ok(refuse(format!(
            "`{field}` {} cannot be looked at within {} s; check its disk",
            path.display(),
            DISK_WITHIN.as_secs()
        ))?),
    }
}

fn refuse<T>(text: String) -> Result<T, InvalidConfig> {
    Err(InvalidConfig(text))
}

fn in_words(field: &'static str) -> impl Fn(Error) -> InvalidConfig {
    move |error| InvalidConfig(format!("`{field}`: {}", chain(&error)))
}

/// Who runs PostgreSQL.
fn account(config: &AgentConfig) -> Result<Account, InvalidConfig> {
    let own = Account::own();
    let Some(name) = &config.run_as else {
        return if own.is_root() {
            refuse("`run_as` is missing, and PostgreSQL does not run as root; name the user that owns the data folder".to_owned())
        } else {
            Ok(own)
        };
    };
    let wanted = Account::named(name).map_err(in_words("run_as"))?;
    if wanted.is_root() {
        return refuse(format!(
            "`run_as` is {name}, and PostgreSQL does not run as root; name the user that owns the data folder"
        ));
    }
    if !own.is_root() && own.uid != wanted.uid {
        return refuse(format!(
            "`run_as` is {name}, and this agent runs as uid {}, which cannot become that user; start it as root or as {name}",
            own.uid
        ));
    }
    Ok(wanted)
}

fn check_program(config: &AgentConfig) -> Result<(), InvalidConfig> {
    let Some(program) = &config.leash else {
        return Ok(());
    };
    if program
        .metadata()
        .is_ok_and(|it| it.is_file() && it.mode() & 0o111 != 0)
    {
        return Ok(());
    }
    refuse(format!(
        "`leash` {} is no program; name one, or leave it out",
        program.display()
    ))
}

async fn health(address: SocketAddr) -> Result<TcpListener, InvalidConfig> {
    TcpListener::bind(address).await.map_err(|error| {
        InvalidConfig(match error.kind() {
            ErrorKind::AddrInUse => format!("`health`: the port of {address} is in use; stop whoever listens there or choose another port"),
            _ => format!("`health`: {address} cannot be listened on ({error}); use an address of this host and a port above 1023"),
        })
    })
}

/// A process of PostgreSQL's user must be visible: a fence and the leash believe the process table.
fn check_sight(account: Account) -> Result<(), InvalidConfig> {
    let failed = |error: std::io::Error| {
        InvalidConfig(format!(
            "`run_as`: a process of uid {} cannot be started ({error}); give the agent the right to, or another user",
            account.uid
        ))
    };
    let mut command = Command::new("cat");
    command
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(account.uid).gid(account.gid);
    }
    // It ends with the pipe.
    let mut child = command.spawn().map_err(failed)?;
    let seen = processes::check_sight(child.id() as i32);
    drop(child.stdin.take());
    child.wait().map_err(failed)?;
    seen.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
        InvalidConfig(format!("the processes of uid {} cannot be seen in /proc ({cause}), so no fence could be proven; mount /proc without hidepid and give the agent CAP_SYS_PTRACE", account.uid))
    })
}

/// Whether the server of the data folder runs. Refused if it has another port: it is another agent's then, or
/// would not be found over SQL.
fn server_runs(config: &AgentConfig) -> Result<bool, InvalidConfig> {
    let place = Place::of(&config.data);
    let host = in_words("data");
    match processes::postmaster(&place)
        .map_err(&host)?
        .map(|it| it.port)
    {
        Some(Some(port)) if port != config.port => refuse(format!(
            "`port` is {}, and a server runs in `data` {} with port {port}; correct `port` or `data`, or stop that server and whoever started it",
            config.port,
            config.data.display()
        )),
        // None: it has not said yet which port it will have.
        Some(_) => Ok(true),
        // It may have died, and its processes are still there.
        None => Ok(!processes::of(&place).map_err(&host)?.is_empty()),
    }
}

/// PostgreSQL's port must be free if its server does not run.
async fn check_port(config: &AgentConfig) -> Result<(), InvalidConfig> {
    for address in addresses(config.listen(), config.port).await {
        if !becomes_free(address).await {
            return refuse(format!(
                "`port`: {address} is in use, and not by the server of `data` {}; stop whoever listens there or choose another port",
                config.data.display()
            ));
        }
    }
    Ok(())
}

/// Whether nobody listens there, within a moment: a server that was just killed leaves its port last.
async fn becomes_free(address: SocketAddr) -> bool {
    let waiting = async {
        while std::net::TcpListener::bind(address)
            .is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(FREE_WITHIN, waiting).await.is_ok()
}

/// Where PostgreSQL would listen. What does not resolve is left to PostgreSQL to complain about.
async fn addresses(listen: &str, port: u16) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for host in listen.split(',').map(str::trim) {
        match host {
            "*" => found.extend([
                SocketAddr::from(([0, 0, 0, 0], port)),
                SocketAddr::from(([0u16; 8], port)),
            ]),
            host => {
                let looked = tokio::net::lookup_host((host, port));
                if let Ok(Ok(known)) = tokio::time::timeout(RESOLVED_WITHIN, looked).await {
                    found.extend(known);
                }
            }
        }
    }
    found
}

fn binaries(config: &AgentConfig, account: Account) -> Result<Binaries, InvalidConfig> {
    // Another version beside it is no reason to leave the one that made the data.
    let made_by = match data_folder::inspect(&config.data) {
        Ok(Content::Cluster { version }) => version.parse().ok(),
        Ok(_) | Err(_) => None,
    };
    Binaries::find(config.binaries.as_deref(), made_by, Some(account)).map_err(in_words("binaries"))
}
