//! Real servers: PostgreSQL 15 on ports of its own, in a temporary folder, asked over TCP by a role that is no superuser.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use primacy::clock;
use primacy::dev::ports;
use primacy::host::{Account, Binaries, processes, server};
use primacy::model::Address;
use primacy::provider::postgres::{Login, Password, grants};
use primacy::security::DatabaseTls;
use rustix::process::Signal;
use tokio::process::Child;

use crate::stage::LONG;

/// Of the role that the provider signs in as.
pub const SECRET: &str = "it's \\ a secret";
/// Of the role that standbys sign in as.
pub const REPLICATION_SECRET: &str = "replication-secret";

/// A folder, as whom PostgreSQL runs, and what was started there. All is killed when it goes.
pub struct Host {
    pub folder: tempfile::TempDir,
    pub binaries: Binaries,
    /// Ports that the next servers listen on, the last first; any that is free if there is none.
    pub ports: Mutex<Vec<u16>>,
}

/// One server.
pub struct Server {
    pub data: PathBuf,
    pub address: Address,
    folder: PathBuf,
    binaries: Binaries,
}

impl Host {
    pub fn new() -> Host {
        let own = Account::own();
        let account = match own.is_root() {
            true => Account::named("postgres").unwrap(),
            false => own,
        };
        let memory = Path::new("/dev/shm");
        let root = match memory.is_dir() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        let folder = tempfile::Builder::new()
            .prefix("primacy-")
            .tempdir_in(root)
            .unwrap();
        let host = Host {
            binaries: Binaries::find(None, None, Some(account)).unwrap(),
            folder,
            ports: Mutex::default(),
        };
        host.give(host.folder.path());
        host
    }

    /// Gives a file to the account that PostgreSQL runs as.
    pub fn give(&self, path: &Path) {
        let account = self.binaries.account;
        std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).unwrap();
    }

    /// A file of that account, for nobody else.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
        path
    }

    /// One of PostgreSQL's programs, as that account.
    pub fn program(&self, name: &str) -> Command {
        let account = self.binaries.account;
        let program = self.binaries.folder.join(name);
        let mut command = match Account::own().is_root() {
            false => Command::new(program),
            true => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={}", account.uid))
                    .arg(format!("--regid={}", account.gid))
                    .arg("--clear-groups")
                    .arg(program);
                command
            }
        };
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .env("LC_ALL", "C");
        command
    }

    #[track_caller]
    pub fn run(&self, command: &mut Command) -> Output {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {stderr}");
        output
    }

    pub fn server(&self, name: &str) -> Server {
        Server {
            data: self.folder.path().join(name),
            address: Address {
                host: "127.0.0.1".to_owned(),
                port: self
                    .ports
                    .lock()
                    .unwrap()
                    .pop()
                    .unwrap_or_else(|| ports::reserve(0).unwrap()),
            },
            folder: self.folder.path().to_owned(),
            binaries: self.binaries.clone(),
        }
    }

    /// A primary that runs, with the roles.
    pub async fn primary(&self, name: &str, settings: &str) -> Server {
        let server = self.server(name);
        let mut initdb = self.program("initdb");
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "-N", "-D"]);
        self.run(initdb.arg(&server.data));
        server.append(
            "postgresql.conf",
            &format!(
                "{}{settings}",
                COMMON.replace("{folder}", &server.folder.display().to_string())
            ),
        );
        server.append("postgresql.conf", &server.own_port());
        let rules = "local all all trust\n\
                     host replication replicator 127.0.0.1/32 scram-sha-256\n\
                     host all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(server.data.join("pg_hba.conf"), rules).unwrap();
        server.start().await;
        server.sql(&format!(
            "CREATE ROLE replicator REPLICATION LOGIN PASSWORD '{REPLICATION_SECRET}'; \
             CREATE ROLE watcher LOGIN PASSWORD '{}'; CREATE TABLE t (n serial)",
            SECRET.replace('\'', "''")
        ));
        server.sql(&grants::statements("watcher").join(";\n"));
        server
    }

    /// A standby of `source` that streams, as `pg_basebackup -R` makes one.
    pub async fn standby(&self, name: &str, source: &Server, is_uri: bool) -> Server {
        let server = self.server(name);
        let passfile = self.file(
            &format!("{name}.pass"),
            format!("*:*:*:replicator:{REPLICATION_SECRET}\n"),
        );
        let (port, passfile) = (source.address.port, passfile.display());
        let conninfo = format!(
            "host=127.0.0.1 port={port} user=replicator passfile={passfile} application_name={name}"
        );
        let mut copy = self.program("pg_basebackup");
        copy.args([
            "-R", "-C", "-S", name, "-X", "stream", "-c", "fast", "-N", "-d", &conninfo,
        ]);
        self.run(copy.arg("-D").arg(&server.data));
        if is_uri {
            // The last of a setting counts.
            let uri = format!(
                "postgresql://replicator@127.0.0.1:{port}/?application_name={name}&passfile={passfile}"
            );
            server.append(
                "postgresql.auto.conf",
                &format!("primary_conninfo = '{uri}'\n"),
            );
        }
        server.append("postgresql.conf", &server.own_port());
        server.start().await;
        server
            .until("SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'")
            .await;
        server
    }
}

