//! Two agents with one identity, under a real peer: the one that was there keeps its place.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use primacy::control::{AgentMessage, PeerMessage, Run, SESSION_PATH, decode, encode};
use primacy::model::*;

use crate::now;
use crate::rig::{free_port, give_to_postgres, id};

const SOON: Duration = Duration::from_secs(30);

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn start(verb: &str, config: &Path, log: &Path) -> Process {
        let log = File::create(log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
        command.arg(verb).arg("--config").arg(config);
        command.env("RUST_LOG", "info").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Process(command.spawn().unwrap())
    }

    /// SIGKILL: its connections are closed by the kernel.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A group of one peer.
struct Site {
    root: tempfile::TempDir,
    port: u16,
    _peer: Process,
}

impl Site {
    fn new() -> Site {
        let root = tempfile::Builder::new()
            .prefix("primacy-")
            .tempdir()
            .unwrap();
        give_to_postgres(root.path());
        fs::write(root.path().join("password"), "secret\n").unwrap();
        let port = free_port();
        let config = format!(
            "id = 1\ngroup = \"00000000-0000-0000-0000-000000000001\"\nzone = \"z\"\nfolder = \"{}/peer\"\n\
             listen = \"127.0.0.1:{port}\"\nplain_http = true\n[peers]\n1 = \"127.0.0.1:{port}\"\n",
            root.path().display()
        );
        let path = root.path().join("peer.toml");
        fs::write(&path, config).unwrap();
        let peer = Process::start("server", &path, &root.path().join("peer.log"));
        Site {
            root,
            port,
            _peer: peer,
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.root.path().join(format!("{name}.log"))
    }

    /// An agent of `pg-a` with everything of its own.
    fn agent(&self, name: &str) -> Process {
        let root = self.root.path().display();
        let config = format!(
            "cluster = \"main\"\ninstance = \"pg-a\"\nplain_http = true\npeers = [\"127.0.0.1:{}\"]\n\
             folder = \"{root}/{name}/state\"\ndata = \"{root}/{name}/data\"\nhost = \"127.0.0.1\"\nport = {}\n\
             health = \"127.0.0.1:{}\"\nbinaries = \"/usr/lib/postgresql/15/bin\"\nrun_as = \"postgres\"\n\
             [replication]\npassword_file = \"{root}/password\"\n",
            self.port,
            free_port(),
            free_port()
        );
        let path = self.root.path().join(format!("{name}.toml"));
        fs::write(&path, config).unwrap();
        Process::start("agent", &path, &self.log(name))
    }

    async fn until_logged(&self, name: &str, words: &str) {
        let began = now();
        loop {
            let text = fs::read_to_string(self.log(name)).unwrap();
            if text.contains(words) {
                return;
            }
            assert!(now().since(began) < SOON, "'{words}' is not in {text}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A session as an agent of `pg-a` opens it, and what the peer says first.
    async fn hello(&self, run: u64) -> (Session, PeerMessage) {
        let began = now();
        let mut stream = loop {
            match TcpStream::connect(("127.0.0.1", self.port)).await {
                Ok(stream) => break stream,
                Err(error) => assert!(now().since(began) < SOON, "{error}"),
            }
            sleep(Duration::from_millis(5)).await;
        };
        let request = format!(
            "GET {SESSION_PATH} HTTP/1.1\r\nhost: peer\r\nconnection: upgrade\r\nupgrade: primacy-agent/1\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
        let mut session = Session(Framed::new(stream, LengthDelimitedCodec::new()));
        session
            .say(&AgentMessage::Hello {
                cluster: ClusterName::new("main").unwrap(),
                instance: id("pg-a"),
                group: None,
                run: Run(run),
            })
            .await;
        let answer = session.heard().await.expect("an answer");
        (session, answer)
    }
}

impl Site {
    /// A session as soon as the peer takes it.
    async fn welcomed(&self, run: u64) -> Session {
        let began = now();
        loop {
            let (session, answer) = self.hello(run).await;
            if is_welcome(&answer) {
                eprintln!("{run} is welcome after {:?}", now().since(began));
                return session;
            }
            assert!(now().since(began) < SOON, "{answer:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

struct Session(Framed<TcpStream, LengthDelimitedCodec>);

impl Session {
    async fn say(&mut self, message: &AgentMessage) {
        let frame = bytes::Bytes::from(encode(message).unwrap());
        self.0.send(frame).await.unwrap();
    }

    /// The next message; none at the end.
    async fn heard(&mut self) -> Option<PeerMessage> {
        let frame = timeout(SOON, self.0.next()).await.unwrap()?;
        Some(decode(&frame.ok()?).unwrap())
    }

    /// Whether the peer ends it.
    async fn ends(mut self) {
        while self.heard().await.is_some() {}
    }
}

fn is_welcome(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::Welcome { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_keeps_the_agent_that_it_hears() {
    let site = Site::new();
    let (mut first, answer) = site.hello(1).await;
    assert!(is_welcome(&answer), "{answer:?}");
    let (second, answer) = site.hello(2).await;
    assert!(
        matches!(&answer, PeerMessage::TurnedAway { why } if why.contains("pg-a")),
        "{answer:?}"
    );
    second.ends().await;
    // The first says something, and is still heard.
    first.say(&AgentMessage::Adopt { serial: 7 }).await;
    let answered = loop {
        match first.heard().await.unwrap() {
            PeerMessage::Welcome { .. } | PeerMessage::Peers { .. } => {}
            other => break other,
        }
    };
    assert!(
        matches!(answered, PeerMessage::Declined { serial: 7, .. }),
        "{answered:?}"
    );

    // The process that connects anew is not kept waiting, nor one that comes after its end.
    let (again, answer) = site.hello(1).await;
    assert!(is_welcome(&answer), "{answer:?}");
    first.ends().await;
    drop(again);
    let third = site.welcomed(3).await;

    // One that is frozen makes room, and does not come back while the other is heard.
    sleep(primacy::model::view::SILENT_AFTER).await;
    let mut fourth = site.welcomed(4).await;
    third.ends().await;
    fourth.say(&AgentMessage::Adopt { serial: 8 }).await;
    let (_, answer) = site.hello(3).await;
    assert!(
        matches!(answer, PeerMessage::TurnedAway { .. }),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_agent_says_what_is_wrong_and_waits_until_the_first_ends() {
    let site = Site::new();
    let mut first = site.agent("first");
    site.until_logged("peer", "an agent connected").await;
    let _second = site.agent("second");
    site.until_logged("second", "there are two agents of this instance")
        .await;
    site.until_logged("second", "give this one an `instance`")
        .await;
    site.until_logged("peer", "a second agent says").await;
    let peer = fs::read_to_string(site.log("peer")).unwrap();
    assert_eq!(peer.matches("an agent connected").count(), 1, "{peer}");
    first.kill();
    site.until_logged("second", "the peer takes this agent now")
        .await;
    // The first is the second now.
    let _first = site.agent("first");
    site.until_logged("first", "there are two agents of this instance")
        .await;
}
