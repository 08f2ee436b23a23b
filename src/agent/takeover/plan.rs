//! What taking over a database would change, and why it cannot be done, as functions of what was found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::agent::config::{AgentConfig, InvalidConfig};
use crate::host::control_file::ControlFile;
use crate::host::settings::{Listen, Settings, base};
use crate::model::SystemIdentifier;
use crate::provider::postgres::{Setting, Survey};

/// What is read of the server besides the settings that are managed.
const ALSO: [&str; 3] = ["config_file", "hba_file", "unix_socket_directories"];

/// What was found in the data folder, and on the server if one runs.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the data folder says.
    pub control: ControlFile,
    /// Whether its next start would be a standby's.
    pub is_standby: bool,
    /// `backup_label`, `recovery.signal`: the data is a backup that is being restored.
    pub restoring: Option<&'static str>,
    /// The data folder without links.
    pub data: PathBuf,
    /// What the server says; none if it does not run.
    pub server: Option<Survey>,
    /// What its configuration says of [`AT_REST`] if it does not run.
    pub at_rest: BTreeMap<String, Setting>,
}

/// What is read of the configuration of a server that does not run.
pub const AT_REST: [&str; 5] = [
    "max_connections",
    "max_replication_slots",
    "max_wal_senders",
    "unix_socket_directories",
    "wal_level",
];

/// What will be done, in lines to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The database system.
    pub system: SystemIdentifier,
    /// Where its sockets are.
    pub socket_folders: Vec<String>,
    /// What it is, what changes now, what later, what is written.
    pub lines: Vec<String>,
}

/// The settings that are managed, as they would be.
pub fn managed(config: &AgentConfig) -> Settings {
    let listen = Listen {
        addresses: config.listen().to_owned(),
        port: config.port,
        socket_folder: config.socket_folder().display().to_string(),
    };
    base(&listen, config.max_connections, &Settings::new())
}

/// The names of what is to be read of the server.
pub fn names(managed: &Settings) -> Vec<&str> {
    managed.keys().map(String::as_str).chain(ALSO).collect()
}

fn refuse<T>(text: String) -> Result<T, InvalidConfig> {
    Err(InvalidConfig(text))
}

/// What would be done. Errors: why it cannot be, in one sentence with the next step.
pub fn plan(config: &AgentConfig, found: &Found) -> Result<Plan, InvalidConfig> {
    let data = config.data.display();
    if let Some(file) = found.restoring {
        return refuse(format!(
            "`data` {data} is a backup that is being restored ({file} is there); let PostgreSQL finish that first"
        ));
    }
    let managed = managed(config);
    let mut lines = vec![];
    let mut socket_folders = vec![];
    match &found.server {
        None => {
            let role = if found.is_standby {
                "standby"
            } else {
                "primary"
            };
            lines.push(format!(
                "{} of {}   sys {}   {role} that does not run   timeline {}",
                config.instance, config.cluster, found.control.system, found.control.timeline
            ));
            check_settings(config, &found.at_rest)?;
            socket_folders.extend(socket_folders_in(&found.at_rest));
            lines.push("LATER all settings of primacy.conf: the agent starts it".to_owned());
        }
        Some(server) => {
            check(config, found, server)?;
            lines.extend(about(config, server));
            lines.extend(changes(config, server, &managed));
            socket_folders.extend(socket_folders_in(&server.settings));
        }
    }
    lines.extend(written(config, found));
    Ok(Plan {
        system: found.control.system,
        socket_folders,
        lines,
    })
}

fn check(config: &AgentConfig, found: &Found, server: &Survey) -> Result<(), InvalidConfig> {
    let data = config.data.display();
    if server.system != found.control.system {
        return refuse(format!(
            "`port`: the server there has database system {}, and `data` {data} holds {}; correct one of the two",
            server.system, found.control.system
        ));
    }
    if !server.is_superuser {
        return refuse(format!(
            "`superuser`: {} is none in this database; name a role that is one",
            config.superuser
        ));
    }
    for (setting, file) in [
        ("config_file", "postgresql.conf"),
        ("hba_file", "pg_hba.conf"),
    ] {
        let value = server.settings.get(setting).map(|it| it.value.as_str());
        if value.is_some_and(|value| Path::new(value) != found.data.join(file)) {
            return refuse(format!(
                "`data`: {setting} is {}, and the agent starts PostgreSQL with {data}/{file}; move it there, and restart PostgreSQL without that option",
                value.unwrap_or_default()
            ));
        }
    }
    if server.backups > 0 {
        return refuse(format!(
            "`data` {data} is being copied by pg_basebackup; wait until that has ended"
        ));
    }
    if server.is_standby && server.source.is_none() {
        return refuse(
            "`data` is a standby's that streams from nobody, so that it is not known whose history it has; have it stream from the primary, or move it away to have it cloned"
                .to_owned(),
        );
    }
    check_settings(config, &server.settings)
}

fn socket_folders_in(settings: &BTreeMap<String, Setting>) -> Vec<String> {
    let value = settings.get("unix_socket_directories");
    let folders = value.map_or("", |it| &it.value).split(',').map(str::trim);
    let absolute = folders.filter(|it| it.starts_with('/'));
    absolute.map(str::to_owned).collect()
}

