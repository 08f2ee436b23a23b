//! Three members of etcd on the loopback, with its own defaults.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use primacy::security::Files;
use tokio::task::JoinSet;

use crate::{group, grpc::Channel, keys::Keys, put::Put};

/// How long the members may take to find each other.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// Three members; they end with it.
pub struct Etcd {
    keys: Keys,
    members: Vec<Child>,
    clients: Vec<String>,
    driven: JoinSet<Result<(), h2::Error>>,
}

impl Etcd {
    /// The version of the installed etcd, if there is one.
    pub fn version() -> Option<String> {
        let said = Command::new("etcd").arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        Some(
            said.lines()
                .next()?
                .trim_start_matches("etcd Version: ")
                .to_owned(),
        )
    }

    /// Starts them below `folder` and waits until they have a leader.
    pub async fn start(folder: &Path, keys: &Keys) -> anyhow::Result<Self> {
        let ports = group::free_addresses(6)?;
        let (clients, peers) = ports.split_at(3);
        let named: Vec<String> = (0..3)
            .map(|i| format!("m{i}=https://{}", peers[i]))
            .collect();
        let mut etcd = Self {
            keys: keys.clone(),
            members: vec![],
            clients: clients.to_vec(),
            driven: JoinSet::new(),
        };
        for i in 0..3 {
            let (client, peer) = (
                format!("https://{}", clients[i]),
                format!("https://{}", peers[i]),
            );
            let member = Command::new("etcd")
                .args(["--name", &format!("m{i}"), "--data-dir"])
                .arg(folder.join(format!("etcd-{i}")))
                .args([
                    "--listen-client-urls",
                    &client,
                    "--advertise-client-urls",
                    &client,
                ])
                .args([
                    "--listen-peer-urls",
                    &peer,
                    "--initial-advertise-peer-urls",
                    &peer,
                ])
                .args(["--initial-cluster", &named.join(","), "--logger", "zap"])
                .args(secured(&keys.of(i + 1)))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("etcd does not start; apt-get install etcd-server")?;
            etcd.members.push(member);
        }
        tokio::time::timeout(UP_WITHIN, async {
            while etcd.leader().await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .context("etcd has no leader")?;
        Ok(etcd)
    }

    /// The address of the leader for clients.
    async fn leader(&mut self) -> anyhow::Result<String> {
        for address in self.clients.clone() {
            let mut channel = Channel::connect(&self.keys, &address, &mut self.driven).await?;
            let status = channel.status().await?;
            if status.leader == status.member {
                return Ok(address);
            }
        }
        bail!("no member says that it leads")
    }

    /// Writers to the leader, over so many connections.
    pub async fn writers(&mut self, count: usize, connections: usize) -> anyhow::Result<Vec<Put>> {
        let leader = self.leader().await?;
        let mut channels = vec![];
        for _ in 0..connections {
            channels.push(Channel::connect(&self.keys, &leader, &mut self.driven).await?);
        }
        let writers = channels.iter().cycle().take(count).cloned();
        Ok(writers.map(Put::Etcd).collect())
    }
}

/// Certificates asked of everybody, peers and clients.
fn secured(keys: &Path) -> Vec<String> {
    let files = Files::built_in(keys);
    let mut arguments = vec![];
    for (whom, certificates_are_asked) in [
        ("", "--client-cert-auth"),
        ("peer-", "--peer-client-cert-auth"),
    ] {
        for (what, file) in [
            ("cert-file", &files.certificate),
            ("key-file", &files.key),
            ("trusted-ca-file", &files.authorities),
        ] {
            arguments.push(format!("--{whom}{what}={}", file.display()));
        }
        arguments.push(certificates_are_asked.to_owned());
    }
    arguments
}

impl Drop for Etcd {
    fn drop(&mut self) {
        group::end(&mut self.members);
    }
}
