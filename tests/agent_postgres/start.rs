//! A host that does not fit: the agent says why in one sentence, exits with 2, and has changed nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use primacy::clock;
use primacy::host::Account;

use crate::rig::{free_port, give_to_postgres};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A host with nothing of the agent on it yet.
pub struct Site {
    pub root: tempfile::TempDir,
    pub ports: [u16; 2],
}

pub type Tree = BTreeMap<PathBuf, (u32, u32, i64, i64, Vec<u8>)>;

impl Site {
    pub fn new() -> Site {
        let root = tempfile::Builder::new()
            .prefix("primacy-")
            .tempdir()
            .unwrap();
        give_to_postgres(root.path());
        fs::write(root.path().join("password"), "secret\n").unwrap();
        Site {
            root,
            ports: [free_port(), free_port()],
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn config(&self) -> String {
        let root = self.root.path().display();
        let [port, health] = self.ports;
        format!(
            "cluster = \"main\"\ninstance = \"pg-a\"\npeers = [\"127.0.0.1:1\"]\n\
             folder = \"{root}/state/agent\"\ndata = \"{root}/data\"\nhost = \"127.0.0.1\"\nport = {port}\n\
             health = \"127.0.0.1:{health}\"\nbinaries = \"{BIN}\"\nrun_as = \"postgres\"\nplain_http = true\n\
             [replication]\npassword_file = \"{root}/password\"\n"
        )
    }

    /// Everything below the root: owner, mode, time of change, content.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(path) = folders.pop() {
            let about = fs::symlink_metadata(&path).unwrap();
            let content = match about.is_file() {
                true => fs::read(&path).unwrap(),
                false => Vec::new(),
            };
            if about.is_dir() {
                let entries = fs::read_dir(&path).unwrap();
                folders.extend(entries.map(|it| it.unwrap().path()));
            }
            let facts = (
                about.uid(),
                about.mode(),
                about.mtime(),
                about.mtime_nsec(),
                content,
            );
            tree.insert(path, facts);
        }
        tree
    }

    /// Runs the agent, which must refuse with these words and change nothing.
    #[track_caller]
    pub fn refused(&self, config: &str, words: &[&str]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), config).unwrap();
        let before = self.tree();
        let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
        command.arg("agent").arg("--config").arg(file.path());
        let said = ended(command);
        assert_eq!(said.0, Some(2), "{}", said.1);
        let text = said.1.trim_end().to_owned();
        assert!(!text.contains('\n'), "more than one sentence: {text}");
        for word in words {
            assert!(text.contains(word), "'{word}' is not in: {text}");
        }
        assert!(self.tree() == before, "something was changed: {text}");
        println!("{text}");
        text
    }

    /// The first data, as another's agent or nobody's would have made it.
    fn initdb(&self) {
        let made = as_postgres(&[
            &format!("{BIN}/initdb"),
            "-N",
            "-D",
            self.path("data").to_str().unwrap(),
        ]);
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }

    pub fn note(&self, group: &str, cluster: &str, instance: &str) {
        let text = format!(
            "{{\"group\":\"{group}\",\"cluster\":\"{cluster}\",\"instance\":\"{instance}\",\"incarnation\":1}}\n"
        );
        fs::write(self.path("data/primacy.incarnation"), text).unwrap();
    }

    pub fn state(&self) -> PathBuf {
        let state = self.path("state/agent");
        fs::create_dir_all(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        state
    }
}

pub fn as_postgres(arguments: &[&str]) -> std::process::Output {
    Command::new("setpriv")
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .args(arguments)
        .current_dir("/")
        .output()
        .unwrap()
}