/// What would keep PostgreSQL from its next start, or sessions from their standbys.
fn check_settings(
    config: &AgentConfig,
    settings: &BTreeMap<String, Setting>,
) -> Result<(), InvalidConfig> {
    let value = |name: &str| settings.get(name).map(|it| it.value.as_str());
    let number = |name: &str| {
        value(name)
            .and_then(|it| it.parse::<u32>().ok())
            .unwrap_or(0)
    };
    let managed = managed(config);
    let fixed = managed.iter().find(|(name, wanted)| {
        let found = settings.get(*name);
        found.is_some_and(|it| it.source == "command line" && it.value != **wanted)
    });
    if let Some((name, _)) = fixed {
        return refuse(format!(
            "`data`: {name} was given to PostgreSQL on its command line, which wins over every file; start it without that option first"
        ));
    }
    let of_roles = ["synchronous_commit", "default_transaction_read_only"];
    for name in of_roles {
        let found = settings.get(name);
        if found.is_some_and(|it| ["database", "user", "database user"].contains(&&*it.source)) {
            return refuse(format!(
                "`superuser`: {name} is set for role {} or for database postgres, and the agent's own sessions need the server's; reset it with ALTER ROLE or ALTER DATABASE",
                config.superuser
            ));
        }
    }
    let connections = number("max_connections");
    if connections > config.max_connections {
        return refuse(format!(
            "`max_connections` is {}, and the server has {connections}; write {connections} on every host of the cluster",
            config.max_connections
        ));
    }
    for name in ["max_wal_senders", "max_replication_slots"] {
        let kept = managed
            .get(name)
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        if number(name) > kept {
            return refuse(format!(
                "`data`: {name} is {}, and managed servers have {kept}; lower it and restart PostgreSQL first",
                number(name)
            ));
        }
    }
    match value("wal_level") {
        Some("replica") | None => Ok(()),
        Some(other) => refuse(format!(
            "`data`: wal_level is {other}, and managed servers have replica; set it so and restart PostgreSQL first"
        )),
    }
}

fn about(config: &AgentConfig, server: &Survey) -> Vec<String> {
    let role = match &server.source {
        Some(source) => format!("standby of {source}"),
        None => "primary".to_owned(),
    };
    let timeline = server.timeline.map_or("?".to_owned(), |it| it.to_string());
    let first = format!(
        "{} of {}   sys {}   {role}   timeline {timeline}   {}",
        config.instance,
        config.cluster,
        server.system,
        config.address()
    );
    let feeds = server.clients.iter().map(|it| format!("FEEDS {it}"));
    std::iter::once(first).chain(feeds).collect()
}

fn changes(config: &AgentConfig, server: &Survey, managed: &Settings) -> Vec<String> {
    let line = |word: &str, name: &str, from: &str, to: &str| {
        let or_empty = |text: &str| match text {
            "" => "''".to_owned(),
            text => text.to_owned(),
        };
        format!("{word} {name}   {} -> {}", or_empty(from), or_empty(to))
    };
    let of = |needs_start: bool| {
        let word = if needs_start { "LATER" } else { "NOW  " };
        managed.iter().filter_map(move |(name, wanted)| {
            let found = server.settings.get(name)?;
            let kept;
            let wanted = match name.as_str() {
                "unix_socket_directories" => {
                    kept = format!("{}, {}", config.socket_folder().display(), found.value);
                    &kept
                }
                _ => wanted,
            };
            let changes = found.value != *wanted && found.needs_start == needs_start;
            changes.then(|| line(word, name, &found.value, wanted))
        })
    };
    let names = "NOW   synchronous_standby_names   what the durability of the cluster asks for; with a quorum commits wait for a moment until the standbys are taken over, too";
    let source = "NOW   primary_conninfo, primary_slot_name, restore_command, recovery_min_apply_delay   the agent's; the standby connects anew";
    let mut lines: Vec<String> = of(false).collect();
    lines.push(if server.is_standby { source } else { names }.to_owned());
    lines.extend(of(true));
    lines
}

fn written(config: &AgentConfig, found: &Found) -> Vec<String> {
    let data = config.data.display();
    let role = &config.replication.user;
    let mut lines = vec![
        format!(
            "WRITE {data}/primacy.conf, which postgresql.conf includes last; names in it leave postgresql.auto.conf"
        ),
        format!(
            "WRITE {data}/pg_hba.conf: role {role} from {} before all other lines, which are kept",
            config.access.join(", ")
        ),
        format!("WRITE {data}/primacy.incarnation: whose the data is"),
    ];
    let server = found.server.as_ref();
    if !found.is_standby && !server.is_some_and(|it| it.is_standby) {
        lines.push(format!(
            "WRITE role {role}: made, or given LOGIN REPLICATION and the password of replication.password_file"
        ));
    }
    for slot in server.iter().flat_map(|it| &it.slots) {
        lines.push(format!(
            "HINT  slot {slot} is no slot of Primacy: it keeps at most 1GB of WAL from now on; drop it if a standby that is taken over had it"
        ));
    }
    for tablespace in server.iter().flat_map(|it| &it.tablespaces) {
        lines.push(format!(
            "HINT  tablespace {tablespace} lies outside of the data folder: a clone needs the same path on its host"
        ));
    }
    lines.push(
        "HINT  only the agent starts PostgreSQL from now on: take away what else does, such as systemctl disable postgresql"
            .to_owned(),
    );
    let restarts = match server {
        Some(_) => {
            "PostgreSQL is not restarted, and sessions go on; what stands behind LATER waits for its next start"
        }
        None => "the agent starts PostgreSQL once the cluster has taken it over",
    };
    lines.push(format!("NOTE  {restarts}"));
    lines
}

#[cfg(test)]
mod tests;
