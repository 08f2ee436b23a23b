//! Three peers, each a process.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use tokio::task::JoinSet;

use crate::{
    keys::Keys,
    put::{Http, Put},
};

/// How long a group may take to answer.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// The peers; they end with it.
pub struct Group {
    folder: PathBuf,
    keys: Keys,
    driven: JoinSet<Result<(), h2::Error>>,
    addresses: Vec<String>,
    peers: Vec<Child>,
}

/// Free ports of the loopback, drawn together so that they differ.
pub fn free_addresses(count: usize) -> std::io::Result<Vec<String>> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    held.iter()
        .map(|held| Ok(held.local_addr()?.to_string()))
        .collect()
}

/// Kills and collects processes.
pub fn end(children: &mut [Child]) {
    for child in children.iter_mut() {
        // One that has ended already is no error.
        let _ = child.kill();
    }
    for child in children {
        let _ = child.wait();
    }
}

impl Group {
    /// Starts three peers below `folder` and waits until one leads.
    pub async fn start(folder: &Path, keys: &Keys) -> anyhow::Result<Self> {
        let mut group = Self {
            folder: folder.to_owned(),
            keys: keys.clone(),
            driven: JoinSet::new(),
            addresses: free_addresses(3)?,
            peers: vec![],
        };
        for number in 0..3 {
            let peer = group.spawn(number)?;
            group.peers.push(peer);
        }
        group.leader().await?;
        Ok(group)
    }

    fn spawn(&self, number: usize) -> anyhow::Result<Child> {
        Command::new(std::env::current_exe()?)
            .arg("peer")
            .arg("--folder")
            .arg(self.folder.join(format!("peer-{number}")))
            .arg("--keys")
            .arg(self.keys.of(number + 1))
            .arg("--id")
            .arg((number + 1).to_string())
            .args(&self.addresses)
            .stdout(Stdio::null())
            .spawn()
            .context("a peer does not start")
    }

    /// The number of the peer that commits a command now.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let search = async {
            loop {
                for (number, address) in self.addresses.iter().enumerate() {
                    let mut driven = JoinSet::new();
                    if let Ok(mut http) = Http::connect(&self.keys, address, &mut driven).await
                        && http.put(b"leader", b"?").await.is_ok()
                    {
                        return number;
                    }
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::time::timeout(UP_WITHIN, search)
            .await
            .context("no peer leads")
    }

    /// Writers to the leader, over so many connections.
    pub async fn writers(&mut self, count: usize, connections: usize) -> anyhow::Result<Vec<Put>> {
        let leader = self.leader().await?;
        let mut connected = vec![];
        for _ in 0..connections {
            let address = &self.addresses[leader];
            connected.push(Http::connect(&self.keys, address, &mut self.driven).await?);
        }
        let writers = connected.iter().cycle().take(count).cloned();
        Ok(writers.map(Put::Peer).collect())
    }

    /// What a peer answers to a command that it refuses; none if it does not answer, or takes it.
    pub async fn refusal(&self, number: usize) -> Option<String> {
        let mut driven = JoinSet::new();
        let address = &self.addresses[number];
        let mut http = Http::connect(&self.keys, address, &mut driven).await.ok()?;
        let refused = http.put(b"who", b"?").await.err()?;
        Some(refused.to_string())
    }

    /// Ends a peer with SIGKILL.
    pub fn kill(&mut self, number: usize) {
        end(&mut self.peers[number..=number]);
    }

    /// Starts a peer that was killed.
    pub fn restart(&mut self, number: usize) -> anyhow::Result<()> {
        self.peers[number] = self.spawn(number)?;
        Ok(())
    }

    /// The process of a peer.
    pub fn pid(&self, number: usize) -> u32 {
        self.peers[number].id()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        end(&mut self.peers);
    }
}