/// Exit code and stderr of a program that must end by itself.
fn ended(mut command: Command) -> (Option<i32>, String) {
    let errors = tempfile::tempfile().unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone().unwrap())
        .spawn()
        .unwrap();
    let began = clock::monotonic();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if clock::monotonic().since(began) > Duration::from_secs(15) {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = std::io::read_to_string({
        use std::io::Seek;
        let mut errors = errors;
        errors.rewind().unwrap();
        errors
    })
    .unwrap();
    (status.code(), text)
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let site = Site::new();
    let good = site.config();
    for (from, to, words) in [
        ("peers =", "peeers =", &["`peeers`", "line 3"][..]),
        ("peers = [\"127.0.0.1:1\"]", "peers = []", &["`peers`"]),
        ("/state/agent", "/data/agent", &["`folder`", "`data`"]),
        ("run_as = \"postgres\"\n", "", &["`run_as`", "root"]),
        (
            "run_as = \"postgres\"",
            "run_as = \"nobody-here\"",
            &["`run_as`", "nobody-here"],
        ),
        (
            "/password\"",
            "/no-password\"",
            &["no-password", "create it"],
        ),
        (
            BIN,
            "/usr/lib/postgresql/99/bin",
            &["`binaries`", "/usr/lib/postgresql/99/bin", "install"],
        ),
        ("/state/agent", "/password", &["`folder`", "no folder"]),
        ("/data\"", "/password\"", &["`data`", "no folder"]),
    ] {
        let changed = good.replace(from, to);
        assert_ne!(changed, good, "{from}");
        site.refused(&changed, words);
    }
}

#[test]
fn ports_in_use_are_refused() {
    let site = Site::new();
    let [port, health] = site.ports;
    let taken = TcpListener::bind(("127.0.0.1", health)).unwrap();
    site.refused(&site.config(), &["`health`", &health.to_string(), "in use"]);
    drop(taken);
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    site.refused(&site.config(), &["`port`", &port.to_string(), "in use"]);
}

#[test]
fn postgresql_that_is_missing_or_too_old_is_refused() {
    let site = Site::new();
    let old = site.path("old");
    fs::create_dir(&old).unwrap();
    let config = site.config().replace(BIN, old.to_str().unwrap());
    site.refused(&config, &["`binaries`", "'postgres' is not there"]);
    for name in ["postgres", "initdb", "pg_basebackup", "pg_rewind"] {
        fs::write(
            old.join(name),
            "#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n",
        )
        .unwrap();
        fs::set_permissions(old.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    site.refused(&config, &["`binaries`", "13 is too old", "postgresql-15"]);
    fs::remove_file(old.join("pg_rewind")).unwrap();
    site.refused(&config, &["`binaries`", "'pg_rewind' is not there"]);
}

#[test]
fn a_data_folder_that_is_not_its_own_is_refused() {
    let site = Site::new();
    let data = site.path("data");
    fs::create_dir(&data).unwrap();
    site.refused(&site.config(), &["`data`", "belongs to uid 0", "chown"]);
    give_to_postgres(&data);
    fs::write(data.join("precious"), "x").unwrap();
    site.refused(
        &site.config(),
        &["`data`", "no database", "never initialised or wiped"],
    );
    fs::remove_dir_all(&data).unwrap();

    site.initdb();
    site.refused(
        &site.config(),
        &["`data`", "no agent filled", "never wiped"],
    );
    site.note("g1", "other", "pg-a");
    site.refused(&site.config(), &["`data`", "cluster other"]);
    site.note("g1", "main", "pg-b");
    site.refused(&site.config(), &["`data`", "instance pg-b"]);

    // What its state folder knows counts: another Raft group, another database system.
    let state = site.state();
    site.note("g1", "main", "pg-a");
    let promise = r#"{"group":"g2","order":{"epoch":3,"number":1},"promotion_asked":false}"#;
    fs::write(state.join("promise.json"), promise).unwrap();
    site.refused(&site.config(), &["`data`", "Raft group g1", "group g2"]);
    fs::remove_file(state.join("promise.json")).unwrap();
    fs::write(state.join("identity"), "4711\n").unwrap();
    site.refused(&site.config(), &["`data`", "4711"]);
    fs::write(data.join("PG_VERSION"), "14\n").unwrap();
    site.refused(&site.config(), &["`data`", "PostgreSQL 14", "`binaries`"]);
}

#[test]
fn a_state_folder_that_is_taken_or_open_is_refused() {
    let site = Site::new();
    let state = site.state();
    let lock = primacy::gate::FolderLock::take(&state).unwrap();
    site.refused(&site.config(), &["`folder`", "another agent runs"]);
    drop(lock);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    site.refused(&site.config(), &["`folder`", "chmod 700"]);
}

#[test]
fn a_process_table_that_hides_postgresql_is_refused() {
    let site = Site::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), site.config()).unwrap();
    let before = site.tree();
    // Without the capability root sees no more of other users' processes than hidepid shows.
    let mut command = Command::new("setpriv");
    command
        .arg("--bounding-set=-sys_ptrace")
        .arg(env!("CARGO_BIN_EXE_primacy"))
        .args(["agent", "--config"])
        .arg(file.path());
    let (code, text) = ended(command);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("/proc") && text.contains("hidepid"), "{text}");
    assert!(site.tree() == before);
    println!("{text}");
}

