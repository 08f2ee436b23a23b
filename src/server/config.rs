//! The configuration of a peer: one short file, checked before anything is touched.

mod alone;
mod hooks;
mod publish;
#[cfg(test)]
mod tests;
mod topology;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use hyper::http::uri::Authority;
use raft::{GroupId, Timing};
use serde::Deserialize;

use crate::config::{self, SecretText, TlsTable};
use crate::model::{Network, PeerId, Zone, address};
use crate::security::{Files, JoinKind, JoinToken, Password};
use crate::server::hex::{digest_of, hex};

pub use hooks::HookPrograms;
pub use publish::{Consul, Publish, Webhook};
pub use topology::TopologyLogin;

/// Shows every field.
const SAMPLE: &str = "docs/server.toml";

/// Why a configuration is refused: one sentence that names the field and the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// This peer; never used twice in its group. 0 until it has joined.
    pub id: PeerId,
    /// The Raft group.
    pub group: GroupId,
    /// Which beginning of the group a new folder belongs to.
    pub beginning: u64,
    /// Its failure domain.
    pub zone: Zone,
    /// Where it keeps its log and all that belongs to it ([`raft::Config::folder`] names the files), and its keys in `tls`.
    pub folder: PathBuf,
    /// Where its one HTTP port listens.
    pub listen: SocketAddr,
    /// Every peer of the group, this one included: id to `host:port`.
    pub peers: BTreeMap<PeerId, String>,
    /// Whether this peer joins a group that there is, rather than being one of its first members.
    pub joins: bool,
    /// The token to join with.
    pub token: Option<JoinToken>,
    /// Whether nothing is said of a group: the peer begins one of its own when its folder is empty, and is whoever its
    /// folder says that it is afterwards.
    pub is_alone: bool,
    /// As whom databases without an agent are signed in to; none if no role is named.
    pub postgresql: Option<TopologyLogin>,
    /// How far apart the peers are.
    pub network: Network,
    /// Where its certificate lies; none if it speaks plain HTTP.
    pub tls: Option<Files>,
    /// Where it is published who is the primary of a cluster.
    pub publish: Publish,
    /// What runs when a primary fails.
    pub hooks: HookPrograms,
    /// How many clusters are given a new primary at once by this peer, when it leads.
    pub max_concurrent_recoveries: usize,
    /// What is odd about this peer; shown in every status.
    pub warnings: Vec<String>,
}

#[derive(PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields)]
struct File {
    id: Option<u64>,
    group: Option<String>,
    join: Option<String>,
    zone: Option<String>,
    folder: Option<PathBuf>,
    listen: Option<String>,
    #[serde(default)]
    peers: BTreeMap<String, String>,
    postgresql: Option<topology::Table>,
    #[serde(rename = "ProviderType")]
    provider_type: Option<String>,
    #[serde(rename = "PostgreSQLTopologyUser")]
    topology_user: Option<String>,
    #[serde(rename = "PostgreSQLTopologyPassword")]
    topology_password: Option<SecretText>,
    #[serde(rename = "PostgreSQLSSLMode")]
    ssl_mode: Option<String>,
    #[serde(rename = "DefaultInstancePort")]
    default_instance_port: Option<u16>,
    #[serde(default)]
    publish: publish::Table,
    #[serde(default)]
    hooks: hooks::Table,
    #[serde(default = "usual_recoveries")]
    max_concurrent_recoveries: usize,
    tls: Option<TlsTable>,
    #[serde(default)]
    plain_http: bool,
    #[serde(default)]
    network: Network,
}

/// How many clusters are given a new primary at once unless somebody says otherwise. No installation with fewer clusters ever
/// waits for a turn. In a larger one a recovery takes about a third of a second, so that of a hundred primaries that are lost
/// together the last is replaced about a second after the first, and not all applications connect anew in one moment.
pub const MAX_CONCURRENT_RECOVERIES: usize = 32;

/// Where a peer keeps what it was issued, within its folder.
pub const TLS_FOLDER: &str = "tls";

/// Stands where a peer that joins has no group yet.
const NO_GROUP: &str = "00000000-0000-0000-0000-000000000000";

