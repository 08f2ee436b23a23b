//! A PostgreSQL that was set up by hand, with a standby and writers, is looked after by agents from now on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use primacy::host::processes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Config};

use crate::group::Group;
use crate::servers::{Host, SECRET, Server};
use crate::{Acknowledged, connect, insert, is_healthy, lost, shown};

const MAIN: &str = "/api/v1/clusters/main";
/// The longest pause of a writer that goes unnoticed in an installation: standbys connect anew, and reports travel.
const PAUSE: Duration = Duration::from_secs(5);

/// One server by hand and the agent that will look after it. All ends with it.
struct Node {
    name: &'static str,
    server: Server,
    folder: PathBuf,
    config: PathBuf,
    health: u16,
    agent: Option<Child>,
}

/// Both, the peers, and what is not a database's.
struct Rig {
    nodes: Vec<Node>,
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

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
    command.env_remove("PRIMACY_API").env_remove("PRIMACY_TLS");
    command.env_remove("PRIMACY_TOKEN").stdin(Stdio::null());
    command
}

impl Node {
    fn new(host: &Host, group: &Group, name: &'static str, server: Server) -> Node {
        let home = host.folder.path();
        let health = free_port();
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

    fn join(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command
            .args(["agent", "join", "--config"])
            .arg(&self.config);
        command.args(arguments).output().unwrap()
    }

    /// Shows the plan, agrees, and starts the agent.
    fn joined(&mut self, words: &[&str]) {
        let output = self.join(&["--yes"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        for word in words {
            assert!(told.contains(word), "{word} is not in\n{told}");
        }
        self.start();
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.config.with_extension("log")).unwrap();
        let mut command = program();
        command.args(["agent", "--config"]).arg(&self.config);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
    }

    fn member(&self) -> String {
        let (name, port, health) = (self.name, self.server.address.port, self.health);
        format!("{name}=127.0.0.1:{port}/{health}@z1")
    }

    fn postmaster(&self) -> i32 {
        processes::postmaster(&self.server.data)
            .unwrap()
            .unwrap()
            .pid
    }

    /// What does not survive a restart.
    fn identity(&self) -> (i32, String) {
        let started = self.server.sql("SELECT pg_postmaster_start_time()");
        (self.postmaster(), started)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }
}

impl Rig {
    /// A primary with a row, a standby that streams from it, and peers that know a cluster to begin with it.
    async fn start(durability: &str) -> Option<Rig> {
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

    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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
    fn everywhere(&self) -> Config {
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

async fn session(config: &Config) -> Client {
    let deadline = Instant::now() + crate::WITHIN;
    loop {
        match connect(config).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Writes in one session until it ends, and returns the longest time that one commit took.
async fn write_through(client: &Client, acknowledged: &Acknowledged) -> Duration {
    let mut longest = Duration::ZERO;
    for row in 0.. {
        let began = Instant::now();
        if insert(client, row).await.is_err() {
            break;
        }
        longest = longest.max(began.elapsed());
        acknowledged.note(row);
        sleep(Duration::from_millis(2)).await;
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_and_its_standby_are_taken_over_under_load_and_fail_over_without_loss() {
    let Some(mut rig) = Rig::start("quorum:1").await else {
        return;
    };
    let before: Vec<_> = rig.nodes.iter().map(Node::identity).collect();
    let client = session(&rig.everywhere()).await;
    let acknowledged = Acknowledged::default();

    // Nobody is there to be asked; and an agent that nobody asked takes nothing.
    let refused = rig.nodes[0].join(&[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("add --yes"));
    let config = rig.nodes[0].config.display().to_string();
    let refused = program()
        .args(["agent", "--config", &config])
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        why.contains("no agent filled") && why.contains("primacy agent join"),
        "{why}"
    );

    let taken = async {
        acknowledged.some().await;
        rig.nodes[0].joined(&[
            "pg-a of main",
            "primary",
            "NOW   wal_keep_size   64MB -> 256MB",
            "LATER",
        ]);
        // Commits would wait for somebody.
        rig.until("waiting for the standby", |cluster| {
            cluster.to_string().contains("standbys_not_offered")
        })
        .await;
        assert_eq!(
            rig.nodes[0].server.sql("SHOW synchronous_standby_names"),
            ""
        );
        rig.nodes[1].joined(&["pg-b of main", "standby of 127.0.0.1"]);
        rig.until("looked after", is_healthy).await
    };
    let mut wrote = std::pin::pin!(write_through(&client, &acknowledged));
    let cluster = tokio::select! {
        _ = &mut wrote => panic!("the session ended: {}", rig_said(&acknowledged)),
        cluster = taken => cluster,
    };
    assert_eq!(cluster["timeline"], 1);
    assert_eq!(shown(&cluster, "pg-b")["role"], "standby");
    for (node, before) in rig.nodes.iter().zip(&before) {
        assert_eq!(node.identity(), *before, "{} was restarted", node.name);
    }
    let names = rig.nodes[0].server.sql("SHOW synchronous_standby_names");
    assert_eq!(names, "ANY 1 (\"pg-b_0_1\")");
    // Their own rules still let them in, and by the sockets of before.
    assert_eq!(rig.nodes[1].server.sql("SELECT pg_is_in_recovery()"), "t");

    let seen = acknowledged.rows().len();
    let old = rig.nodes[0].postmaster();
    let killed = async {
        while acknowledged.rows().len() < seen + 20 {
            sleep(Duration::from_millis(5)).await;
        }
        processes::signal(&rig.nodes[0].server.data, old, Signal::KILL);
    };
    let (longest, ()) = tokio::join!(wrote, killed);
    eprintln!(
        "{} commits, the longest took {} ms while both were taken over",
        acknowledged.rows().len(),
        longest.as_millis()
    );
    assert!(longest < PAUSE, "{longest:?}");

    let client = session(&rig.everywhere()).await;
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
    let after = rig
        .until("healthy again", |cluster| {
            is_healthy(cluster) && cluster["primary"] == "pg-b"
        })
        .await;
    assert_eq!(after["timeline"], 2);
    assert_eq!(shown(&after, "pg-a")["state"], "streaming");
    assert_eq!(
        rig.nodes[1].postmaster(),
        before[1].0,
        "it was promoted as it ran"
    );
    insert(&client, 1_000_000).await.unwrap();
}

fn rig_said(acknowledged: &Acknowledged) -> String {
    format!("after {} commits", acknowledged.rows().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_alone_is_taken_over_and_its_agent_may_be_restarted() {
    let Some(mut rig) = Rig::start("async").await else {
        return;
    };
    let before = rig.nodes[0].identity();
    rig.nodes[0].joined(&["primary"]);
    let serves = |cluster: &Value| {
        cluster["phase"] == "serving" && shown(cluster, "pg-a")["state"] == "running"
    };
    let cluster = rig.until("looked after", serves).await;
    assert_eq!(cluster["primary"], "pg-a");
    assert_eq!(rig.nodes[0].identity(), before);

    let mut agent = rig.nodes[0].agent.take().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    rig.nodes[0].start();
    rig.until("there again", serves).await;
    assert_eq!(
        rig.nodes[0].identity(),
        before,
        "its agent's restart is no restart"
    );

    // It died: the agent starts it from now on, with the settings that had to wait.
    processes::signal(&rig.nodes[0].server.data, before.0, Signal::KILL);
    rig.until("promoted", |cluster| {
        serves(cluster) && cluster["epoch"].as_u64() > Some(1)
    })
    .await;
    let sockets = rig.nodes[0].server.sql("SHOW unix_socket_directories");
    assert!(sockets.contains("pg-a-agent/run"), "{sockets}");
    assert_eq!(rig.nodes[0].server.sql("SHOW max_replication_slots"), "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_run_is_taken_over_and_started() {
    let Some(mut rig) = Rig::start("async").await else {
        return;
    };
    rig.nodes[0].server.sql("INSERT INTO t VALUES (7)");
    let data = rig.nodes[0].server.data.clone();
    processes::kill_all(&data, crate::WITHIN).unwrap();
    rig.nodes[0].joined(&["primary that does not run"]);
    let cluster = rig
        .until("started", |cluster| {
            cluster["phase"] == "serving" && shown(cluster, "pg-a")["state"] == "running"
        })
        .await;
    assert_eq!(cluster["timeline"], 2, "it was promoted");
    assert_eq!(rig.nodes[0].server.sql("SELECT row FROM t"), "7");
}

/// Both were primaries: the second one is left alone, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_primary_is_left_alone() {
    let Some(mut rig) = Rig::start("async").await else {
        return;
    };
    rig.nodes[1].server.sql("SELECT pg_promote()");
    let before = rig.nodes[1].identity();
    rig.nodes[0].joined(&["primary"]);
    rig.nodes[1].joined(&["primary"]);
    rig.until("refused", |cluster| {
        cluster
            .to_string()
            .contains("it runs as a primary beside pg-a")
    })
    .await;
    assert_eq!(rig.nodes[1].identity(), before);
    assert_eq!(rig.nodes[1].server.sql("SELECT pg_is_in_recovery()"), "f");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_refused_by_field_and_nothing_is_changed() {
    let Some(rig) = Rig::start("async").await else {
        return;
    };
    let node = &rig.nodes[0];
    let before = node.identity();
    let hba = std::fs::read(node.server.data.join("pg_hba.conf")).unwrap();
    let good = std::fs::read_to_string(&node.config).unwrap();
    let port = node.server.address.port;
    let refused = |words: &[&str]| {
        let output = node.join(&["--yes"]);
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        for word in words {
            assert!(why.contains(word), "{word} is not in {why}");
        }
        assert!(!node.folder.exists(), "{why}");
    };
    for (from, to, words) in [
        (
            "access = ".to_owned(),
            "max_connections = 50\naccess = ".to_owned(),
            ["`max_connections` is 50", "write 100"],
        ),
        (
            format!("port = {port}"),
            format!("port = {}", port + 1),
            ["`port`", "a server runs in"],
        ),
        (
            "access = ".to_owned(),
            "superuser = \"nobody_here\"\naccess = ".to_owned(),
            ["`superuser`", "cannot log in"],
        ),
        (
            "plain_http = true\n".to_owned(),
            String::new(),
            ["no certificate", "TOKEN"],
        ),
    ] {
        std::fs::write(&node.config, good.replacen(&from, &to, 1)).unwrap();
        refused(&words);
    }
    std::fs::write(&node.config, &good).unwrap();
    let label = node.server.data.join("backup_label");
    std::fs::write(&label, "").unwrap();
    refused(&["`data`", "backup_label", "let PostgreSQL finish"]);
    std::fs::remove_file(&label).unwrap();
    node.server
        .sql("ALTER ROLE postgres SET synchronous_commit = off");
    refused(&["`superuser`", "synchronous_commit", "ALTER ROLE"]);
    node.server
        .sql("ALTER ROLE postgres RESET synchronous_commit");
    assert_eq!(node.identity(), before);
    assert_eq!(
        std::fs::read(node.server.data.join("pg_hba.conf")).unwrap(),
        hba
    );
}
