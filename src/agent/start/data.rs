//! Whether the data folder is this instance's: absent, empty, filled by its own agent, or offered to be taken over.
//! Whatever else is there is left alone.

use std::path::Path;

use super::{in_words, refuse};
use crate::agent::config::{AgentConfig, InvalidConfig};
use crate::agent::hands::{REWINDING, identity_in};
use crate::agent::takeover::consent::{self, Consent};
use crate::host::data_folder::{self, Content, Filling};
use crate::host::{Binaries, control_file, durable};
use crate::model::SystemIdentifier;

/// Refuses a path at which something else is. Errors: one sentence.
pub(super) fn check_is_folder(data: &Path) -> Result<(), InvalidConfig> {
    if durable::exists(data).map_err(in_words("data"))? && !data.is_dir() {
        return refuse(format!(
            "`data` {} is no folder; choose another path",
            data.display()
        ));
    }
    Ok(())
}

/// Whose a data folder is that may be worked on, or about which somebody may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is not there, or empty.
    Nobodys,
    /// This instance's, or offered to be.
    Ours {
        /// The Raft group under which it was filled.
        group: Option<String>,
    },
    /// Of a database that no agent filled.
    Unfilled(SystemIdentifier),
}

/// The words about a database that no agent filled, for an agent that is about to work.
pub(super) fn refuse_unfilled<T>(
    config: &AgentConfig,
    system: SystemIdentifier,
) -> Result<T, InvalidConfig> {
    refuse(format!(
        "`data` {} holds database system {system}, which no agent filled for {}; it is never wiped: have it taken over with primacy agent join, move it away, or correct the path",
        config.data.display(),
        config.instance
    ))
}

/// Looks at the data folder. `obeyed` is that of the
/// promise. Blocks on the disk. Errors: one sentence.
pub(super) fn check(
    config: &AgentConfig,
    binaries: &Binaries,
    obeyed: Option<&str>,
) -> Result<Whose, InvalidConfig> {
    let data = config.data.as_path();
    let shown = data.display();
    let host = in_words("data");
    let content = data_folder::inspect(data).map_err(&host)?;
    if content == Content::Absent {
        return Ok(Whose::Nobodys);
    }
    data_folder::check_owner(data, binaries.account).map_err(&host)?;
    match content {
        Content::Absent | Content::Empty => Ok(Whose::Nobodys),
        Content::NotEmptyNoCluster => refuse(format!(
            "`data` {shown} holds files that are no database, and is never initialised or wiped; move them away or choose an empty folder"
        )),
        Content::Cluster { version } if version != binaries.version.to_string() => refuse(format!(
            "`data` {shown} was made by PostgreSQL {version}, and the programs in {} (`binaries`) are of {}; install those of {version} or upgrade the data",
            binaries.folder.display(),
            binaries.version
        )),
        Content::Cluster { .. } => {
            let known = identity_in(&config.folder).map_err(in_words("folder"))?;
            let system = match (control_file::read(data), known) {
                (Ok(control), _) => control.system,
                // What it was filled with before it was damaged: a copy will take its place.
                (Err(error), Some(known)) if error.is_damage() => known,
                (Err(error), _) => return Err(host(error)),
            };
            let found = Found {
                system,
                filling: data_folder::read_filling(data).map_err(&host)?,
                known,
                is_rewinding: is_rewinding(&config.folder)?,
                consent: consent::read(&config.folder).map_err(in_words("folder"))?,
            };
            found.belongs_to(config, obeyed).map_err(|why| {
                InvalidConfig(format!(
                    "`data` {shown} {why}; it is never wiped: move it away or correct the path"
                ))
            })
        }
    }
}

fn is_rewinding(folder: &Path) -> Result<bool, InvalidConfig> {
    durable::exists(&folder.join(REWINDING)).map_err(in_words("folder"))
}

/// What a database says about itself, and what is known about it.
struct Found {
    system: SystemIdentifier,
    filling: Option<Filling>,
    /// Of the last filling that this agent made.
    known: Option<SystemIdentifier>,
    /// A rewind was interrupted: the note may be the source's.
    is_rewinding: bool,
    /// What somebody agreed to have taken over here.
    consent: Option<Consent>,
}

