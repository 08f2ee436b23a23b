//! Two builds in one group: of this feature level and of the next. The next one exists only where rules can be broken on
//! purpose, so: `cargo test --workspace --features mutants --test upgrade`.
#![cfg(feature = "mutants")]
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use primacy::dev::ports;
use primacy::security::Wire;
use primacy::server::calls::Calls;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Nothing here takes longer on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// A leader has asked everybody by then, more than once.
const ASKED: Duration = Duration::from_secs(5);

/// Which build a peer is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    Present,
    Next,
}

struct Group {
    addresses: Vec<String>,
    folder: tempfile::TempDir,
    running: Vec<Option<Child>>,
    calls: Calls,
}

impl Drop for Group {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Group {
    async fn start() -> Group {
        let address = |_| format!("127.0.0.1:{}", ports::reserve(0).unwrap());
        let mut group = Group {
            addresses: (0..3).map(address).collect(),
            folder: tempfile::tempdir().unwrap(),
            running: vec![None, None, None],
            calls: Calls::over(Wire::Plain),
        };
        for peer in 0..3 {
            group.run(peer, Build::Present);
        }
        group
    }

    fn log(&self, peer: usize) -> PathBuf {
        self.folder.path().join(format!("{peer}.log"))
    }

    fn run(&mut self, peer: usize, build: Build) {
        let folder = self.folder.path();
        let peers: Vec<_> = (1..)
            .zip(&self.addresses)
            .map(|(id, address)| format!("{id} = \"{address}\""))
            .collect();
        let text = format!(
            "id = {}\ngroup = \"00000000-0000-0000-0000-00000000000b\"\nzone = \"z{peer}\"\nplain_http = true\nfolder = \"{}\"\n\
             listen = \"{}\"\n[peers]\n{}\n",
            peer + 1,
            folder.join(peer.to_string()).display(),
            self.addresses[peer],
            peers.join("\n")
        );
        let file = folder.join(format!("{peer}.toml"));
        fs::write(&file, text).unwrap();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(peer))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
        command.arg("server").arg("--config").arg(file);
        if build == Build::Next {
            command.env("PRIMACY_MUTANT_LEVEL", "5");
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.running[peer] = Some(child.unwrap());
    }

    /// Asks it to end, as an upgrade does.
    fn stop(&mut self, peer: usize) {
        let mut child = self.running[peer].take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap();
    }

    fn replace(&mut self, peer: usize, build: Build) {
        self.stop(peer);
        self.run(peer, build);
    }

    async fn told(&self, peer: usize) -> Value {
        let path = "/internal/v1/peer";
        let told = self
            .calls
            .get(&self.addresses[peer], path, Duration::from_secs(1));
        let (_, body) = told.await.unwrap_or_default();
        serde_json::from_slice(&body).unwrap_or_default()
    }

    async fn until(&self, peer: usize, what: &str, is_so: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        loop {
            let told = self.told(peer).await;
            if is_so(&told) {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "not {what}: {told}");
            sleep(POLL).await;
        }
    }

    /// Has a change recorded, and sees that all who run have applied it.
    async fn change(&self, name: &str) {
        // No two clusters share a server.
        let member =
            json!({"host": format!("{name}.example"), "port": 1, "health_port": 2, "zone": "z1"});
        let body =
            json!({"name": name, "durability": "async", "first": "a", "members": {"a": member}});
        let began = Instant::now();
        loop {
            let peer = self.running.iter().position(Option::is_some).unwrap();
            let request = Request::post("/api/v1/clusters")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body.to_string())))
                .unwrap();
            let answer = self
                .calls
                .send(&self.addresses[peer], request, Duration::from_secs(5));
            match answer.await {
                Ok(answer) if answer.status().is_success() || answer.status() == 409 => break,
                answer => assert!(began.elapsed() < DEADLINE, "{answer:?}"),
            }
            sleep(POLL).await;
        }
        let asked = self.running.iter().position(Option::is_some).unwrap();
        let applied = self.told(asked).await["applied_index"].as_u64();
        assert!(applied.is_some());
        for (peer, _) in self
            .running
            .iter()
            .enumerate()
            .filter(|(_, it)| it.is_some())
        {
            self.until(peer, "applied", |told| {
                told["applied_index"].as_u64() >= applied
            })
            .await;
        }
    }

    /// Whether the log of a peer has a line with all these words.
    fn said(&self, peer: usize, words: &[&str]) -> bool {
        let log = fs::read_to_string(self.log(peer)).unwrap();
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_upgraded_and_taken_back_until_all_are_new() {
    let mut group = Group::start().await;
    for peer in 0..3 {
        let reached =
            |told: &Value| told["feature_level"] == 4 && told["feature_level_spoken"] == 4;
        group.until(peer, "of the present level", reached).await;
    }
    // Forward, but for one; a build of the next level leads and tries what the last one cannot read.
    for peer in 0..2 {
        group.replace(peer, Build::Next);
        let speaks = |told: &Value| told["feature_level_spoken"] == 5 && told["leader"].is_u64();
        group.until(peer, "of the next build", speaks).await;
        group.change(&format!("forward-{peer}")).await;
    }
    let is_led_by_next = async || {
        let leader = group.told(0).await["leader"].as_u64();
        leader.is_some_and(|leader| leader < 3)
    };
    if !is_led_by_next().await {
        group.replace(2, Build::Present);
        group
            .until(2, "following", |told| told["role"] == "follower")
            .await;
    }
    sleep(ASKED).await;
    let refused = [
        "next level",
        "TooNew",
        "needed: FeatureLevel(5)",
        "reached: FeatureLevel(4)",
    ];
    assert!(
        (0..2).any(|peer| group.said(peer, &refused)),
        "nobody tried what the last peer cannot read"
    );
    group
        .until(2, "serving", |told| told["feature_level"] == 4)
        .await;

    // Back, and forward again: nothing has risen.
    group.replace(1, Build::Present);
    group.change("back").await;
    for peer in [1, 2] {
        group.replace(peer, Build::Next);
        group
            .until(peer, "back", |told| told["leader"].is_u64())
            .await;
    }
    for peer in 0..3 {
        group
            .until(peer, "risen", |told| told["feature_level"] == 5)
            .await;
    }
    group.change("risen").await;

    // From now on the present build stops rather than guess, and the others go on.
    group.replace(0, Build::Present);
    let began = Instant::now();
    let words = ["feature level 5, this version speaks up to 4"];
    while !group.said(0, &words) {
        assert!(began.elapsed() < DEADLINE, "it does not say why");
        sleep(POLL).await;
    }
    group.running[0].as_mut().unwrap().wait().unwrap();
    group.running[0] = None;
    group.change("without").await;
    group.run(0, Build::Next);
    group
        .until(0, "there again", |told| told["feature_level"] == 5)
        .await;
}
