//! Taking over a database that no agent made: `primacy agent join` shows what would be done, asks, and notes the answer.
//! The agent then takes such a folder, and the cluster takes the database in (`duty::takeover`).

pub mod consent;
pub mod plan;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::config::{AgentConfig, InvalidConfig};
use super::observe::blocking;
use super::start::{self, Fit, Purpose, Refused};
use super::{AgentError, chain};
use crate::host::data_folder::{self, Content};
use crate::host::{Error, Place, control_file, durable, processes, tools};
use crate::provider::postgres::Setting;
use crate::provider::{Endpoint, LocalPostgres};
use consent::Consent;
use plan::{Found, Plan};

/// How long the server may take to say what it is.
const SURVEYED_WITHIN: Duration = Duration::from_secs(10);
/// Files of a data folder that is being restored from a backup.
const RESTORING: [&str; 2] = ["backup_label", "recovery.signal"];

/// A database that waits for somebody's word. Until it is dropped no agent starts here.
#[derive(Debug)]
pub struct Candidate {
    /// What would be done.
    pub plan: Plan,
    config: AgentConfig,
    fit: Fit,
}

/// Looks whether there is a database that no agent made; none if there is nothing to be taken over. Changes nothing.
/// Errors: [`AgentError::Refused`], in one sentence, if it cannot be taken over.
pub async fn look(config: &AgentConfig) -> Result<Option<Candidate>, AgentError> {
    let of = config.clone();
    let content = blocking(move || data_folder::inspect(&of.data)).await;
    match content.map_err(explain)? {
        Content::Absent | Content::Empty => return Ok(None),
        // Refused below, in the words of a start.
        Content::NotEmptyNoCluster | Content::Cluster { .. } => {}
    }
    let fit = start::check_for(config, Purpose::Join).await?;
    if fit.unfilled.is_none() {
        return Ok(None);
    }
    let of = config.clone();
    let mut found = blocking(move || found(&of)).await.map_err(explain)?;
    let server = blocking({
        let of = config.clone();
        move || endpoint(&of)
    });
    if let Some(endpoint) = server.await.map_err(explain)? {
        let managed = plan::managed(config);
        let names = plan::names(&managed);
        let survey = LocalPostgres::survey(&endpoint, &names, SURVEYED_WITHIN).await;
        let survey = survey.map_err(|error| {
            let socket = endpoint.socket_folder.display();
            Refused::Config(InvalidConfig(format!(
                "`superuser`: {} cannot log in at the socket in {socket} as this user ({}); let the user of the agent in there by pg_hba.conf and pg_ident.conf, or run this and the agent as the owner of PostgreSQL",
                config.superuser,
                chain(&error)
            )))
        })?;
        found.server = Some(survey);
    } else {
        for name in plan::AT_REST {
            let value = tools::setting(&fit.binaries, &config.data, name, SURVEYED_WITHIN).await;
            let setting = Setting {
                value: value.map_err(explain)?,
                needs_start: true,
                source: "configuration file".to_owned(),
            };
            found.at_rest.insert(name.to_owned(), setting);
        }
    }
    let plan = plan::plan(config, &found).map_err(Refused::Config)?;
    Ok(Some(Candidate {
        plan,
        config: config.clone(),
        fit,
    }))
}

fn explain(error: Error) -> Refused {
    Refused::Config(InvalidConfig(format!("`data`: {}", chain(&error))))
}

fn found(config: &AgentConfig) -> Result<Found, Error> {
    let data = config.data.as_path();
    let mut restoring = None;
    for file in RESTORING {
        if durable::exists(&data.join(file))? {
            restoring = Some(file);
        }
    }
    Ok(Found {
        control: control_file::read(data)?,
        is_standby: data_folder::has_standby_signal(data)?,
        restoring,
        data: data.canonicalize().map_err(|source| Error::File {
            action: "find",
            path: data.to_owned(),
            source,
        })?,
        server: None,
        at_rest: BTreeMap::new(),
    })
}

/// Where the server of the data folder answers; none if none runs. Errors: it has no socket, among others.
fn endpoint(config: &AgentConfig) -> Result<Option<Endpoint>, Error> {
    let Some(postmaster) = processes::postmaster(Place::of(&config.data))? else {
        return Ok(None);
    };
    let socket_folder = postmaster.socket_folder.ok_or_else(|| Error::Malformed {
        path: config.data.join("postmaster.pid"),
        reason: "the server has no Unix socket; set unix_socket_directories and restart it first"
            .to_owned(),
    })?;
    Ok(Some(Endpoint {
        socket_folder,
        port: config.port,
        user: config.superuser.clone(),
    }))
}

impl Candidate {
    /// Notes durably that this was agreed to. Errors: the state folder cannot be written.
    pub async fn agree(self) -> Result<(), AgentError> {
        let Candidate { plan, config, fit } = self;
        let consent = Consent {
            cluster: config.cluster.clone(),
            instance: config.instance.clone(),
            system: plan.system,
            socket_folders: plan.socket_folders,
        };
        let noted = blocking(move || {
            own_folder(&config.folder, &fit)?;
            consent::write(&config.folder, &consent)
        });
        let noted = noted.await;
        noted.map_err(|error| {
            AgentError::Folder(InvalidConfig(format!("`folder`: {}", chain(&error))))
        })
    }
}

/// The state folder, of whoever runs PostgreSQL.
fn own_folder(folder: &Path, fit: &Fit) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |source| Error::File {
        action: "create folder",
        path: folder.to_owned(),
        source,
    };
    if let Some(above) = folder.parent() {
        durable::Folder::make(above).map_err(failed)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed(error));
        }
        _ => {}
    }
    if rustix::process::geteuid().is_root() {
        let account = fit.binaries.account;
        durable::give_folder(folder, account.uid, account.gid).map_err(failed)?;
    }
    Ok(())
}
