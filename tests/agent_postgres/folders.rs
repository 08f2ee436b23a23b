//! Folders that an agent cannot work in, and a data folder that is another's: refused like any other host that
//! does not fit.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use primacy::host::{Account, processes};

use crate::now;
use crate::rig::give_to_postgres;
use crate::start::{Site, as_postgres};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_parent_that_cannot_be_used_is_refused() {
    let site = Site::new();
    let closed = site.path("closed");
    fs::create_dir(&closed).unwrap();
    mode(&closed, 0o700);
    chown(&closed, Some(0), Some(0)).unwrap();
    // The agent is root, PostgreSQL is not.
    for (from, field) in [("/data\"", "`data`"), ("/state/agent", "`folder`")] {
        let config = site.config().replace(from, &format!("/closed{from}"));
        let words = [
            field,
            "does not get through",
            closed.to_str().unwrap(),
            "chmod +x",
        ];
        site.refused(&config, &words);
    }
    // An agent that is not root cannot make a copy beside the data, or its folder.
    mode(&closed, 0o755);
    let data = closed.join("data");
    fs::create_dir(&data).unwrap();
    give_to_postgres(&data);
    for (from, field) in [("/data\"", "`data`"), ("/state/agent", "`folder`")] {
        let config = site.config().replace(from, &format!("/closed{from}"));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &config).unwrap();
        mode(file.path(), 0o644);
        let before = site.tree();
        let program = env!("CARGO_BIN_EXE_primacy");
        let said = as_postgres(&[program, "agent", "--config", file.path().to_str().unwrap()]);
        let text = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(2), "{text}");
        for word in [field, closed.to_str().unwrap(), "not writable"] {
            assert!(text.contains(word), "'{word}' is not in: {text}");
        }
        assert!(site.tree() == before, "something was changed: {text}");
        println!("{text}");
    }
}

#[test]
fn a_data_folder_that_is_a_mount_is_refused() {
    let site = Site::new();
    let data = site.path("data");
    fs::create_dir(&data).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&data)
        .status()
        .unwrap();
    assert!(mounted.success(), "tests run as root, and root may mount");
    give_to_postgres(&data);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        site.refused(
            &site.config(),
            &["`data`", "mounted", "choose a folder in it"],
        );
    }));
    let unmounted = Command::new("umount").arg(&data).status().unwrap();
    assert!(unmounted.success() && refused.is_ok());
}

#[test]
fn a_server_with_another_port_is_refused() {
    let site = Site::new();
    let data = site.path("data");
    fs::create_dir(&data).unwrap();
    give_to_postgres(&data);
    let mut command = Command::new("sleep");
    command.arg("60").current_dir(&data);
    // What root runs there is no server.
    if rustix::process::geteuid().is_root() {
        let account = Account::named("postgres").unwrap();
        command.uid(account.uid).gid(account.gid);
    }
    let server = Process(command.spawn().unwrap());
    let [port, _] = site.ports;
    let lock = format!("{}\n{}\n1\n5999\n", server.0.id(), data.display());
    fs::write(data.join("postmaster.pid"), lock).unwrap();
    let own = port.to_string();
    site.refused(
        &site.config(),
        &["`port`", &own, "`data`", "5999", "correct"],
    );
    drop(server);
    assert!(processes::of(&data).unwrap().is_empty());
}

#[test]
fn a_data_folder_on_which_another_agent_works_is_refused() {
    let site = Site::new();
    assert!(!Account::named("postgres").unwrap().is_root());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), site.config()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_primacy"));
    command.arg("agent").arg("--config").arg(file.path());
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let _first = Process(command.spawn().unwrap());
    // The last file that its start writes.
    let began = now();
    while !site.path("state/agent/passfile").exists() {
        assert!(now().since(began) < Duration::from_secs(15));
        std::thread::sleep(Duration::from_millis(5));
    }
    // A folder and ports of its own, and the data of the other.
    let [port, health] = site.ports;
    let second = site
        .config()
        .replace("/state/agent", "/state/second")
        .replace(&port.to_string(), &crate::rig::free_port().to_string())
        .replace(&health.to_string(), &crate::rig::free_port().to_string());
    site.refused(&second, &["another agent", "`data`", "stop it"]);
}
