//! PostgreSQL set up by hand, the agents that will look after it, and their peers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use primacy::dev::ports;
use primacy::host::processes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

use crate::group::Group;
use crate::servers::{Host, SECRET, Server};

/// What peers tell of the cluster.
const MAIN: &str = "/api/v1/clusters/main";

/// One server by hand and the agent that will look after it. All ends with it.
pub struct Node {
    pub name: &'static str,
    pub server: Server,
    pub folder: PathBuf,
    pub config: PathBuf,
    health: u16,
    pub agent: Option<Child>,
}

/// Both, the peers, and what is not a database's.
pub struct Rig {
    pub nodes: Vec<Node>,
    group: Group,
    // Last, so that the servers end after all else.
    _host: Host,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let folder = self.folder.display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let pid = entry.file_name().to_string_lossy().parse().ok();
            if line.contains(" leash ")
                && line.contains(&folder)
                && let Some(pid) = pid.and_then(Pid::from_raw)
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
    command.env_remove("PRIMACY_API").env_remove("PRIMACY_TLS");
    command.env_remove("PRIMACY_TOKEN").stdin(Stdio::null());
    command
}

impl Node {
    pub fn new(host: &Host, group: &Group, name: &'static str, server: Server) -> Node {
        let home = host.folder.path();
        let health = ports::reserve(0).unwrap();
        let peers: Vec<_> = group
            .addresses
            .values()
            .map(|it| format!("\"{it}\""))
            .collect();
        let account = match rustix::process::geteuid().is_root() {
            true => "run_as = \"postgres\"\n",
            false => "",
        };
        let folder = home.join(format!("{name}-agent"));
        let password = host.file(&format!("{name}.replication"), "a-replication-secret\n");
        let text = format!(
            "cluster = \"main\"\ninstance = \"{name}\"\npeers = [{}]\nplain_http = true\n{account}\
             folder = \"{}\"\ndata = \"{}\"\nhost = \"127.0.0.1\"\nport = {}\nhealth = \"127.0.0.1:{health}\"\n\
             access = [\"127.0.0.0/8\"]\n[replication]\npassword_file = \"{}\"\n",
            peers.join(", "),
            folder.display(),
            server.data.display(),
            server.address.port,
            password.display(),
        );
        Node {
            name,
            config: host.file(&format!("{name}.toml"), text),
            server,
            folder,
            health,
            agent: None,
        }
    }

    pub fn join(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command
            .args(["agent", "join", "--config"])
            .arg(&self.config);
        command.args(arguments).output().unwrap()
    }

    /// Shows the plan, agrees, and starts the agent.
    pub fn joined(&mut self, words: &[&str]) {
        let output = self.join(&["--yes"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        for word in words {
            assert!(told.contains(word), "{word} is not in\n{told}");
        }
        self.start();
    }

    pub fn start(&mut self) {
        let log = std::fs::File::create(self.config.with_extension("log")).unwrap();
        let mut command = program();
        command.args(["agent", "--config"]).arg(&self.config);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
    }

    pub fn member(&self) -> String {
        let (name, port, health) = (self.name, self.server.address.port, self.health);
        format!("{name}=127.0.0.1:{port}/{health}@z1")
    }

    pub fn postmaster(&self) -> i32 {
        processes::postmaster(&self.server.data)
            .unwrap()
            .unwrap()
            .pid
    }

    /// What does not survive a restart.
    pub fn identity(&self) -> (i32, String) {
        let started = self.server.sql("SELECT pg_postmaster_start_time()");
        (self.postmaster(), started)
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }
}

impl Rig {
    /// A primary with a row, a standby that streams from it, and peers that know a cluster to begin with it.
    pub async fn start(durability: &str) -> Option<Rig> {
        if !Path::new("/usr/lib/postgresql/15/bin").exists() {
            eprintln!("skipped: no PostgreSQL 15 below /usr/lib/postgresql");
            return None;
        }
        let host = Host::new();
        let a = host
            .primary(
                "data_a",
                "wal_keep_size = 64MB\nwal_receiver_timeout = 60s\n",
            )
            .await;
        let b = host.standby("data_b", &a, false).await;
        a.sql("DROP TABLE t; CREATE TABLE t (row int PRIMARY KEY); GRANT ALL ON t TO watcher");
        let group = Group::start(|_| String::new()).await;
        let nodes = vec![
            Node::new(&host, &group, "pg-a", a),
            Node::new(&host, &group, "pg-b", b),
        ];
        let mut create = program();
        create.args(["--api", &group.addresses[&1], "cluster", "create", "main"]);
        create.args(["--durability", durability]);
        for node in &nodes {
            create.arg("--member").arg(node.member());
        }
        let created = create.output().unwrap();
        assert!(created.status.success(), "{created:?}");
        Some(Rig {
            nodes,
            group,
            _host: host,
        })
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + crate::WITHIN;
        loop {
            let found = self.group.get(MAIN).await;
            if wanted(&found) {
                return found;
            }
            let logs: Vec<_> = self.nodes.iter().map(Node::said).collect();
            assert!(
                Instant::now() < deadline,
                "not {what}: {found:#}\n{}",
                logs.join("\n")
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// As the users' rules let an application in, at whoever takes writes.
    pub fn everywhere(&self) -> Config {
        let mut config = Config::new();
        config.user("watcher").password(SECRET).dbname("postgres");
        for node in &self.nodes {
            config.host("127.0.0.1").port(node.server.address.port);
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.connect_timeout(Duration::from_secs(1));
        config
    }
}
