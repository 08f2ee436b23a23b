//! Real agents on real PostgreSQL 15, under a fake peer.
//!
//! Agents run in this process; their PostgreSQL and leashes are real processes of the user `postgres`.
//! The leash is this test binary, run again through a script (see `leash_process`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use primacy::agent::{self, AgentConfig, Locks, Role};
use primacy::duty::Outcome;
use primacy::host::processes;
use primacy::model::*;
use primacy::recovery::{Action, Evidence, Source};

pub use crate::peer::Peer;

pub const GROUP: &str = "group-1";
pub const LONG: Duration = Duration::from_secs(60);

pub fn order(epoch: u64, number: u32) -> Order {
    Order {
        epoch: Epoch(epoch),
        number,
    }
}

pub fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

struct Agent {
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

/// A folder with everything in it.
pub struct Rig {
    pub peer: Peer,
    root: tempfile::TempDir,
    address: String,
    agents: BTreeMap<InstanceId, Agent>,
    configs: BTreeMap<InstanceId, AgentConfig>,
    _peer: JoinSet<()>,
}

pub fn free_port() -> u16 {
    primacy::dev::ports::reserve(0).unwrap()
}

pub fn give_to_postgres(path: &Path) {
    let account = primacy::host::Account::named("postgres").unwrap();
    std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).unwrap();
}

