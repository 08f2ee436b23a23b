//! The configuration of a peer: one short file, checked before anything is touched.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use hyper::http::uri::Authority;
use raft::{GroupId, Timing};
use serde::Deserialize;

use crate::config::{self, TlsTable};
use crate::model::{Network, PeerId, Zone, address};
use crate::security::{Files, JoinKind, JoinToken};

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
    /// Where it keeps its log.
    pub folder: PathBuf,
    /// Where its one HTTP port listens.
    pub listen: SocketAddr,
    /// Every peer of the group, this one included: id to `host:port`.
    pub peers: BTreeMap<PeerId, String>,
    /// Whether this peer joins a group that there is, rather than being one of its first members.
    pub joins: bool,
    /// The token to join with.
    pub token: Option<JoinToken>,
    /// How far apart the peers are.
    pub network: Network,
    /// Where its certificate lies; none if it speaks plain HTTP.
    pub tls: Option<Files>,
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
    zone: String,
    folder: PathBuf,
    listen: String,
    #[serde(default)]
    peers: BTreeMap<String, String>,
    tls: Option<TlsTable>,
    #[serde(default)]
    plain_http: bool,
    #[serde(default)]
    network: Network,
}

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
    /// Checks the text of a configuration.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        check(config::read(text, SAMPLE).map_err(ConfigError)?)
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

fn timing(network: Network) -> Timing {
    match network {
        Network::Lan => Timing::lan(),
        Network::Wan => Timing::wan(),
    }
}