/// The port of `host:port`; none if the text is something else.
pub fn port(address: &str) -> Option<u16> {
    let authority: Authority = address.parse().ok()?;
    let is_plain = !authority.host().is_empty() && !address.contains(['@', ',']);
    authority.port_u16().filter(|port| is_plain && *port > 0)
}

impl Config {
    /// Checks the text of a configuration, TOML or JSON.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        check(config::read(text, SAMPLE).map_err(ConfigError)?)
    }

    /// Whether its text holds a password, which nobody else should read.
    pub fn holds_a_password(&self) -> bool {
        let password = self.postgresql.as_ref().map(|it| &it.password);
        match password {
            Some(Password::Text(_)) => true,
            Some(Password::None | Password::File(_)) | None => false,
        }
    }

    /// Differs where what all peers must be given alike for the sake of recoveries differs.
    pub fn recovery_digest(&self) -> String {
        let programs = format!("{:?}", self.hooks);
        let limit = self.max_concurrent_recoveries.to_string();
        hex(&digest_of(&[programs.as_bytes(), limit.as_bytes()])[..8])
    }

    /// The pace of the group.
    pub fn timing(&self) -> Timing {
        timing(self.network)
    }

    /// The folder of what this peer was issued by the built-in authority, which it may hold too.
    pub fn tls_folder(&self) -> PathBuf {
        self.folder.join(TLS_FOLDER)
    }
}

fn usual_recoveries() -> usize {
    MAX_CONCURRENT_RECOVERIES
}

fn timing(network: Network) -> Timing {
    match network {
        Network::Lan => Timing::lan(),
        Network::Wan => Timing::wan(),
    }
}

