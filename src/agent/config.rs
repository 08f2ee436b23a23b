//! The configuration of one agent: a TOML file, checked as a whole before anything starts.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{self, SecretText, TlsTable};
use crate::model::{Address, ClusterName, InstanceId, address};
use crate::security::{Files, JoinKind, JoinToken};

/// Shows every field.
const SAMPLE: &str = "docs/agent.toml";

/// One agent, one instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The cluster that the instance belongs to.
    pub cluster: ClusterName,
    /// The name of the instance.
    pub instance: InstanceId,
    /// Where the peers answer, `host:port` each.
    pub peers: Vec<String>,
    /// The agent's own state: promise, leash, sockets, passwords. Never inside the data folder, and
    /// better not on its disk.
    pub folder: PathBuf,
    /// PGDATA.
    pub data: PathBuf,
    /// The host name or address under which the instance and its standbys reach PostgreSQL.
    pub host: String,
    /// The TCP port of PostgreSQL.
    pub port: u16,
    /// What PostgreSQL listens on; `host` if absent.
    pub listen: Option<String>,
    /// Where health checks are answered.
    pub health: SocketAddr,
    /// The folder with PostgreSQL's programs; searched for if absent.
    pub binaries: Option<PathBuf>,
    /// The program whose `leash` verb is the leash; this one if absent.
    pub leash: Option<PathBuf>,
    /// The user that runs PostgreSQL, needed if the agent runs as root.
    pub run_as: Option<String>,
    /// The database superuser.
    #[serde(default = "superuser")]
    pub superuser: String,
    /// PostgreSQL's setting of that name. A standby with less than its primary does not follow.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
    /// How standbys connect.
    pub replication: Role,
    /// A role for applications, created with the first data.
    pub application: Option<Role>,
    /// From where databases may be reached: `samenet`, or networks such as `10.0.0.0/8`.
    #[serde(default = "same_network")]
    pub access: Vec<String>,
    /// The join token with which its first certificate is asked for.
    pub join: Option<SecretText>,
    /// Certificates of an authority of the user's own; what the peers issued, in the folder `tls` of `folder`, if absent.
    pub tls: Option<TlsTable>,
    /// Whether it speaks plain HTTP to its peers, which are on this machine: for development.
    #[serde(default)]
    pub plain_http: bool,
}

/// Where an agent keeps what it was issued, within its folder.
pub const TLS_FOLDER: &str = "tls";

/// A database role with its password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name. What is not given depends on what the role is for.
    #[serde(default)]
    pub user: String,
    /// A file with nothing but its password.
    pub password_file: PathBuf,
}

impl Role {
    fn call(&mut self, name: &str) {
        if self.user.is_empty() {
            name.clone_into(&mut self.user);
        }
    }
}

fn superuser() -> String {
    "postgres".to_owned()
}

fn max_connections() -> u32 {
    100
}

/// PostgreSQL takes 1 to 262,143; the agent's own sessions and the three reserved ones need room.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 20..=262_143;
const REPLICATION_USER: &str = "primacy_replication";
const APPLICATION_USER: &str = "app";

fn same_network() -> Vec<String> {
    vec!["samenet".to_owned()]
}

/// A configuration that cannot work, by itself or on this host, in one sentence that names the field and the
/// next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(pub String);

impl AgentConfig {
    /// Reads and checks TOML text. Errors: one sentence that names the field and the next step.
    pub fn parse(text: &str) -> Result<AgentConfig, InvalidConfig> {
        let mut config: AgentConfig = config::read(text, SAMPLE).map_err(InvalidConfig)?;
        config.replication.call(REPLICATION_USER);
        if let Some(role) = &mut config.application {
            role.call(APPLICATION_USER);
        }
        config.validate()?;
        Ok(config)
    }

