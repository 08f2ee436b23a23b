//! One throw-away PostgreSQL on a free port of the loopback.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jepsen::clock;
use jepsen::expectations::Network;
use jepsen::session::Target;
use rustix::process::{Pid, Signal, kill_process};

const READY_WITHIN: Duration = Duration::from_secs(30);

pub struct Server {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    port: u16,
    postmaster: Option<Child>,
}

impl Server {
    pub fn start() -> Server {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = tempfile::Builder::new()
            .prefix("jepsen-")
            .tempdir_in(place)
            .unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((user, group)) = account() {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut server = Server {
            folder,
            binaries: binaries(),
            port,
            postmaster: None,
        };
        let made = server
            .command("initdb")
            .args(["-D", "data", "-U", "jepsen", "-A", "trust", "-N"])
            .status();
        assert!(made.unwrap().success());
        server.run();
        server
    }

    /// Starts it and waits until it accepts connections.
    pub fn run(&mut self) {
        let place = self.folder.path().display();
        let mut command = self.command("postgres");
        command.args([
            "-D",
            "data",
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
        ]);
        command.args(["-k", &place.to_string(), "-c", "shared_buffers=16MB"]);
        self.postmaster = Some(command.spawn().unwrap());
        let began = clock::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(
                clock::now().since(began) < READY_WITHIN,
                "it does not start"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// An immediate stop: the server recovers from its WAL at the next start. Clients on the same thread go
    /// on meanwhile: the postmaster waits for one that connected and says nothing, for a minute.
    pub async fn crash(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else {
            return;
        };
        kill_process(Pid::from_child(&postmaster), Signal::QUIT).unwrap();
        while postmaster.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn target(&self, name: &str) -> Target {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("jepsen")
            .dbname("postgres");
        Target {
            node: name.into(),
            config,
            patience: Network::Lan.expectations().patience,
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((user, group)) = account() {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut postmaster) = self.postmaster.take() {
            let _ = kill_process(Pid::from_child(&postmaster), Signal::QUIT);
            let _ = postmaster.wait();
        }
    }
}

/// PostgreSQL does not run as root: then it runs as the user whom its packages created.
fn account() -> Option<(u32, u32)> {
    let is_root = rustix::process::getuid().is_root();
    let home = std::fs::metadata("/var/lib/postgresql");
    is_root
        .then(|| home.unwrap())
        .map(|home| (home.uid(), home.gid()))
}

/// The newest of Debian's packages, else what is on the path.
fn binaries() -> PathBuf {
    let packaged = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = packaged
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, place)| place.join("initdb").exists())
        .max();
    newest.map(|(_, place)| place).unwrap_or_default()
}
