//! PostgreSQL's settings and who may connect.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;

use super::{Done, Hands, identity_in};
use crate::broken;
use crate::gate::Admission;
use crate::host::settings::{self, Listen, Settings};
use crate::host::{control_file, data_folder, durable, processes};
use crate::model::cluster::slot_name;
use crate::recovery::Source;

/// A synchronous name that nobody carries: whoever promotes a standby behind our back gets no commit
/// acknowledged. Replaced by the recorded names before a promotion.
const NOBODY: &str = "ANY 1 (\"primacy_waits_for_a_promotion\")";
const IDENT_MAP: &str = "primacy";

impl Hands {
    /// Puts settings in force: from a source or from none, with these synchronous names.
    /// Blocks.
    pub fn configure(&self, _by: &Admission, source: Option<&Source>, names: Option<&str>) -> Done {
        self.write_settings(self.data_path(), source, names)?;
        self.reload();
        Ok(())
    }

    pub(super) fn reload(&self) {
        if let Ok(Some(postmaster)) = processes::postmaster(self.place()) {
            processes::signal(self.place(), postmaster.pid, Signal::HUP);
        }
    }

    pub(super) fn write_settings(
        &self,
        data: &Path,
        source: Option<&Source>,
        names: Option<&str>,
    ) -> Done {
        let listen = Listen {
            addresses: self.config.listen().to_owned(),
            port: self.config.port,
            socket_folder: self.socket_folders(),
        };
        let conninfo = source.map_or_else(String::new, |source| {
            format!(
                "{} application_name={}",
                self.conninfo(source),
                source.application_name
            )
        });
        let slot = source.map_or_else(String::new, |_| slot_name(self.instance()));
        let mut extra = Settings::from([
            ("primary_conninfo".to_owned(), conninfo),
            ("restore_command".to_owned(), String::new()),
            ("primary_slot_name".to_owned(), slot),
            ("recovery_min_apply_delay".to_owned(), "0".to_owned()),
            (
                "synchronous_standby_names".to_owned(),
                names.unwrap_or(own_names()).to_owned(),
            ),
        ]);
        if source.is_some()
            && let Ok(control) = control_file::read(data)
        {
            // Its own may be less, if the primary was given more while it was away.
            let least = control.least.into_iter();
            extra.extend(least.map(|(name, number)| (name.to_owned(), number.to_string())));
        }
        let connections = self.config.max_connections;
        settings::write(data, &settings::base(&listen, connections, &extra), &[])
    }

    pub(super) fn conninfo(&self, source: &Source) -> String {
        format!(
            "host='{}' port={} user='{}' passfile='{}' connect_timeout=2",
            source.address.host,
            source.address.port,
            self.config.replication.user,
            self.passfile().display()
        )
    }

    /// Where PostgreSQL's sockets are: the agent's own, and where they were before it was taken over.
    fn socket_folders(&self) -> String {
        let own = self.config.socket_folder().display().to_string();
        let before = self.consent.iter().flat_map(|it| &it.socket_folders);
        // One that is missing, as after a boot, would keep PostgreSQL from starting.
        let there = before.filter(|folder| **folder != own && Path::new(folder).is_dir());
        let all: Vec<_> = std::iter::once(&own).chain(there).cloned().collect();
        all.join(", ")
    }

    /// Who may connect to a database that was taken over: whoever could before, and its standbys.
    fn access_of_standbys(&self) -> Vec<String> {
        let replication = &self.config.replication.user;
        let rules = |from: &String| {
            ["replication", "postgres"]
                .map(|database| format!("host {database} \"{replication}\" {from} scram-sha-256"))
        };
        self.config.access.iter().flat_map(rules).collect()
    }

    /// Who may connect: the agent over the socket, roles with passwords over the network.
    pub(super) fn write_access(&self, data: &Path) -> Done {
        let is_offered = self.consent.is_some() && data_folder::read_filling(data)?.is_none();
        let is_first = is_offered && identity_in(&self.config.folder)?.is_none();
        if is_first || settings::keeps_hba(data)? {
            return settings::write_hba_before(data, &self.access_of_standbys());
        }
        let superuser = &self.config.superuser;
        let replication = &self.config.replication.user;
        let mut rules = vec![
            format!("local all \"{superuser}\" peer map={IDENT_MAP}"),
            "local all all scram-sha-256".to_owned(),
        ];
        for from in &self.config.access {
            rules.push(format!(
                "host replication \"{replication}\" {from} scram-sha-256"
            ));
            rules.push(format!("host all \"{superuser}\" {from} reject"));
            rules.push(format!("host all all {from} scram-sha-256"));
        }
        settings::write_hba(data, &rules)?;
        // Root could become any of them.
        let root = 0;
        let own = rustix::process::geteuid().as_raw();
        let users = BTreeSet::from([root, own, self.binaries.account.uid]);
        let mut text = String::from("# Written by primacy; changes made here are lost.\n");
        for uid in users {
            let name = user_name(uid);
            text.push_str(&format!("{IDENT_MAP} \"{name}\" \"{superuser}\"\n"));
        }
        durable::write(&data.join("pg_ident.conf"), text.as_bytes())
    }
}

/// The synchronous names of whoever is no primary.
fn own_names() -> &'static str {
    // A promotion that keeps them is noticed only if they are those of nobody who waits.
    if broken!(OwnSynchronousNames) {
        ""
    } else {
        NOBODY
    }
}

/// The name of a user of this system; its number if it has none.
fn user_name(uid: u32) -> String {
    let output = std::process::Command::new("id")
        .args(["-un", "--"])
        .arg(uid.to_string())
        .output();
    let name = output.ok().filter(|it| it.status.success());
    let name = name.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| uid.to_string())
}