    /// Every contradiction, the first one found. Reads no files.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let invalid = |text: String| Err(InvalidConfig(text));
        if self.peers.is_empty() {
            return invalid(
                "`peers` is empty; list where every peer answers, such as \"10.0.0.1:7001\""
                    .to_owned(),
            );
        }
        if !CONNECTIONS.contains(&self.max_connections) {
            return invalid(format!(
                "`max_connections` is {}; give 20 to 262143, the same on every host of the cluster",
                self.max_connections
            ));
        }
        let not_an_address = |peer: &&String| {
            let port = peer.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            !matches!(port, Some(Ok(1..)))
        };
        if let Some(peer) = self.peers.iter().find(not_an_address) {
            return invalid(format!(
                "`peers` lists \"{peer}\", which is no host:port; write it as \"10.0.0.1:7001\""
            ));
        }
        for (field, path) in [("folder", &self.folder), ("data", &self.data)] {
            if !path.is_absolute() {
                return invalid(format!(
                    "`{field}` is the relative path {}; write it from the root, because PostgreSQL works in another folder",
                    path.display()
                ));
            }
        }
        if self.data == self.folder {
            return invalid(
                "`data` and `folder` are the same folder; give the agent one of its own".to_owned(),
            );
        }
        if self.folder.starts_with(&self.data) {
            return invalid("`folder` lies inside `data`; move it out, because the promise must outlive the data".to_owned());
        }
        // A socket's address holds 107 bytes.
        if self.folder.as_os_str().len() > 80 {
            return invalid("`folder` is longer than 80 characters, too long for the sockets in it; use a shorter path".to_owned());
        }
        if self.port == 0 || self.health.port() == 0 {
            return invalid("`port` and the port of `health` must be fixed numbers; zero cannot be found by others".to_owned());
        }
        if self.port == self.health.port() {
            return invalid(format!(
                "`port` and `health` both use {}; give the health endpoint another port",
                self.port
            ));
        }
        if let Some(role) = &self.application
            && (role.user == self.replication.user || role.user == self.superuser)
        {
            return invalid(format!(
                "`application.user` is '{}', which another role has; use a role of its own",
                role.user
            ));
        }
        if self.replication.user == self.superuser {
            return invalid(
                "`replication.user` is the superuser; use a role of its own, it only replicates"
                    .to_owned(),
            );
        }
        let quoted = |text: &str| {
            text.chars()
                .any(|c| c.is_control() || c == '\'' || c == '"' || c == '\\')
        };
        for (field, text) in [
            ("superuser", &self.superuser),
            ("host", &self.host),
            ("replication.user", &self.replication.user),
        ] {
            if text.is_empty() || quoted(text) {
                return invalid(format!(
                    "`{field}` is empty or holds quotes; use plain letters, digits, dots, '-' and '_'"
                ));
            }
        }
        if let Some(from) = self.access.iter().find(|from| !is_access(from)) {
            return invalid(format!(
                "`access` lists \"{from}\"; write samenet, or a network such as 10.0.0.0/8"
            ));
        }
        self.token()?;
        if self.join.is_some() && (self.tls.is_some() || self.plain_http) {
            return invalid(
                "`join` is there beside `plain_http` or a table [tls]; leave one of them out"
                    .to_owned(),
            );
        }
        if !self.plain_http {
            return Ok(());
        }
        if self.tls.is_some() {
            return invalid(
                "`plain_http`: there is a table [tls] too; leave one of the two out".to_owned(),
            );
        }
        if let Some(peer) = self.peers.iter().find(|peer| !address::is_here(peer)) {
            return invalid(format!(
                "`plain_http`: the peer {peer} is on another machine, to which everything is said over TLS; leave plain_http out"
            ));
        }
        Ok(())
    }

    /// Where its certificate lies; none if it speaks plain HTTP.
    pub fn files(&self) -> Option<Files> {
        let built_in = || Files::built_in(&self.tls_folder());
        let given = self.tls.clone().map(TlsTable::files);
        (!self.plain_http).then(|| given.unwrap_or_else(built_in))
    }

    /// The join token, if one is given.
    pub fn token(&self) -> Result<Option<JoinToken>, InvalidConfig> {
        let parse = |text: &SecretText| JoinToken::parse(&text.0)?.of_kind(JoinKind::Agent);
        let token = self.join.as_ref().map(parse).transpose();
        token.map_err(|why| InvalidConfig(format!("`join`: {why}")))
    }

    /// The folder of what the peers issued.
    pub fn tls_folder(&self) -> PathBuf {
        self.folder.join(TLS_FOLDER)
    }

    /// Where the instance answers SQL.
    pub fn address(&self) -> Address {
        Address {
            host: self.host.clone(),
            port: self.port,
        }
    }

    /// What PostgreSQL listens on.
    pub fn listen(&self) -> &str {
        self.listen.as_deref().unwrap_or(&self.host)
    }

    /// The folder with PostgreSQL's socket.
    pub fn socket_folder(&self) -> PathBuf {
        self.folder.join("run")
    }
}

