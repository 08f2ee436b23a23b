//! A fake peer and real agents on real PostgreSQL 15, for tests of the agent alone.
//!
//! Agents run in this process; their PostgreSQL and leashes are real processes of the user `postgres`.
//! The leash is this test binary, run again through a script (see `leash_process`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use primacy::agent::{self, AgentConfig, Role};
use primacy::control::{AgentMessage, PeerMessage, decode, encode};
use primacy::duty::Outcome;
use primacy::host::processes;
use primacy::model::*;
use primacy::recovery::{Action, Evidence, Source, Step};

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

#[derive(Default)]
struct Heard {
    reports: BTreeMap<InstanceId, Report>,
    sessions: BTreeMap<InstanceId, mpsc::Sender<PeerMessage>>,
    outcomes: BTreeMap<u64, Outcome>,
    next: u64,
    adopts: Option<Order>,
    grants: BTreeMap<InstanceId, (Order, Duration)>,
}

/// One peer, all of it a table.
#[derive(Clone, Default)]
pub struct Peer {
    heard: Arc<Mutex<Heard>>,
}

impl Peer {
    pub fn adopt_at(&self, order: Option<Order>) {
        self.heard.lock().unwrap().adopts = order;
    }

    pub fn grant(&self, instance: &InstanceId, order: Order, length: Duration) {
        let mut heard = self.heard.lock().unwrap();
        heard.grants.insert(instance.clone(), (order, length));
    }

    pub fn grant_no_more(&self) {
        self.heard.lock().unwrap().grants.clear();
    }

    pub fn report(&self, instance: &InstanceId) -> Option<Report> {
        self.heard.lock().unwrap().reports.get(instance).cloned()
    }

    pub fn forget(&self, instance: &InstanceId) {
        let mut heard = self.heard.lock().unwrap();
        heard.reports.remove(instance);
        heard.sessions.remove(instance);
    }

    /// Waits until something holds, checked every 2 ms.
    pub async fn until<T>(&self, what: &str, mut holds: impl FnMut(&Peer) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = holds(self) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match tokio::time::timeout(LONG, waiting).await {
            Ok(found) => found,
            Err(_) => {
                let reports = self.heard.lock().unwrap().reports.clone();
                panic!("waited in vain until {what}: {reports:#?}")
            }
        }
    }

    pub async fn until_reported(
        &self,
        what: &str,
        instance: &InstanceId,
        holds: impl Fn(&Report) -> bool,
    ) -> Report {
        let found = |peer: &Peer| peer.report(instance).filter(|report| holds(report));
        self.until(what, found).await
    }

    pub async fn begin(&self, instance: &InstanceId, order: Order, action: Action) -> u64 {
        let session = |peer: &Peer| peer.heard.lock().unwrap().sessions.get(instance).cloned();
        let session = self.until("the agent connects", session).await;
        let id = {
            let mut heard = self.heard.lock().unwrap();
            heard.next += 1;
            heard.next
        };
        let step = Step {
            instance: instance.clone(),
            order,
            action,
        };
        session
            .send(PeerMessage::Command { id, step })
            .await
            .unwrap();
        id
    }

    pub async fn outcome(&self, id: u64) -> Outcome {
        self.until("an outcome comes", |peer| {
            peer.heard.lock().unwrap().outcomes.remove(&id)
        })
        .await
    }

    pub async fn command(&self, instance: &InstanceId, order: Order, action: Action) -> Outcome {
        let id = self.begin(instance, order, action).await;
        self.outcome(id).await
    }

    async fn serve(self, listener: TcpListener) {
        let mut sessions = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            sessions.spawn(self.clone().session(stream));
        }
    }

    async fn session(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("get /agent/v1/session "), "{head}");
        assert!(head.contains("upgrade: primacy-agent/1"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: primacy-agent/1\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut framed = Framed::new(stream, LengthDelimitedCodec::new());
        let (sender, mut outbox) = mpsc::channel(16);
        let welcome = PeerMessage::Welcome {
            group: GROUP.to_owned(),
            peer: PeerId(1),
            leader: Some(PeerId(1)),
        };
        sender.send(welcome).await.unwrap();
        let mut whose = None;
        loop {
            let message: AgentMessage = tokio::select! {
                message = outbox.recv() => {
                    let frame = encode(&message.unwrap()).unwrap();
                    if framed.send(bytes::Bytes::from(frame)).await.is_err() {
                        return;
                    }
                    continue;
                }
                frame = framed.next() => match frame {
                    Some(Ok(frame)) => decode(&frame).unwrap(),
                    _ => return,
                },
            };
            let reply = self.hear(message, &mut whose, &sender);
            if let Some(reply) = reply {
                sender.send(reply).await.unwrap();
            }
        }
    }

    fn hear(
        &self,
        message: AgentMessage,
        whose: &mut Option<InstanceId>,
        sender: &mpsc::Sender<PeerMessage>,
    ) -> Option<PeerMessage> {
        let mut heard = self.heard.lock().unwrap();
        match message {
            AgentMessage::Hello { instance, .. } => {
                heard.sessions.insert(instance.clone(), sender.clone());
                *whose = Some(instance);
                None
            }
            AgentMessage::Report(report) => {
                heard.reports.insert(whose.clone().unwrap(), report);
                None
            }
            AgentMessage::Renew { serial } => {
                heard
                    .grants
                    .get(whose.as_ref().unwrap())
                    .map(|&(order, length)| PeerMessage::Granted {
                        serial,
                        order,
                        length,
                    })
            }
            AgentMessage::Adopt { serial } => heard
                .adopts
                .map(|order| PeerMessage::Adopted { serial, order }),
            AgentMessage::Outcome { id, outcome } => {
                heard.outcomes.insert(id, outcome);
                None
            }
        }
    }
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

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn give_to_postgres(path: &Path) {
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
                zone: Zone::new("z").unwrap(),
                peers: vec![self.address.clone()],
                folder: root.join(format!("{instance}-state")),
                data: root.join(format!("{instance}-data")),
                host: "127.0.0.1".to_owned(),
                port: free_port(),
                listen: None,
                health: format!("127.0.0.1:{}", free_port()).parse().unwrap(),
                binaries: Some(PathBuf::from("/usr/lib/postgresql/15/bin")),
                leash: Some(root.join("leash.sh")),
                run_as: Some("postgres".to_owned()),
                superuser: "postgres".to_owned(),
                replication: Role {
                    user: "primacy_replication".to_owned(),
                    password_file: root.join("password"),
                },
                application: Some(Role {
                    user: "app".to_owned(),
                    password_file: root.join("password"),
                }),
                access: vec!["samenet".to_owned()],
                insecure_listen: false,
            });
        made.clone()
    }

    pub fn start(&mut self, instance: &InstanceId) {
        let config = self.config(instance);
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            agent::run(config, shutdown).await.unwrap();
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
