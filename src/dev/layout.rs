//! What a `dev` consists of, as written in its `dev.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One `dev`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// Where everything lives.
    pub folder: PathBuf,
    /// The program that its nodes run.
    pub program: PathBuf,
    /// Who runs the nodes: user and group id; none for the user itself.
    pub account: Option<(u32, u32)>,
    /// The cluster's name.
    pub cluster: String,
    /// Finds the primary by itself.
    pub dsn: String,
    /// The password of the application's role.
    pub password: String,
    /// By name.
    pub nodes: BTreeMap<String, Node>,
}

/// One node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its pretend zone.
    pub zone: String,
    /// The port of its HTTP API, or of PostgreSQL.
    pub port: u16,
    /// The port of the agent's health checks.
    pub health: Option<u16>,
    /// The process that was started last, and when in clock ticks since boot.
    pub started: Option<(i32, u64)>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A Primacy server.
    Peer,
    /// An agent with its PostgreSQL.
    Instance,
}

impl Layout {
    /// The `dev` of this user in `folder`, if there is one.
    pub(super) fn load(folder: &Path) -> Option<Layout> {
        let file = folder.join("dev.json");
        // Below /tmp anybody could have put it there.
        let owner = fs::symlink_metadata(&file).ok()?.uid();
        if owner != rustix::process::getuid().as_raw() {
            return None;
        }
        serde_json::from_slice(&fs::read(file).ok()?).ok()
    }

    /// Takes the folder for this `dev`: writes its `dev.json`. Fails with `AlreadyExists` if another has one there.
    pub(super) fn claim(&self) -> std::io::Result<()> {
        fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(self.folder.join("dev.json"))?;
        self.save()
    }

    pub(super) fn save(&self) -> std::io::Result<()> {
        let draft = self.folder.join("dev.json.new");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(draft, self.folder.join("dev.json"))
    }

    /// The addresses of the peers.
    pub(super) fn peers(&self) -> Vec<String> {
        self.of(Kind::Peer)
            .map(|(_, node)| format!("127.0.0.1:{}", node.port))
            .collect()
    }

    /// The folder with the certificate of its owner.
    pub(super) fn tls(&self) -> PathBuf {
        self.folder.join("tls")
    }

    /// The nodes of one kind.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter().filter(move |(_, node)| node.kind == kind)
    }

    /// The folder of a node.
    pub(super) fn home(&self, node: &str) -> PathBuf {
        self.folder.join(node)
    }

    /// The configuration of a node.
    pub(super) fn config(&self, node: &str) -> PathBuf {
        let file = match self.nodes[node].kind {
            Kind::Peer => "server.toml",
            Kind::Instance => "agent.toml",
        };
        self.home(node).join(file)
    }
}