/// What is understood as an address in pg_hba.conf: a network, or that of this host.
fn is_access(from: &str) -> bool {
    let Some((address, length)) = from.split_once('/') else {
        return from == "samenet" || from == "samehost";
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}

impl Role {
    /// Reads the password. Errors: one sentence with the next step.
    pub fn password(&self) -> Result<String, InvalidConfig> {
        read_password(&self.password_file)
    }
}

fn read_password(file: &Path) -> Result<String, InvalidConfig> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        InvalidConfig(format!("the password file {} cannot be read ({error}); create it with the password as its only line", file.display()))
    })?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() || password.contains(['\n', '\0']) {
        return Err(InvalidConfig(format!(
            "the password file {} must hold the password as its only line",
            file.display()
        )));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
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

    #[test]
    fn contradictions_name_the_field() {
        let config = AgentConfig::parse(GOOD).unwrap();
        assert_eq!(config.replication.user, "primacy_replication");
        for (from, to, field) in [
            ("[\"127.0.0.1:7001\"]", "[]", "`peers`"),
            ("127.0.0.1:7001", "127.0.0.1", "`peers`"),
            ("/var/lib/postgresql/pg-a", "pg-a", "`data`"),
            (
                "/var/lib/primacy/pg-a",
                "/var/lib/postgresql/pg-a/x",
                "`folder`",
            ),
            ("8008", "5432", "`health`"),
            (
                "[\"127.0.0.1:7001\"]",
                "[\"10.0.0.1:7001\"]\nplain_http = true",
                "`plain_http`",
            ),
            ("host = ", "hots = ", "hots"),
            ("port = ", "access = [\"all\"]\nport = ", "`access`"),
            ("port = ", "access = [\"::/129\"]\nport = ", "`access`"),
        ] {
            let text = GOOD.replace(from, to);
            let error = AgentConfig::parse(&text).unwrap_err().to_string();
            assert!(error.contains(field), "{to}: {error}");
            assert!(!error.contains('\n'), "more than a sentence: {error}");
        }
        // Load balancers and clients of PostgreSQL are on other machines.
        let open = GOOD
            .replace("127.0.0.1:8008", "0.0.0.0:8008")
            .replace("host = \"127.0.0.1\"", "host = \"10.1.2.3\"");
        assert!(AgentConfig::parse(&open).is_ok());
        let plain = format!("plain_http = true\n{GOOD}");
        assert!(AgentConfig::parse(&plain).unwrap().files().is_none());
    }

    #[test]
    fn every_role_has_a_name_of_its_own() {
        let both = format!("{GOOD}\n[application]\npassword_file = \"/a\"\n");
        let config = AgentConfig::parse(&both).unwrap();
        assert_eq!(config.replication.user, REPLICATION_USER);
        assert_eq!(config.application.unwrap().user, APPLICATION_USER);
    }

    #[test]
    fn the_sample_shows_every_field_and_its_default() {
        let sample = include_str!("../../docs/agent.toml");
        let given = config::all_given(sample);
        for table in ["", "[replication]", "[application]", "[tls]"] {
            let (_, shown) = given.split_once(table).expect("it is shown");
            let shown = shown.split("\n[").next().unwrap_or_default();
            for field in config::fields::<AgentConfig>(table) {
                let is_shown = shown.contains(&format!("\n{field} = "));
                let is_table = given.contains(&format!("\n[{field}]"));
                // Instead of others, so it is not among what may be given beside them.
                let is_shown = is_shown || shown.contains(&format!("\n# {field} = "));
                assert!(is_shown || is_table, "{table} {field} is not shown");
            }
        }
        let least = AgentConfig::parse(sample).unwrap();
        let all = AgentConfig::parse(&given).unwrap();
        // What has no default is absent if it is not given.
        let defaults = AgentConfig {
            listen: Some(least.listen().to_owned()),
            binaries: all.binaries.clone(),
            leash: all.leash.clone(),
            run_as: all.run_as.clone(),
            application: all.application.clone(),
            tls: all.tls.clone(),
            ..least
        };
        assert_eq!(all, defaults);
    }
}
