//! Whether the data folder is this instance's: absent, empty, or filled by its own agent. Whatever else is
//! there is left alone.

use std::path::Path;

use super::{in_words, refuse};
use crate::agent::config::{AgentConfig, InvalidConfig};
use crate::agent::hands::{REWINDING, identity_in};
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

/// Looks at the data folder, and returns the Raft group under which it was filled. `obeyed` is that of the
/// promise. Blocks on the disk. Errors: one sentence.
pub(super) fn check(
    config: &AgentConfig,
    binaries: &Binaries,
    obeyed: Option<&str>,
) -> Result<Option<String>, InvalidConfig> {
    let data = config.data.as_path();
    let shown = data.display();
    let host = in_words("data");
    let content = data_folder::inspect(data).map_err(&host)?;
    if content == Content::Absent {
        return Ok(None);
    }
    data_folder::check_owner(data, binaries.account).map_err(&host)?;
    match content {
        Content::Absent | Content::Empty => Ok(None),
        Content::NotEmptyNoCluster => refuse(format!(
            "`data` {shown} holds files that are no database, and is never initialised or wiped; move them away or choose an empty folder"
        )),
        Content::Cluster { version } if version != binaries.version.to_string() => refuse(format!(
            "`data` {shown} was made by PostgreSQL {version}, and the programs in {} (`binaries`) are of {}; install those of {version} or upgrade the data",
            binaries.folder.display(),
            binaries.version
        )),
        Content::Cluster { .. } => {
            let found = Found {
                system: control_file::read(data).map_err(&host)?.system,
                filling: data_folder::read_filling(data).map_err(&host)?,
                known: identity_in(&config.folder).map_err(in_words("folder"))?,
                is_rewinding: is_rewinding(&config.folder)?,
            };
            found.belongs_to(config, obeyed).map_err(|why| {
                InvalidConfig(format!(
                    "`data` {shown} {why}; it is never wiped: move it away or correct the path"
                ))
            })?;
            Ok(found.filling.map(|filling| filling.group))
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
}

impl Found {
    fn belongs_to(&self, config: &AgentConfig, obeyed: Option<&str>) -> Result<(), String> {
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
            Some(_) => Ok(()),
            // Its agent ended between the copy and the note.
            None if self.known.is_some() => Ok(()),
            None => Err(format!(
                "holds database system {}, which no agent filled for {}",
                self.system, config.instance
            )),
        }
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
            (unnoted(), None, Some("no agent filled")),
        ] {
            let answer = found.belongs_to(&config, obeyed);
            match (answer, refusal) {
                (Ok(()), None) => {}
                (Err(why), Some(words)) => assert!(why.contains(words), "{why}"),
                (answer, refusal) => panic!("{answer:?}, not {refusal:?}"),
            }
        }
    }
}