impl Found {
    fn belongs_to(&self, config: &AgentConfig, obeyed: Option<&str>) -> Result<Whose, String> {
        if let Some(filling) = &self.filling
            && let Some(obeyed) = obeyed
            && filling.group != obeyed
        {
            return Err(format!(
                "was filled under Raft group {}, and this agent obeys group {obeyed}",
                filling.group
            ));
        }
        if let Some(known) = self.known
            && known != self.system
        {
            return Err(format!(
                "holds database system {}, and this instance's is {known}",
                self.system
            ));
        }
        match &self.filling {
            Some(filling) if filling.cluster != config.cluster => Err(format!(
                "belongs to cluster {}, not to {}",
                filling.cluster, config.cluster
            )),
            Some(filling) if filling.instance != config.instance && !self.is_rewinding => {
                Err(format!(
                    "belongs to instance {}, not to {}",
                    filling.instance, config.instance
                ))
            }
            Some(filling) => Ok(Whose::Ours {
                group: Some(filling.group.clone()),
            }),
            // Its agent ended between the copy and the note.
            None if self.known.is_some() => Ok(Whose::Ours { group: None }),
            None if self.is_offered(config) => Ok(Whose::Ours { group: None }),
            None => Ok(Whose::Unfilled(self.system)),
        }
    }
}

impl Found {
    fn is_offered(&self, config: &AgentConfig) -> bool {
        let agreed = |it: &Consent| {
            (&it.cluster, &it.instance, it.system)
                == (&config.cluster, &config.instance, self.system)
        };
        self.consent.as_ref().is_some_and(agreed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterName, Incarnation, InstanceId};

    const CONFIG: &str = r#"
        cluster = "main"
        instance = "pg-a"
        peers = ["127.0.0.1:7001"]
        folder = "/var/lib/primacy/pg-a"
        data = "/var/lib/postgresql/pg-a"
        host = "127.0.0.1"
        port = 5432
        health = "127.0.0.1:8008"
        [replication]
        password_file = "/etc/primacy/replication"
    "#;

    fn filled(cluster: &str, instance: &str) -> Found {
        Found {
            system: SystemIdentifier(7),
            filling: Some(Filling {
                group: "g1".to_owned(),
                cluster: ClusterName::new(cluster).unwrap(),
                instance: InstanceId::new(instance).unwrap(),
                incarnation: Incarnation(1),
            }),
            known: None,
            is_rewinding: false,
            consent: None,
        }
    }

    #[test]
    fn only_its_own_data_is_taken() {
        let config = AgentConfig::parse(CONFIG).unwrap();
        let known = |found: Found, known| Found {
            known: Some(SystemIdentifier(known)),
            ..found
        };
        let unnoted = || Found {
            filling: None,
            ..filled("main", "pg-a")
        };
        let offered = |found: Found, system| Found {
            consent: Some(Consent {
                cluster: config.cluster.clone(),
                instance: config.instance.clone(),
                system: SystemIdentifier(system),
                socket_folders: vec![],
            }),
            ..found
        };
        let rewinding = |instance| Found {
            is_rewinding: true,
            ..filled("main", instance)
        };
        for (found, obeyed, refusal) in [
            (filled("main", "pg-a"), None, None),
            (filled("main", "pg-a"), Some("g1"), None),
            (known(filled("main", "pg-a"), 7), Some("g1"), None),
            (known(unnoted(), 7), None, None),
            (rewinding("pg-b"), Some("g1"), None),
            (filled("main", "pg-a"), Some("g2"), Some("group g1")),
            (rewinding("pg-b"), Some("g2"), Some("group g1")),
            (filled("other", "pg-a"), None, Some("cluster other")),
            (filled("main", "pg-b"), None, Some("instance pg-b")),
            (known(filled("main", "pg-a"), 8), None, Some("system 7")),
            (known(unnoted(), 8), None, Some("system 7")),
            (offered(unnoted(), 7), None, None),
            (unnoted(), None, Some("unfilled")),
            (offered(unnoted(), 8), None, Some("unfilled")),
        ] {
            let answer = found.belongs_to(&config, obeyed);
            match (answer, refusal) {
                (Ok(Whose::Ours { .. }), None) | (Ok(Whose::Unfilled(_)), Some("unfilled")) => {}
                (Err(why), Some(words)) => assert!(why.contains(words), "{why}"),
                (answer, refusal) => panic!("{answer:?}, not {refusal:?}"),
            }
        }
    }
}
