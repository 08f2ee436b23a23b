//! The certificates of the hosts, made by the program under test as a user would who distributes them by hand.

use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::configuration::{self, CLUSTER};
use super::layout::{Host, Kind};

/// The folder of what the harness itself shows.
pub const OWN: &str = "tls";

/// An authority for one run.
pub struct Authority {
    binary: PathBuf,
    folder: PathBuf,
}

impl Authority {
    /// Makes one below `folder`, for this group.
    ///
    /// # Errors
    /// The verb fails; its words are the error.
    pub fn create(binary: &Path, folder: &Path, group: &str) -> anyhow::Result<Authority> {
        let authority = Authority {
            binary: binary.to_owned(),
            folder: folder.join("authority"),
        };
        let mut command = authority.verb(&["authority", "--group", group]);
        command.arg("--folder").arg(&authority.folder);
        run(command)?;
        Ok(authority)
    }

    /// Puts the certificate of a peer or a node below `home`, for its account.
    ///
    /// # Errors
    /// As [`Authority::create`].
    pub fn equip(&self, host: &Host, home: &Path, account: (u32, u32)) -> anyhow::Result<()> {
        let number = host.name.trim_start_matches('p');
        let who: &[&str] = match host.kind {
            Kind::Peer => &["peer", number],
            Kind::Node | Kind::Client | Kind::Watch => &["agent", CLUSTER, &host.name],
        };
        let folder = home.join("certificates");
        let mut command = self.issue(who, &folder);
        command.arg("--host").arg(host.address.to_string());
        run(command)?;
        if host.kind == Kind::Peer {
            self.entrust(home, account)?;
        }
        let files = std::fs::read_dir(&folder)?.map(|file| Ok(file?.path()));
        let files: std::io::Result<Vec<_>> = files.collect();
        for path in files?.iter().chain([&folder]) {
            chown(path, Some(account.0), Some(account.1))?;
        }
        Ok(())
    }

    /// Gives the authority itself to a peer, which then lets newcomers in.
    fn entrust(&self, home: &Path, account: (u32, u32)) -> anyhow::Result<()> {
        let log = configuration::log_folder(home);
        let held = log.join("tls");
        for folder in [&log, &held] {
            std::fs::DirBuilder::new().mode(0o700).create(folder)?;
            chown(folder, Some(account.0), Some(account.1))?;
        }
        let file = held.join("authority.pem");
        // With its mode: nobody else may read it.
        std::fs::copy(self.folder.join("authority.pem"), &file)?;
        Ok(chown(&file, Some(account.0), Some(account.1))?)
    }

    /// Puts the certificate of the harness into `folder`.
    ///
    /// # Errors
    /// As [`Authority::create`].
    pub fn equip_harness(&self, folder: &Path) -> anyhow::Result<()> {
        run(self.issue(&["tool", "jepsen", "--role", "admin"], folder))
    }

    fn issue(&self, who: &[&str], folder: &Path) -> Command {
        let mut command = self.verb(who);
        command.arg("--authority").arg(&self.folder);
        command.arg("--folder").arg(folder);
        command
    }

    fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("cert").args(arguments);
        command
    }
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let output = command.output().context("run the program under test")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}