impl Rig {
    pub async fn new() -> Rig {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let root = tempfile::Builder::new()
            .prefix("primacy-")
            .tempdir()
            .unwrap();
        give_to_postgres(root.path());
        let script = format!(
            "#!/bin/sh\nPRIMACY_TEST_SOCKET=\"$3\" PRIMACY_TEST_DATA=\"$5\" PRIMACY_TEST_DEADLINE=\"$7\" exec '{}' leash_process --exact --ignored --nocapture\n",
            std::env::current_exe().unwrap().display()
        );
        let path = root.path().join("leash.sh");
        std::fs::write(&path, script).unwrap();
        std::fs::write(root.path().join("password"), "it's a secret\n").unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = Peer::default();
        peer.adopt_at(Some(order(1, 0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(peer.clone().serve(listener));
        Rig {
            peer,
            root,
            address,
            agents: BTreeMap::new(),
            configs: BTreeMap::new(),
            _peer: tasks,
        }
    }

    pub fn config(&mut self, instance: &InstanceId) -> AgentConfig {
        let root = self.root.path();
        let made = self
            .configs
            .entry(instance.clone())
            .or_insert_with(|| AgentConfig {
                cluster: ClusterName::new("main").unwrap(),
                instance: instance.clone(),
                peers: vec![self.address.clone()],
                folder: root.join(format!("state/{instance}")),
                data: root.join(format!("{instance}-data")),
                host: "127.0.0.1".to_owned(),
                port: free_port(),
                listen: None,
                health: format!("127.0.0.1:{}", free_port()).parse().unwrap(),
                binaries: Some(PathBuf::from("/usr/lib/postgresql/15/bin")),
                leash: Some(root.join("leash.sh")),
                run_as: Some("postgres".to_owned()),
                superuser: "postgres".to_owned(),
                max_connections: 100,
                replication: Role {
                    user: "primacy_replication".to_owned(),
                    password_file: root.join("password"),
                },
                application: Some(Role {
                    user: "app".to_owned(),
                    password_file: root.join("password"),
                }),
                access: vec!["samenet".to_owned()],
                join: None,
                tls: None,
                plain_http: true,
            });
        made.clone()
    }

    /// Where the next agent of this instance finds PostgreSQL's programs.
    pub fn set_binaries(&mut self, instance: &InstanceId, folder: &Path) {
        self.config(instance);
        let config = self.configs.get_mut(instance).unwrap();
        config.binaries = Some(folder.to_owned());
    }

    /// Where the next agent of this instance has its data.
    pub fn set_data(&mut self, instance: &InstanceId, data: &Path) {
        self.config(instance);
        let config = self.configs.get_mut(instance).unwrap();
        config.data = data.to_owned();
    }

    pub fn start(&mut self, instance: &InstanceId) {
        let config = self.config(instance);
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let mut locks = Locks::default();
            agent::run(config, &mut locks, shutdown).await.unwrap();
        });
        self.agents.insert(instance.clone(), Agent { stop, tasks });
    }

    /// Starts an agent and waits until it has a promise.
    pub async fn start_adopted(&mut self, instance: &InstanceId) {
        self.start(instance);
        let adopted = |report: &Report| report.promised.is_some();
        self.peer
            .until_reported("the epoch is adopted", instance, adopted)
            .await;
    }

    pub async fn stop(&mut self, instance: &InstanceId) {
        let mut agent = self.agents.remove(instance).unwrap();
        agent.stop.send(()).unwrap();
        agent.tasks.join_next().await.unwrap().unwrap();
        self.peer.forget(instance);
    }

    pub fn postmaster(&mut self, instance: &InstanceId) -> Option<i32> {
        let data = self.config(instance).data;
        processes::postmaster(&data).unwrap().map(|it| it.pid)
    }

    fn psql(&mut self, instance: &InstanceId, statements: &str) -> tokio::process::Command {
        let config = self.config(instance);
        let mut command = tokio::process::Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg("/usr/lib/postgresql/15/bin/psql")
            .args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-h",
            ])
            .arg(config.socket_folder())
            .arg("-p")
            .arg(config.port.to_string())
            .arg("-c")
            .arg(statements)
            .current_dir("/")
            .kill_on_drop(true);
        command
    }

    pub async fn sql(&mut self, instance: &InstanceId, statements: &str) -> String {
        let output = self.psql(instance, statements).output();
        let output = tokio::time::timeout(LONG, output).await.unwrap().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{statements}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn sql_behind(&mut self, instance: &InstanceId, statements: &str) -> tokio::process::Child {
        let mut command = self.psql(instance, statements);
        let quiet = std::process::Stdio::null;
        command.stdout(quiet()).stderr(quiet()).spawn().unwrap()
    }

    /// `HTTP` status of a health path.
    pub async fn health(&mut self, instance: &InstanceId, method: &str, path: &str) -> u16 {
        let address = self.config(instance).health;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// `a` is initialised and promoted in epoch 1 on timeline 2.
    pub async fn primary(&mut self, a: &InstanceId, names: &str) -> Source {
        self.start_adopted(a).await;
        let action = Action::Initialise {
            incarnation: Incarnation(1),
        };
        let outcome = self.peer.command(a, order(1, 1), action).await;
        let Outcome::Evidence(Evidence::Initialised {
            identity, position, ..
        }) = outcome
        else {
            panic!("{outcome:?}");
        };
        self.peer.grant(a, order(1, 2), Duration::from_secs(10));
        let action = Action::Promote {
            timeline: Timeline(2),
            at_least: position,
            synchronous_standby_names: names.to_owned(),
            members: [a.clone(), id("pg-b")].into(),
        };
        let outcome = self.peer.command(a, order(1, 2), action).await;
        let Outcome::Evidence(Evidence::Promoted { lineage, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(lineage.current, Timeline(2));
        Source {
            instance: a.clone(),
            address: self.config(a).address(),
            identity: Some(identity),
            epoch: Epoch(1),
            application_name: String::new(),
            lineage,
        }
    }

    /// A primary and a standby that follows it, with one acknowledged commit.
    pub async fn pair(&mut self, a: &InstanceId, b: &InstanceId) -> Source {
        let name = cluster::application_name(b, Incarnation(1), Epoch(1));
        let mut source = self.primary(a, &format!("ANY 1 (\"{name}\")")).await;
        self.start_adopted(b).await;
        let action = Action::Rebuild {
            source: source.clone(),
            incarnation: Incarnation(1),
            keep_old: false,
        };
        let outcome = self.peer.command(b, order(1, 3), action).await;
        assert!(
            matches!(outcome, Outcome::Evidence(Evidence::Rebuilt { .. })),
            "{outcome:?}"
        );
        let committed = |report: &Report| {
            matches!(
                report.database,
                Database::Primary {
                    first_commit: Some((Epoch(1), _)),
                    ..
                }
            )
        };
        self.peer
            .until_reported("the first commit is acknowledged", a, committed)
            .await;
        self.sql(a, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
            .await;
        source.application_name = name;
        source
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for config in self.configs.values() {
            let _ = processes::kill_all(&config.data, Duration::from_secs(10));
        }
        // The leashes of this rig name its folder in their environment.
        let root = self.root.path().display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let socket = format!("PRIMACY_TEST_SOCKET={root}/");
            if String::from_utf8_lossy(&environment).contains(&socket)
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