#[test]
fn a_peer_that_does_not_fit_is_refused() {
    let site = Site::new();
    let root = site.root.path();
    let config = |port: u16, folder: &Path| {
        format!(
            "id = 1\ngroup = \"00000000-0000-0000-0000-000000000001\"\nzone = \"z\"\nfolder = \"{}\"\nlisten = \"127.0.0.1:{port}\"\n\
             plain_http = true\n[peers]\n1 = \"127.0.0.1:{port}\"\n",
            folder.display()
        )
    };
    let refused = |text: &str, own: bool, words: &[&str]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let before = site.tree();
        let program = env!("CARGO_BIN_EXE_primacy");
        let mut command = match own {
            true => Command::new(program),
            false => {
                let mut command = Command::new("setpriv");
                command.args([
                    "--reuid=postgres",
                    "--regid=postgres",
                    "--clear-groups",
                    program,
                ]);
                command
            }
        };
        command.args(["server", "--config"]).arg(file.path());
        let (code, text) = ended(command);
        assert_eq!(code, Some(2), "{text}");
        let last = text.lines().last().unwrap_or_default();
        for word in words {
            assert!(last.contains(word), "'{word}' is not in: {text}");
        }
        assert!(site.tree() == before, "something was changed: {text}");
        println!("{last}");
    };
    let [port, _] = site.ports;
    let folder = root.join("peer");
    let good = config(port, &folder);
    refused(
        &good.replace("zone =", "zonne ="),
        true,
        &["zonne", "line 3"],
    );
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    refused(&good, true, &["listen", &port.to_string(), "free the port"]);
    drop(taken);
    // A folder of root's, for a peer that is not.
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(!Account::named("postgres").unwrap().is_root());
    refused(&good, false, &["folder", "not writable"]);
    fs::remove_dir(&folder).unwrap();
    // The folder of another peer, and of another group.
    let _ = chown(root, None, None);
    let born = Command::new(env!("CARGO_BIN_EXE_primacy"))
        .args(["server", "--config"])
        .arg({
            fs::write(root.join("peer.toml"), &good).unwrap();
            root.join("peer.toml")
        })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut born = born.unwrap();
    let began = clock::monotonic();
    while !folder.join("log").exists() && clock::monotonic().since(began) < Duration::from_secs(10)
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    born.kill().unwrap();
    born.wait().unwrap();
    let other = good.replace("id = 1", "id = 2").replace("\n1 =", "\n2 =");
    refused(&other, true, &["folder", "belongs to peer 1", "correct"]);
    let other = good.replace("000000000001\"", "000000000002\"");
    refused(&other, true, &["folder", "belongs to group", "correct"]);
}
