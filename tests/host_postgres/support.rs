//! Real PostgreSQL instances in a temporary folder.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use primacy::clock;
use primacy::host::Death;
use primacy::host::settings::{self, Listen, Settings};
use primacy::host::wal_page::Wal;
use primacy::host::wal_scan::{self, Scan};
use primacy::host::{Account, Binaries, control_file, data_folder, processes, server, tools};
use primacy::model::{Lsn, Timeline, WalPosition};
use rustix::process::Signal;

pub const SOON: Duration = Duration::from_secs(30);

/// A temporary folder whose instances are killed when it goes.
pub struct Host {
    pub folder: tempfile::TempDir,
    pub binaries: Binaries,
}

/// One instance in a [`Host`].
pub struct Node {
    pub data: PathBuf,
    pub port: u16,
    pub socket: PathBuf,
    binaries: Binaries,
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: end sessions, write a checkpoint, send the last WAL to connected standbys.
    Fast,
    /// SIGQUIT: leave at once; the next start recovers.
    Immediate,
    /// SIGKILL to every process; what fencing uses.
    Kill,
}

/// What a stop took.
#[derive(Debug)]
pub struct Stopped {
    /// The postmaster did as asked in time.
    pub as_asked: bool,
    /// What had to be killed afterwards.
    pub killed: processes::Killed,
}

impl Host {
    pub fn new() -> Host {
        let own = Account::own();
        let account = if own.is_root() {
            Account::named("postgres").unwrap()
        } else {
            own
        };
        // In memory if possible: the programs run with real fsync, which a busy disk makes slow.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = tempfile::Builder::new()
            .prefix("primacy-")
            .tempdir_in(root)
            .unwrap();
        chown(folder.path(), Some(account.uid), Some(account.gid)).unwrap();
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), all).unwrap();
        let binaries = Binaries::find(None, None, Some(account)).unwrap();
        Host { folder, binaries }
    }

    pub fn node(&self, name: &str, port: u16) -> Node {
        Node {
            data: self.folder.path().join(name),
            port,
            socket: self.folder.path().to_owned(),
            binaries: self.binaries.clone(),
        }
    }

    /// A running primary.
    pub async fn primary(&self, name: &str, port: u16) -> Node {
        let node = self.node(name, port);
        let account = self.binaries.account;
        std::fs::create_dir(&node.data).unwrap();
        chown(&node.data, Some(account.uid), Some(account.gid)).unwrap();
        tools::initdb(&self.binaries, &node.data, "postgres", SOON)
            .await
            .unwrap();
        node.configure(&node.data, "");
        node.start().await;
        node
    }

    /// A running standby of `source`.
    pub async fn standby(&self, name: &str, port: u16, source: &Node) -> Node {
        let node = self.node(name, port);
        node.clone_from(source, name).await;
        node.start().await;
        node.until("select count(*) = 1 from pg_stat_wal_receiver where status = 'streaming'");
        node
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            stop_tidily(&entry.path());
        }
    }
}