fn check(file: File) -> Result<Config, ConfigError> {
    let refuse = |why: String| Err(ConfigError(why));
    let names = topology::Names {
        provider_type: file.provider_type,
        user: file.topology_user,
        password: file.topology_password,
        ssl_mode: file.ssl_mode,
        default_port: file.default_instance_port,
    };
    let names_are_given = names.are_given();
    let postgresql = topology::login(names, file.postgresql)?;
    let publish = publish::checked(file.publish)?;
    let hooks = hooks::checked(file.hooks)?;
    if file.max_concurrent_recoveries == 0 {
        let why = "max_concurrent_recoveries: at 0 no primary would ever be replaced; give 1 or more, and to hold automation back \
                   use primacy pause";
        return refuse(why.to_owned());
    }
    let first = (
        file.id.is_some(),
        file.group.is_some(),
        !file.peers.is_empty(),
    );
    let joins = first == (false, false, false);
    let is_alone = joins && file.join.is_none() && names_are_given;
    if !joins {
        let field = match first {
            (false, _, _) => "id",
            (_, false, _) => "group",
            (_, _, false) => "peers",
            (true, true, true) => "",
        };
        if !field.is_empty() {
            return refuse(format!("`{field}` is missing; add it, {SAMPLE} shows how"));
        }
        if file.join.is_some() {
            return refuse(
                "join: a peer that joins is given id, group and peers; leave these out, or leave join out"
                    .to_owned(),
            );
        }
    }
    let token = file.join.filter(|_| joins);
    let parse = |text: String| JoinToken::parse(&text)?.of_kind(JoinKind::Peer);
    let token = token.map(parse).transpose();
    let token = token.map_err(|why| ConfigError(format!("join: {why}")))?;
    if joins && !is_alone && file.plain_http {
        return refuse("plain_http: a peer joins over TLS; leave plain_http out".to_owned());
    }
    if token.is_some() && file.tls.is_some() {
        return refuse(
            "join: a peer that joins is given its certificate; leave the table [tls] out, or give it id, group and peers"
                .to_owned(),
        );
    }
    let missing = |field: &str| format!("`{field}` is missing; add it, {SAMPLE} shows how");
    let or_alone = |given: Option<String>, field: &str, alone: &str| {
        let default = is_alone.then(|| alone.to_owned());
        given.or(default).ok_or_else(|| ConfigError(missing(field)))
    };
    let zone = or_alone(file.zone, "zone", alone::ZONE)?;
    let listen = or_alone(file.listen, "listen", alone::LISTEN)?;
    let default = || is_alone.then(alone::folder).flatten();
    let folder = file.folder.or_else(default);
    let folder = folder.ok_or_else(|| ConfigError(missing("folder")))?;
    let text = file.group.unwrap_or_else(|| NO_GROUP.to_owned());
    let id = file.id.unwrap_or_default();
    let group = text.parse().map_err(|_| {
        ConfigError(format!(
            "group '{text}' is not a UUID; draw one with uuidgen and give all peers the same"
        ))
    })?;
    let zone = Zone::new(&zone).map_err(|error| ConfigError(format!("zone: {error}")))?;
    let mut peers = BTreeMap::new();
    for (id, address) in &file.peers {
        // Numbers are given upwards for ever after: these leave enough of them.
        let Some(number) = id.parse::<u32>().ok().filter(|number| *number > 0) else {
            return refuse(format!(
                "peers: '{id}' is not a number from 1 to {}; name peers 1, 2, 3",
                u32::MAX
            ));
        };
        let number = u64::from(number);
        if port(address).is_none() {
            return refuse(format!(
                "peers.{id}: '{address}' is not host:port; write for example 10.0.0.1:7001"
            ));
        }
        peers.insert(PeerId(number), address.clone());
    }
    let twice = peers
        .values()
        .find(|a| peers.values().filter(|b| a == b).count() > 1);
    if let Some(address) = twice {
        return refuse(format!(
            "peers: two peers have the address {address}; give each its own"
        ));
    }
    if !joins && !matches!(peers.len(), 1 | 3 | 5) {
        return refuse(format!(
            "peers: {} peers are listed; list 3 or 5, so that a majority survives a loss",
            peers.len()
        ));
    }
    if !joins && !peers.contains_key(&PeerId(id)) {
        return refuse(format!(
            "peers: this peer, id {id}, is not listed; add it with its address"
        ));
    }
    let Ok(listen) = listen.parse::<SocketAddr>() else {
        return refuse(format!(
            "listen: '{listen}' is not an IP address with a port; write for example {}",
            alone::LISTEN
        ));
    };
    if is_alone && (listen.ip().is_unspecified() || listen.port() == 0) {
        return refuse(format!(
            "listen: a peer without id, group and peers is known by where it listens, and {listen} is no place to reach \
             it; give the address of this host"
        ));
    }
    if is_alone && file.tls.is_some() {
        return refuse(
            "tls: a peer without id, group and peers makes its own certificate; leave the table out, or give these"
                .to_owned(),
        );
    }
    if file.plain_http && !listen.ip().is_loopback() {
        return refuse(format!(
            "plain_http: {listen} can be reached from other hosts, where everything is said over TLS; leave plain_http \
             out, or listen on a loopback address"
        ));
    }
    if file.plain_http
        && let Some((id, address)) = peers.iter().find(|(_, it)| !address::is_here(it))
    {
        return refuse(format!(
            "plain_http: peer {id} at {address} is on another machine, to which everything is said over TLS; leave \
             plain_http out"
        ));
    }
    if !folder.is_absolute() {
        return refuse(format!(
            "folder: {} is not absolute; write the whole path",
            folder.display()
        ));
    }
    let tls = match (file.plain_http, file.tls) {
        (true, Some(_)) => {
            return refuse(
                "plain_http: there is a table [tls] too; leave one of the two out".to_owned(),
            );
        }
        (true, None) => None,
        (false, given) => Some(given.map_or_else(
            || Files::built_in(&folder.join(TLS_FOLDER)),
            TlsTable::files,
        )),
    };
    let mut warnings = vec![];
    if peers.len() == 1 || is_alone {
        warnings.push("the group has one peer: nothing is highly available".to_owned());
    }
    if names_are_given && postgresql.is_none() {
        warnings.push(
            "PostgreSQLTopologyUser is empty: databases without an agent cannot be looked after"
                .to_owned(),
        );
    }
    Ok(Config {
        id: PeerId(id),
        group,
        beginning: 0,
        joins,
        token,
        is_alone,
        postgresql,
        zone,
        folder,
        listen,
        peers,
        network: file.network,
        tls,
        publish,
        hooks,
        max_concurrent_recoveries: file.max_concurrent_recoveries,
        warnings,
    })
}
