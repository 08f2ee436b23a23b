//! A primary, its standbys, and peers that look after them.

use std::path::Path;

use primacy::dev::ports;
use primacy::host::processes;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::group::Group;
use crate::servers::{Host, Server};

pub const DEMO: &str = "/api/v1/clusters/demo";

/// PostgreSQL's own defaults, which the servers of other tests change.
const DEFAULTS: &str = "wal_receiver_timeout = 60s\nwal_retrieve_retry_interval = 5s\nwal_receiver_status_interval = 10s\n";

/// Whether PostgreSQL is here; says so if not.
pub fn is_installed() -> bool {
    let is_here = Path::new("/usr/lib/postgresql/15/bin").exists();
    if !is_here {
        eprintln!("skipped: no PostgreSQL 15 below /usr/lib/postgresql");
    }
    is_here
}

/// So many free ports in a row, the last first.
pub fn ports(count: u16) -> Vec<u16> {
    loop {
        let first = ports::reserve(0).unwrap();
        let others = first + 1..first.saturating_add(count);
        if others.clone().all(|it| ports::reserve(it).is_ok()) {
            return others.rev().chain([first]).collect();
        }
    }
}

pub struct Rig {
    pub group: Group,
    pub servers: Vec<Server>,
    // Last, so that the servers end after all else.
    pub host: Host,
}

impl Rig {
    /// A primary `p1` with standbys `s1` and `s2`; `s2` follows `s1` if it is a cascade.
    pub async fn start(is_cascade: bool) -> Rig {
        Rig::start_with(is_cascade, "").await
    }

    /// The same, with more in the configuration of every peer.
    pub async fn start_with(is_cascade: bool, more: &str) -> Rig {
        let host = Host::new();
        *host.ports.lock().unwrap() = ports(3);
        let primary = host.primary("p1", DEFAULTS).await;
        // Whom the peers may end the sessions of.
        primary.sql("CREATE ROLE app LOGIN; CREATE TABLE w (n bigint); GRANT ALL ON w TO app");
        let s1 = host.standby("s1", &primary, false).await;
        let source = if is_cascade { &s1 } else { &primary };
        let s2 = host.standby("s2", source, false).await;
        let servers = vec![primary, s1, s2];
        let access = |_| format!("{}{more}", access(&servers[0]));
        Rig {
            group: Group::start(access).await,
            servers,
            host,
        }
    }

    pub fn body(&self, number: usize) -> Value {
        let address = &self.servers[number].address;
        json!({"address": {"host": address.host, "port": address.port}, "name": "demo"})
    }

    /// Has it looked after, found from one of its instances.
    pub async fn adopt(&self, from: usize) -> Value {
        let (status, body) = self.group.post("/api/v1/adoptions", &self.body(from)).await;
        assert_eq!(status, 200, "{body:#}");
        assert_eq!(body["recorded"], true);
        self.until("healthy", is_healthy).await
    }

    /// Started and adopted, its commits waiting for any one standby.
    pub async fn in_quorum(is_cascade: bool) -> Rig {
        let rig = Rig::start(is_cascade).await;
        rig.adopt_in_quorum().await;
        rig
    }

    /// Has commits wait for any one standby, and adopts it. Answers with the cluster as it was adopted.
    pub async fn adopt_in_quorum(&self) -> Value {
        self.make_synchronous().await;
        let adopted = self.adopt(0).await;
        self.until("quorum", |it| {
            it["durability"] == "quorum 1" && is_healthy(it)
        })
        .await;
        adopted
    }

    /// Has commits wait for any one of its standbys, and waits until that is recorded.
    pub async fn make_synchronous(&self) {
        let primary = &self.servers[0];
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (s1, s2)'");
        primary.sql("SELECT pg_reload_conf()");
        primary
            .until("SELECT count(*) = 2 FROM pg_stat_replication WHERE sync_state = 'quorum'")
            .await;
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.group.until(what, DEMO, wanted).await
    }

    /// Kills the postmaster of a server, as a crash of the machine's memory would: its other processes notice by themselves.
    pub fn kill_postmaster(&self, number: usize) {
        let data = &self.servers[number].data;
        let postmaster = processes::postmaster(data).unwrap().unwrap();
        processes::signal(data, postmaster.pid, Signal::KILL);
    }

    /// SIGSTOP or SIGCONT to every process of one server: its sockets stay open and say nothing.
    pub fn signal_all(&self, number: usize, signal: Signal) {
        let data = &self.servers[number].data;
        for process in processes::of(data).unwrap() {
            processes::signal(data, process.pid, signal);
        }
    }
}

/// The table `[postgresql]` of a peer, with the port of this server as the default.
pub fn access(server: &Server) -> String {
    let secret = crate::servers::SECRET.replace('\\', "\\\\");
    let port = server.address.port;
    format!(
        "[postgresql]\nuser = \"watcher\"\npassword = \"{secret}\"\nssl_mode = \"disable\"\n\
         default_port = {port}\n"
    )
}

pub fn is_healthy(cluster: &Value) -> bool {
    let instances = cluster["instances"].as_array();
    cluster["phase"] == "serving"
        && cluster["findings"] == json!([])
        && instances.is_some_and(|all| all.iter().all(|it| it["connected"] == true))
}

/// One instance as the status shows it.
pub fn shown<'a>(cluster: &'a Value, name: &str) -> &'a Value {
    let mut all = cluster["instances"].as_array().unwrap().iter();
    all.find(|it| it["name"] == name).unwrap_or(&Value::Null)
}

pub fn names(of: &Value) -> Vec<&str> {
    let all = of["instances"].as_array().unwrap();
    all.iter().map(|it| it["name"].as_str().unwrap()).collect()
}

/// The codes of all that is wrong.
pub fn codes(cluster: &Value) -> Vec<&str> {
    let findings = cluster["findings"].as_array().into_iter().flatten();
    findings.filter_map(|it| it["code"].as_str()).collect()
}