fn check(file: File) -> Result<Config, ConfigError> {
    let refuse = |why: String| Err(ConfigError(why));
    let first = (
        file.id.is_some(),
        file.group.is_some(),
        !file.peers.is_empty(),
    );
    let joins = first == (false, false, false);
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
    if joins && file.plain_http {
        return refuse("plain_http: a peer joins over TLS; leave plain_http out".to_owned());
    }
    if token.is_some() && file.tls.is_some() {
        return refuse(
            "join: a peer that joins is given its certificate; leave the table [tls] out, or give it id, group and peers"
                .to_owned(),
        );
    }
    let text = file.group.unwrap_or_else(|| NO_GROUP.to_owned());
    let id = file.id.unwrap_or_default();
    let group = text.parse().map_err(|_| {
        ConfigError(format!(
            "group '{text}' is not a UUID; draw one with uuidgen and give all peers the same"
        ))
    })?;
    let zone = Zone::new(&file.zone).map_err(|error| ConfigError(format!("zone: {error}")))?;
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
    let Ok(listen) = file.listen.parse::<SocketAddr>() else {
        return refuse(format!(
            "listen: '{}' is not an IP address with a port; write for example 127.0.0.1:7001",
            file.listen
        ));
    };
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
    if !file.folder.is_absolute() {
        return refuse(format!(
            "folder: {} is not absolute; write the whole path",
            file.folder.display()
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
            || Files::built_in(&file.folder.join(TLS_FOLDER)),
            TlsTable::files,
        )),
    };
    let mut warnings = vec![];
    if peers.len() == 1 {
        warnings.push("the group has one peer: nothing is highly available".to_owned());
    }
    Ok(Config {
        id: PeerId(id),
        group,
        beginning: 0,
        joins,
        token,
        zone,
        folder: file.folder,
        listen,
        peers,
        network: file.network,
        tls,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Durability;
    use crate::model::example::cluster;
    use std::time::Duration;

    const GOOD: &str = r#"
id = 1
group = "00000000-0000-0000-0000-000000000001"
zone = "z1"
folder = "/tmp/peer"
listen = "127.0.0.1:7001"
peers = {1="127.0.0.1:7001", 2="127.0.0.1:7002", 3="127.0.0.1:7003"}
"#;

    /// A leader that dies takes twice the longest election timeout to replace; then one round to a majority, and half
    /// a second for whatever is slow.
    #[test]
    fn no_primary_loses_its_lease_because_a_leader_dies() {
        for network in [Network::Lan, Network::Wan] {
            for durability in [Durability::Async, Durability::Quorum { standbys: 1 }] {
                let lease = cluster(&["a", "b"], durability).lease_length(network);
                let replaced = timing(network).election_max * 2 + timing(network).heartbeat;
                let slow = Duration::from_millis(500);
                assert!(replaced + slow < lease * 3 / 4, "{network:?} {durability}");
            }
        }
    }

    #[test]
    fn a_good_configuration() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.peers.len(), 3);
        assert!(config.warnings.is_empty());
    }

    #[test]
    fn plain_http_is_for_loopback() {
        let plain = format!("plain_http = true\n{GOOD}");
        let config = Config::parse(&plain).unwrap();
        assert!(config.tls.is_none());
        let open = |text: &str| text.replace("listen = \"127.0.0.1", "listen = \"0.0.0.0");
        let ConfigError(why) = Config::parse(&open(&plain)).unwrap_err();
        assert!(why.starts_with("plain_http: 0.0.0.0:7001 can"), "{why}");
        let config = Config::parse(&open(GOOD)).unwrap();
        let files = Files::built_in(&config.tls_folder());
        assert!(config.warnings.is_empty() && config.tls == Some(files));
        let own = "tls = {ca = \"/a\", certificate = \"/b\", key = \"/c\"}\n";
        let config = Config::parse(&format!("{own}{GOOD}")).unwrap();
        assert_eq!(config.tls.unwrap().authorities, PathBuf::from("/a"));
        assert!(Config::parse(&format!("{own}{plain}")).is_err());
    }

    #[test]
    fn a_peer_that_joins_is_given_its_place() {
        let keep = |line: &&str| {
            ["zone", "folder", "listen"]
                .iter()
                .any(|it| line.starts_with(it))
        };
        let place: Vec<_> = GOOD.lines().filter(keep).collect();
        let place = place.join("\n");
        // Restarted without its token.
        let config = Config::parse(&place).unwrap();
        assert!(config.joins && config.peers.is_empty() && config.token.is_none());
        let ConfigError(why) = Config::parse(&format!("{place}\njoin = \"x\"")).unwrap_err();
        assert!(why.starts_with("join: this is no join token"), "{why}");
        let ConfigError(why) = Config::parse(&format!("{GOOD}join = \"x\"")).unwrap_err();
        assert!(why.starts_with("join: "), "{why}");
        assert!(!Config::parse(GOOD).unwrap().joins);
    }

    #[test]
    fn refusals_name_the_field_in_one_sentence() {
        let cases = [
            ("zone = \"z1\"", "zonne = \"z1\"", "zonne"),
            ("zone = \"z1\"", "", "zone"),
            ("zone = \"z1\"", "zone = \"Z 1\"", "zone"),
            ("id = 1", "id = 9", "peers"),
            ("3=\"127.0.0.1:7003\"", "3=\"127.0.0.1:7001\"", "peers"),
            (", 3=\"127.0.0.1:7003\"", "", "peers"),
            ("3=\"127.0.0.1:7003\"", "3=\"nowhere\"", "peers.3"),
            ("3=\"127.0.0.1:7003\"", "0=\"127.0.0.1:7003\"", "peers"),
            (
                "3=\"127.0.0.1:7003\"",
                "4294967296=\"127.0.0.1:7003\"",
                "peers",
            ),
            ("000000000001", "00000000000x", "group"),
            ("\"/tmp/peer\"", "\"peer\"", "folder"),
        ];
        for (from, to, field) in cases {
            let ConfigError(why) = Config::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(why.contains(field) && !why.contains('\n'), "{to}: {why}");
        }
    }

    #[test]
    fn the_sample_shows_every_field_and_its_default() {
        let sample = include_str!("../../docs/server.toml");
        let given = config::all_given(sample);
        for field in config::fields::<File>("") {
            if field == "join" {
                // Instead of three others, so it is not among what may be given beside them.
                assert!(sample.contains("\n# join = "));
                continue;
            }
            let is_shown = given.contains(&format!("\n{field} = "));
            let is_table = given.contains(&format!("\n[{field}]"));
            assert!(is_shown || is_table, "{field} is not shown");
        }
        let least: File = toml::from_str(sample).unwrap();
        let all: File = toml::from_str(&given).unwrap();
        // What has no default is absent if it is not given.
        let tls = all.tls.clone();
        assert_eq!(File { tls, ..least }, all);
        let config = Config::parse(sample).unwrap();
        assert!(config.warnings.is_empty());
    }
}
