//! Processes of the program, killed at the end whatever became of the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use primacy::clock;
use primacy::dev::ports;
use rustix::process::{Pid, Signal, kill_process};

/// An address of the loopback that nobody else is given while the test runs.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", ports::reserve(0).unwrap())
}

/// How long anything may take that must come.
pub const WITHIN: Duration = Duration::from_secs(30);

/// The program, with nothing of the caller's own installation in its environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
    command
        .env_remove("PRIMACY_API")
        .env_remove("PRIMACY_TLS")
        .env_remove("PRIMACY_TOKEN")
        .env("PRIMACY_DEV", "/nonexistent")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// The command with a fault at its system calls: strace's `inject`. None, and a line that says so, where strace is not
/// there or may not trace.
pub fn traced(calls: &str, inject: &str, command: &Command) -> Option<Command> {
    let mut trial = Command::new("strace");
    let trial = trial.args(["-e", "trace=none", "true"]).output();
    if !trial.is_ok_and(|trial| trial.status.success()) {
        eprintln!(
            "SKIPPED: strace is not there, or may not trace (.ci/install faults installs it)"
        );
        return None;
    }
    let mut traced = Command::new("strace");
    traced.args(["--quiet=all", "-f", "-o", "/dev/null", "-e"]);
    traced.arg(format!("trace={calls}"));
    traced.arg("-e").arg(format!("inject={inject}"));
    traced.arg(command.get_program()).args(command.get_args());
    traced.stdin(Stdio::null());
    Some(traced)
}

/// Exit code, stdout and stderr of a verb.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    told(program().args(arguments).output().unwrap())
}

pub fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = clock::monotonic();
    while !holds() {
        let waited = clock::monotonic().since(began);
        assert!(waited < WITHIN, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One running process.
pub struct Running(pub Child);

impl Running {
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One group of peers.
pub struct Peers {
    pub folder: tempfile::TempDir,
    pub addresses: Vec<String>,
    pub running: Vec<Running>,
    pub network: &'static str,
}

impl Peers {
    /// A group that has a leader. Logs go to files.
    pub fn start(count: usize) -> Peers {
        Peers::plan(count).started()
    }

    /// All of them run and have a leader.
    pub fn started(mut self) -> Peers {
        let peers = &mut self;
        (0..peers.addresses.len()).for_each(|number| peers.spawn(number));
        peers.any_leader();
        for address in &peers.addresses {
            until("it takes part", || {
                run(&["--api", address, "leader"]).0 == Some(0)
            });
        }
        self
    }

    /// The folder and the addresses of a group, none of it started.
    pub fn plan(count: usize) -> Peers {
        Peers {
            folder: tempfile::tempdir().unwrap(),
            addresses: (0..count).map(|_| free_address()).collect(),
            running: Vec::new(),
            network: "lan",
        }
    }

    /// Runs one peer, after those that run.
    pub fn spawn(&mut self, number: usize) {
        let log = fs::File::create(self.log(number)).unwrap();
        let mut command = self.command(number);
        let child = command.stderr(log).spawn().unwrap();
        self.running.push(Running(child));
    }

    /// The command that runs one peer.
    pub fn command(&self, number: usize) -> Command {
        let folder = self.folder.path();
        let id = number + 1;
        let listed: Vec<_> = (1..)
            .zip(&self.addresses)
            .map(|(id, address)| format!("{id} = \"{address}\""))
            .collect();
        let text = format!(
            "id = {id}\ngroup = \"00000000-0000-0000-0000-00000000000a\"\nzone = \"z{id}\"\n\
             network = \"{}\"\nfolder = \"{}\"\nlisten = \"{}\"\nplain_http = true\n[peers]\n{}\n",
            self.network,
            folder.join(format!("peer{id}")).display(),
            self.addresses[number],
            listed.join("\n")
        );
        let config = folder.join(format!("server{id}.toml"));
        fs::write(&config, text).unwrap();
        let mut command = program();
        command.arg("server").arg("--config").arg(config);
        command
    }

    pub fn log(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("log{}", number + 1))
    }

    pub fn api(&self) -> String {
        self.addresses.join(",")
    }

    /// The place of the leader, as soon as there is one.
    pub fn any_leader(&self) -> usize {
        let mut leader = None;
        until("a leader is elected", || {
            leader = self.leader();
            leader.is_some()
        });
        leader.unwrap()
    }

    /// The place of the leader, as the group says it.
    pub fn leader(&self) -> Option<usize> {
        let (code, text, _) = run(&["--api", &self.api(), "leader", "--output", "json"]);
        if code != Some(0) {
            return None;
        }
        let leader: serde_json::Value = serde_json::from_str(&text).unwrap();
        usize::try_from(leader["leader"].as_u64()? - 1).ok()
    }
}

/// What a log holds.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