const COMMON: &str = "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n\
    fsync = off\nautovacuum = off\nshared_buffers = 16MB\nmin_wal_size = 32MB\n\
    wal_receiver_timeout = 2s\nwal_receiver_status_interval = 1s\nwal_retrieve_retry_interval = 100ms\n\
    wal_log_hints = on\n";

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
    for process in processes::of(data).into_iter().flatten() {
        processes::signal(data, process.pid, Signal::CONT);
    }
    while let Ok(Some(postmaster)) = processes::postmaster(data) {
        if clock::monotonic().since(asked) > Duration::from_secs(3) {
            break;
        }
        processes::signal(data, postmaster.pid, Signal::QUIT);
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = processes::kill_all(data, LONG);
}

impl Server {
    fn own_port(&self) -> String {
        format!("port = {}\n", self.address.port)
    }

    pub fn append(&self, file: &str, text: &str) {
        use std::io::Write;
        let path = self.data.join(file);
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.address.port))
    }

    pub async fn start(&self) {
        server::start(&self.binaries, &self.data, &self.log(), || true).unwrap();
        self.until("SELECT true").await;
    }

    fn psql(&self, statement: &str) -> Command {
        let mut command = Command::new(self.binaries.folder.join("psql"));
        let conninfo = format!(
            "host={} port={} user=postgres dbname=postgres",
            self.folder.display(),
            self.address.port
        );
        command
            .args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-v",
                "VERBOSITY=sqlstate",
                "-d",
                &conninfo,
            ])
            .args(["-c", statement])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn try_sql(&self, statement: &str) -> Result<String, String> {
        let output = self.psql(statement).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        let answer = self.try_sql(statement);
        answer.unwrap_or_else(|error| {
            panic!("{statement}: {error}: {}", server::log_end(&self.log()))
        })
    }

    /// A session that goes on beside the test.
    pub fn session(&self, statement: &str) -> Child {
        let mut command = tokio::process::Command::from(self.psql(statement));
        command.kill_on_drop(true).spawn().unwrap()
    }

    pub async fn until(&self, statement: &str) {
        let began = clock::monotonic();
        while self.try_sql(statement).as_deref() != Ok("t") {
            let waited = clock::monotonic().since(began);
            assert!(
                waited < LONG,
                "{statement}: {}",
                server::log_end(&self.log())
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// As the role that is no superuser.
pub fn login(password: Password, tls: DatabaseTls) -> Login {
    Login {
        user: "watcher".to_owned(),
        password,
        database: "postgres".to_owned(),
        tls,
        application_name: "primacy".to_owned(),
    }
}
