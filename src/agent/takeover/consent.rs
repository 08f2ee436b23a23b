//! The note that somebody at this host agreed to have its database taken over, in the agent's own folder.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::agent::config::AgentConfig;
use crate::host::{Error, Place, durable, processes};
use crate::model::{ClusterName, InstanceId, SystemIdentifier};

/// In the state folder.
const CONSENT: &str = "takeover";

/// What was agreed to. It stays when the database was taken over, because sockets go on where they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// For which cluster.
    pub cluster: ClusterName,
    /// As which instance.
    pub instance: InstanceId,
    /// Which database system.
    pub system: SystemIdentifier,
    /// Where the sockets of the server were, besides the agent's own.
    pub socket_folders: Vec<String>,
}

/// Reads it; none if nobody agreed to anything. Blocks. Errors: [`Error::File`]; [`Error::Malformed`].
pub fn read(folder: &Path) -> Result<Option<Consent>, Error> {
    let path = folder.join(CONSENT);
    let Some(text) = durable::read(&path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Error::Malformed {
            path,
            reason: format!("{error}; remove it, and run primacy agent join again"),
        })
}

/// Notes it durably. Blocks. Errors: [`Error::File`].
pub fn write(folder: &Path, consent: &Consent) -> Result<(), Error> {
    let text = serde_json::to_string(consent).expect("plain fields become JSON");
    durable::write(&folder.join(CONSENT), format!("{text}\n").as_bytes())
}

/// Where the server that runs has its socket, if it is not where the agent would put it.
pub(super) fn socket_elsewhere(config: &AgentConfig) -> Result<Option<PathBuf>, Error> {
    let postmaster = processes::postmaster(Place::of(&config.data))?;
    let found = postmaster.and_then(|it| it.socket_folder);
    Ok(found.filter(|folder| *folder != config.socket_folder()))
}

/// Has the socket of a server that somebody else started found where the agent looks for it. The server replaces the link
/// when the agent starts it. Blocks. Errors: [`Error::File`].
pub fn link_socket(config: &AgentConfig) -> Result<(), Error> {
    let Some(elsewhere) = socket_elsewhere(config)? else {
        return Ok(());
    };
    let name = format!(".s.PGSQL.{}", config.port);
    let link = config.socket_folder().join(&name);
    let failed = |source| Error::File {
        action: "link",
        path: link.clone(),
        source,
    };
    durable::remove(&link)?;
    match symlink(elsewhere.join(name), &link) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_agreed_to_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let consent = Consent {
            cluster: ClusterName::new("main").unwrap(),
            instance: InstanceId::new("pg-a").unwrap(),
            system: SystemIdentifier(7),
            socket_folders: vec!["/run/postgresql".to_owned()],
        };
        write(folder.path(), &consent).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(consent));
        std::fs::write(folder.path().join(CONSENT), "{}").unwrap();
        let refused = read(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("agent join again"), "{refused}");
    }
}
