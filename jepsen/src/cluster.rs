//! The cluster under test: driven with `primacy dev`, read over HTTP.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::clock::{self, Moment};
use crate::expectations::Network;
use crate::http::{Certificate, Http};
use crate::recovery::Recovery;
use crate::session::Target;

/// How long streaming must last to count.
pub const STABLE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
const ASK_WITHIN: Duration = Duration::from_millis(500);
const UP_WITHIN: Duration = Duration::from_secs(180);
const VERB_WITHIN: Duration = Duration::from_secs(30);

/// What `dev.json` says; more fields may stand there.
#[derive(Debug, Clone, Deserialize)]
pub struct Layout {
    cluster: String,
    dsn: String,
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone, Deserialize)]
struct Node {
    kind: Kind,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Peer,
    Instance,
}

/// A cluster as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct View {
    /// Grows with every change of primary.
    pub epoch: u64,
    /// The timeline that all shall be on.
    pub timeline: u32,
    /// The recorded primary.
    pub primary: Option<String>,
    phase: String,
    findings: Vec<serde_json::Value>,
    instances: Vec<Instance>,
}

#[derive(Debug, Clone, Deserialize)]
struct Instance {
    name: String,
    role: String,
    state: String,
    timeline: Option<u32>,
    standing: String,
    rejoin: Option<String>,
}

impl View {
    /// Whether there is one primary and every other member streams on its timeline.
    pub fn streams(&self) -> bool {
        self.phase == "serving"
            && self.instances.iter().all(|instance| {
                let is_primary = self.primary.as_ref() == Some(&instance.name);
                let expected = if is_primary {
                    ("primary", "running")
                } else {
                    ("standby", "streaming")
                };
                (instance.role.as_str(), instance.state.as_str()) == expected
                    && instance.timeline == Some(self.timeline)
            })
    }

    /// Whether it streams and nothing of an earlier fault is left.
    pub fn is_healed(&self) -> bool {
        self.streams()
            && self.findings.is_empty()
            && self
                .instances
                .iter()
                .all(|it| it.standing == "voter" && it.rejoin.is_none())
    }
}

/// One `primacy dev` in a folder of its own.
#[derive(Debug)]
pub struct Dev {
    program: PathBuf,
    folder: PathBuf,
    layout: Option<Layout>,
    /// Of its owner, once it is up.
    certificate: Option<Certificate>,
    http: Http,
}

impl Dev {
    /// Nothing is started yet.
    pub fn new(program: PathBuf, folder: PathBuf) -> Dev {
        Dev {
            program,
            folder,
            layout: None,
            certificate: None,
            http: Http::new(None),
        }
    }

    /// The binary under test.
    pub fn program(&self) -> &std::path::Path {
        &self.program
    }

    /// The folder in which all its processes work.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Starts a fresh cluster in place of whatever is there; returns when all members stream.
    ///
    /// # Errors
    /// `primacy dev up` failed; its words are the error.
    pub async fn up(&mut self) -> anyhow::Result<()> {
        self.down().await;
        self.verb(&["up", "--no-view"], UP_WITHIN).await?;
        let file = self.folder.join("dev.json");
        let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let certificate = Certificate::read(&self.folder.join("tls"))?;
        self.http = Http::new(Some(&certificate));
        self.certificate = Some(certificate);
        self.layout = Some(serde_json::from_slice(&text).context("read dev.json")?);
        Ok(())
    }

    /// Ends it all. That nothing runs is no error.
    pub async fn down(&mut self) {
        self.layout = None;
        if self.folder.join("dev.json").exists()
            && let Err(error) = self.verb(&["down"], VERB_WITHIN).await
        {
            eprintln!("error: {error:#}");
        }
    }

    /// Copies the log of each node and the recorded history into `folder`, before they are taken down.
    ///
    /// # Errors
    /// The folder cannot be written. What cannot be read is left out.
    pub async fn keep_evidence(&self, folder: &std::path::Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let path = format!("/api/v1/clusters/{}/history", self.layout()?.cluster);
        if let Ok(history) = self.ask::<serde_json::Value>(&path).await {
            let text = serde_json::to_vec_pretty(&history)?;
            std::fs::write(folder.join("history.json"), text)?;
        }
        for node in self.layout()?.nodes.keys() {
            for (log, kept) in [("log", ""), ("agent/postgresql.log", "-postgresql")] {
                let log = self.folder.join(node).join(log);
                if log.exists() {
                    std::fs::copy(log, folder.join(format!("{node}{kept}.log")))?;
                }
            }
        }
        Ok(())
    }

    /// `primacy dev VERB NODE ARGUMENTS`.
    ///
    /// # Errors
    /// The verb failed; its words are the error.
    pub async fn act(&self, verb: &[&str]) -> anyhow::Result<()> {
        self.verb(verb, VERB_WITHIN).await
    }

