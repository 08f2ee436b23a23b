//! The peer that is measured: the real binary, in plain HTTP on the loopback, alone in its group.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::answers::OF_A_CLUSTER;
use crate::clock;
use crate::http::Http;
use crate::usage::{memory, peak, times};

const UP_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// From this feature level on clusters can be adopted.
const LEVEL: u64 = 2;

/// One peer. It is killed when this goes.
pub struct Watcher {
    address: String,
    http: Http,
    process: PathBuf,
    _child: Child,
    folder: tempfile::TempDir,
}

impl Watcher {
    /// Starts it and waits until it leads.
    ///
    /// # Errors
    /// It does not.
    pub async fn start(program: &Path, default_port: u16) -> anyhow::Result<Watcher> {
        let folder = tempfile::Builder::new().prefix("probing.").tempdir()?;
        let free = TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?.to_string();
        drop(free);
        let file = folder.path().join("server.toml");
        let config = format!(
            "id = 1\ngroup = \"3f0c6a52-7d1e-4b59-9a43-5c2f8e6d1b70\"\nzone = \"z1\"\nplain_http = true\n\
             folder = \"{}\"\nlisten = \"{address}\"\n\
             [postgresql]\nuser = \"watcher\"\nssl_mode = \"require\"\ndefault_port = {default_port}\n\
             [peers]\n1 = \"{address}\"\n",
            folder.path().join("peer").display()
        );
        std::fs::write(&file, config)?;
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new(program)
            .args(["server", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let pid = child.id().context("the peer ended at once")?;
        let watcher = Watcher {
            http: Http::new(None),
            process: PathBuf::from(format!("/proc/{pid}")),
            _child: child,
            address,
            folder,
        };
        let is_level = |peers: &Value| peers[0]["feature_level"].as_u64() >= Some(LEVEL);
        watcher.until("leads", "/api/v1/peers", is_level).await?;
        Ok(watcher)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.http.get(&self.address, path, ANSWER_WITHIN).await
    }

    async fn until(
        &self,
        what: &str,
        path: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let began = clock::now();
        loop {
            let found = self.get(path).await;
            match found {
                Ok(found) if is_so(&found) => return Ok(found),
                Ok(_) | Err(_) if clock::now().since(began) < UP_WITHIN => sleep(POLL).await,
                Ok(found) => bail!("not so: the peer {what}: {found:#}; {}", self.last_words()),
                Err(error) => bail!("not so: the peer {what}: {error:#}; {}", self.last_words()),
            }
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.join("\n")
    }

    /// Has so many instances looked after, the first of which listens on `base`, in clusters of three.
    ///
    /// # Errors
    /// The peer refuses.
    pub async fn adopt(&self, base: u16, instances: u16) -> anyhow::Result<()> {
        for first in (0..instances).step_by(usize::from(OF_A_CLUSTER)) {
            let end = instances.min(first + OF_A_CLUSTER);
            let at = |number: u16| json!({"host": "127.0.0.1", "port": base + number});
            let others: Vec<_> = (first + 1..end).map(at).collect();
            let name = format!("c{first}");
            let body = json!({"address": at(first), "instances": others, "name": name});
            let change = (name.as_str(), &body);
            let path = "/api/v1/adoptions";
            let sent = self.http.post(&self.address, path, change, ANSWER_WITHIN);
            let plan: Value = sent.await?;
            let found = plan["instances"].as_array().map_or(0, Vec::len);
            ensure!(
                found == usize::from(end - first) && plan["recorded"] == true,
                "{name} was not adopted as it is: {plan:#}"
            );
        }
        Ok(())
    }

    /// Sees so many instances, none of them with anything that is wrong.
    ///
    /// # Errors
    /// It does not.
    pub async fn sees_all_well(&self, instances: u16) -> anyhow::Result<()> {
        let is_well = |clusters: &Value| {
            let all = clusters.as_array().map_or(&[][..], Vec::as_slice);
            let seen = all.iter().filter_map(|it| it["instances"].as_array());
            let seen = seen.flatten().filter(|it| it["connected"] == true);
            // The last cluster may have too few instances to be failed over, which is said of it.
            let is_small = |it: &Value| it["code"] == "FailoverImpossible";
            let mut findings = all
                .iter()
                .filter_map(|it| it["findings"].as_array())
                .flatten();
            let is_well = findings.all(is_small);
            is_well && seen.count() == usize::from(instances)
        };
        self.until("sees all well", "/api/v1/clusters", is_well)
            .await
            .map(drop)
    }

    /// The time on a processor that it has had.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(self.process.join("stat"))?;
        let [own, _] = times(&stat).context("read the times of the peer")?;
        let ticks = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_millis(own * 1000 / ticks))
    }

    /// Its resident memory in MB.
    ///
    /// # Errors
    /// It is gone.
    pub fn memory(&self) -> anyhow::Result<f64> {
        memory(&self.process, "Rss:").context("read the memory of the peer")
    }

    /// The most that it ever had, in MB.
    ///
    /// # Errors
    /// It is gone.
    pub fn peak(&self) -> anyhow::Result<f64> {
        peak(&self.process).context("read the memory of the peer")
    }
}