/// An immediate stop, because a killed server leaves its shared memory behind.
fn stop_tidily(data: &Path) {
    let asked = clock::monotonic();
    while let Ok(Some(postmaster)) = processes::postmaster(data) {
        if clock::monotonic().since(asked) > Duration::from_secs(3) {
            break;
        }
        processes::signal(data, postmaster.pid, Signal::QUIT);
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = processes::kill_all(data, SOON);
}

impl Node {
    pub fn conninfo(&self) -> String {
        let socket = self.socket.display();
        format!(
            "host={socket} port={} user=postgres dbname=postgres",
            self.port
        )
    }

    pub fn settings(&self, conninfo: &str) -> Settings {
        let listen = Listen {
            addresses: String::new(),
            port: self.port,
            socket_folder: self.socket.display().to_string(),
        };
        let extra = [
            ("shared_buffers", "16MB"),
            ("autovacuum", "off"),
            ("fsync", "off"),
            ("primary_conninfo", conninfo),
            ("min_wal_size", "32MB"),
            ("max_wal_size", "64MB"),
        ];
        let extra = extra.map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings::base(&listen, 20, &Settings::from(extra))
    }

    pub fn configure(&self, data: &Path, conninfo: &str) {
        settings::write(data, &self.settings(conninfo), &[]).unwrap();
        let rules = ["local all all trust", "local replication all trust"];
        settings::write_hba(data, &rules.map(str::to_owned)).unwrap();
    }

    pub async fn clone_from(&self, source: &Node, stamp: &str) -> tools::Cloned {
        let conninfo = source.conninfo();
        let from = tools::Source {
            conninfo: &conninfo,
            passfile: None,
        };
        let prepare = |fresh: &Path| {
            self.configure(fresh, &conninfo);
            Ok(())
        };
        let folders = tools::Folders {
            data: &self.data,
            stamp,
            mark: &self.socket.join("cloning"),
        };
        let patience = tools::Patience {
            without_a_byte: SOON,
            otherwise: SOON,
        };
        tools::clone_beside(&self.binaries, from, folders, patience, prepare)
            .await
            .unwrap()
    }

    pub fn log(&self) -> PathBuf {
        self.socket.join(format!("{}.log", self.port))
    }

    /// Starts and waits until sessions are accepted.
    pub async fn start(&self) {
        server::start(&self.binaries, &self.data, &self.log(), || true).unwrap();
        eventually(|| {
            let status = processes::postmaster(&self.data)
                .unwrap()
                .map(|it| it.status);
            matches!(status.as_deref(), Some("ready" | "standby"))
        });
    }

    /// Asks the postmaster, waits for it, and kills whatever is left.
    pub async fn stop(&self, how: Stop) -> Stopped {
        let signal = match how {
            Stop::Fast => Some(Signal::INT),
            Stop::Immediate => Some(Signal::QUIT),
            Stop::Kill => None,
        };
        let mut as_asked = signal.is_none();
        if let Some(signal) = signal
            && let Some(found) = processes::postmaster(&self.data).unwrap()
            && let Some(death) = Death::watch(&self.data, found.pid).unwrap()
        {
            processes::signal(&self.data, found.pid, signal);
            as_asked = tokio::time::timeout(SOON, death.wait()).await.is_ok();
        }
        let killed = processes::kill_all(&self.data, SOON).unwrap();
        Stopped { as_asked, killed }
    }

    pub fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new(self.binaries.folder.join("psql"));
        command.args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &self.conninfo(),
            "-c",
            sql,
        ]);
        command.stdin(Stdio::null());
        command
    }

    pub fn try_sql(&self, sql: &str) -> Option<String> {
        let output = self.psql(sql).stderr(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.trim().to_owned())
    }

    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql)
            .unwrap_or_else(|| panic!("{sql}: {}", server::log_end(&self.log())))
    }

    /// A session that is busy for long.
    pub fn session(&self, sql: &str) -> Child {
        self.psql(sql)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[track_caller]
    pub fn until(&self, sql: &str) {
        eventually(|| self.try_sql(sql).as_deref() == Some("t"));
    }

    pub fn lsn(&self, function: &str) -> Lsn {
        self.sql(&format!("select {function}()")).parse().unwrap()
    }

    pub fn wal(&self) -> Wal {
        let control = control_file::read(&self.data).unwrap();
        Wal {
            folder: self.data.join("pg_wal"),
            segment_size: control.segment_size,
            system: control.system,
        }
    }

    /// Scans from the latest checkpoint.
    pub fn scan(&self) -> Scan {
        let control = control_file::read(&self.data).unwrap();
        wal_scan::scan(&self.wal(), wal_scan::start_from(&control)).unwrap()
    }

    /// What `pg_waldump` prints and complains about, from a position in a file of that timeline.
    pub fn waldump(&self, start: WalPosition) -> (String, String) {
        let output = Command::new(self.binaries.folder.join("pg_waldump"))
            .env("LC_ALL", "C")
            .arg("-p")
            .arg(self.data.join("pg_wal"))
            .args([
                "-t",
                &start.timeline.to_string(),
                "-s",
                &start.lsn.to_string(),
            ])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    /// What `pg_waldump` takes for the end.
    pub fn waldump_end(&self, start: WalPosition) -> Lsn {
        let (_, text) = self.waldump(start);
        let at = text.split("invalid record length at ").nth(1);
        let at = at.unwrap_or_else(|| panic!("{text}"));
        at.split(':').next().unwrap().parse().unwrap()
    }

    pub fn follow(&self, source: &Node) {
        self.configure(&self.data, &source.conninfo());
        self.sql("select pg_reload_conf()");
    }

    pub fn remove_trigger(&self) {
        data_folder::remove_promote_trigger(&self.data).unwrap();
    }
}

pub fn at(timeline: u32, lsn: Lsn) -> WalPosition {
    WalPosition {
        timeline: Timeline(timeline),
        lsn,
    }
}

/// Waits for a condition, up to a deadline.
#[track_caller]
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let began = clock::monotonic();
    while !condition() {
        assert!(clock::monotonic().since(began) < SOON, "it did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