    async fn verb(&self, arguments: &[&str], within: Duration) -> anyhow::Result<()> {
        let what = format!("primacy dev {}", arguments.join(" "));
        let run = Command::new(&self.program)
            .arg("dev")
            .args(arguments)
            .arg("--folder")
            .arg(&self.folder)
            .kill_on_drop(true)
            .output();
        let output = timeout(within, run)
            .await
            .with_context(|| format!("{what} takes too long"))?
            .with_context(|| format!("run {}", self.program.display()))?;
        ensure!(
            output.status.success(),
            "{what}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    fn layout(&self) -> anyhow::Result<&Layout> {
        self.layout.as_ref().context("no cluster is up")
    }

    fn of(&self, kind: Kind) -> anyhow::Result<Vec<(&String, u16)>> {
        let nodes = &self.layout()?.nodes;
        let of_kind = nodes.iter().filter(|(_, node)| node.kind == kind);
        Ok(of_kind.map(|(name, node)| (name, node.port)).collect())
    }

    /// How to reach each database, in the order of the names.
    ///
    /// # Errors
    /// No cluster is up, or `dev.json` has an unreadable connection string.
    pub fn targets(&self) -> anyhow::Result<Vec<Target>> {
        let all: tokio_postgres::Config = self.layout()?.dsn.parse().context("read the dsn")?;
        let user = all.get_user().context("the dsn has no user")?;
        let password = all.get_password().context("the dsn has no password")?;
        let database = all.get_dbname().context("the dsn has no database")?;
        let nodes = self.of(Kind::Instance)?;
        let targets = nodes.into_iter().map(|(name, port)| {
            let mut config = tokio_postgres::Config::new();
            config
                .host("127.0.0.1")
                .port(port)
                .user(user)
                .password(password)
                .dbname(database)
                .application_name("jepsen");
            Target {
                node: name.as_str().into(),
                config,
                patience: Network::Lan.expectations().patience,
            }
        });
        Ok(targets.collect())
    }

    /// What its owner shows to its peers; none before it is up.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// The cluster's name.
    ///
    /// # Errors
    /// No cluster is up.
    pub fn cluster(&self) -> anyhow::Result<&str> {
        Ok(&self.layout()?.cluster)
    }

    /// Each peer and its address.
    ///
    /// # Errors
    /// No cluster is up.
    pub fn peers(&self) -> anyhow::Result<Vec<(String, String)>> {
        let peers = self.of(Kind::Peer)?.into_iter();
        Ok(peers
            .map(|(name, port)| (name.clone(), format!("127.0.0.1:{port}")))
            .collect())
    }

    /// What the first peer that answers says.
    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let mut last = anyhow::anyhow!("no peers");
        for (_, port) in self.of(Kind::Peer)? {
            let address = format!("127.0.0.1:{port}");
            match self.http.get(&address, path, ASK_WITHIN).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The cluster as the peers' leader sees it.
    ///
    /// # Errors
    /// No peer answers.
    pub async fn view(&self) -> anyhow::Result<View> {
        let path = format!("/api/v1/clusters/{}", self.layout()?.cluster);
        self.ask(&path).await
    }

    /// The recoveries of the cluster, newest first.
    ///
    /// # Errors
    /// No peer answers.
    pub async fn recoveries(&self) -> anyhow::Result<Vec<Recovery>> {
        let path = format!("/api/v1/clusters/{}/history", self.layout()?.cluster);
        self.ask(&path).await
    }

    /// The name of the peer that leads.
    ///
    /// # Errors
    /// No peer answers, or one that `dev.json` does not know.
    pub async fn leader(&self) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Leader {
            address: String,
        }
        let leader: Leader = self.ask("/api/v1/leader").await?;
        for (name, port) in self.of(Kind::Peer)? {
            if leader.address.ends_with(&format!(":{port}")) {
                return Ok(name.clone());
            }
        }
        bail!("no peer has the leader's address {}", leader.address)
    }

    /// Waits until `is_so` holds for [`STABLE`]; answers since when.
    ///
    /// # Errors
    /// It does not within `within`.
    pub async fn stable_since(
        &self,
        is_so: impl Fn(&View) -> bool,
        within: Duration,
    ) -> anyhow::Result<Moment> {
        let began = clock::now();
        let mut since = None;
        let mut last = None;
        while clock::now().since(began) < within {
            let asked = clock::now();
            let view = self.view().await.ok();
            since = match &view {
                Some(view) if is_so(view) => since.or(Some(asked)),
                Some(_) | None => None,
            };
            last = view.or(last);
            if let Some(since) = since
                && clock::now().since(since) >= STABLE
            {
                return Ok(since);
            }
            sleep(POLL).await;
        }
        bail!("not stable within {} s: {last:?}", within.as_secs())
    }
}
