//! Filling the data folder: the first data, a rewind, a clone, and the note of what it became.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::task::block_in_place;

use super::{Done, Hands, IDENTITY, REWINDING, make_parent};
use crate::agent::chain;
use crate::agent::config::Role;
use crate::clock;
use crate::gate::Admission;
use crate::host::data_folder::Filling;
use crate::host::programs::{Line, run};
use crate::host::tools::{self, Patience};
use crate::host::{Error, control_file, data_folder, durable, processes};
use crate::model::{Incarnation, SystemIdentifier};
use crate::recovery::Source;

/// When a clone is given up: a checkpoint of the source and the flush of a terabyte take their time.
const COPYING: Patience = Patience {
    without_a_byte: Duration::from_secs(60),
    otherwise: Duration::from_secs(900),
};
/// The longest rewind: one read of a terabyte.
const REWOUND_WITHIN: Duration = Duration::from_secs(3500);
/// In the state folder: which copy beside the data folder is the present clone's.
const CLONING: &str = "cloning";
/// In the state folder: which folder beside the data folder is that of the first data, not whole yet.
const INITIALISING: &str = "initialising";
/// initdb, and the first statements in what it made.
const PREPARED_WITHIN: Duration = Duration::from_secs(600);

impl Hands {
    /// Creates the first data beside and renames it into place, so that an interruption leaves nothing there.
    /// What an earlier try left beside is removed if it is ours, and kept under another name if not.
    pub async fn initialise(&self, by: &Admission, incarnation: Incarnation) -> Done {
        let data = self.data_path();
        let fresh = data_folder::beside(data, ".initialising");
        let mark = self.config.folder.join(INITIALISING);
        block_in_place(|| make_parent(&fresh))?;
        let account = self.binaries.account;
        tools::make_room(&fresh, &mark, &clock::wall_stamp(), account).await?;
        tools::initdb(
            &self.binaries,
            &fresh,
            &self.config.superuser,
            PREPARED_WITHIN,
        )
        .await?;
        self.create_roles(&fresh).await?;
        block_in_place(|| {
            self.write_settings(&fresh, None, None)?;
            self.write_access(&fresh)?;
            data_folder::create_standby_signal(&fresh)?;
            data_folder::write_filling(&fresh, &self.filling(by, incarnation))?;
            self.note_identity(control_file::read(&fresh)?.system)?;
            // Only an empty folder can be removed so.
            if data.exists() {
                let removed = durable::Folder::around(data);
                let removed = removed.and_then(|(_above, held)| fs::remove_dir(held));
                removed.map_err(|source| Error::File {
                    action: "make room in",
                    path: data.to_owned(),
                    source,
                })?;
            }
            // First, or after a crash between the two it would name the data.
            durable::remove(&mark)?;
            durable::rename(&fresh, data)
        })?;
        tracing::info!(instance = %self.instance(), epoch = %by.order().epoch, "the first data is created");
        Ok(())
    }

    async fn create_roles(&self, data: &Path) -> Done {
        let password = |role: &Role| {
            role.password().map_err(|error| Error::Malformed {
                path: role.password_file.clone(),
                reason: error.to_string(),
            })
        };
        let name = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let role = name(&self.config.replication.user);
        let mut statements = format!(
            "CREATE ROLE {role} LOGIN REPLICATION PASSWORD {};\n",
            literal(&password(&self.config.replication)?)
        );
        statements.push_str(&grants(&role));
        if let Some(application) = &self.config.application {
            let owner = name(&application.user);
            statements.push_str(&format!(
                "CREATE ROLE {owner} LOGIN PASSWORD {};\nALTER DATABASE postgres OWNER TO {owner};\nALTER SCHEMA public OWNER TO {owner};\n",
                literal(&password(application)?)
            ));
        }
        self.alone(data, &statements).await
    }

    /// Runs statements in single-user mode: nobody else can connect.
    pub(super) async fn alone(&self, data: &Path, statements: &str) -> Done {
        let path = self.config.folder.join("statements.sql");
        let input = block_in_place(|| {
            durable::write(&path, statements.as_bytes())?;
            let input = durable::open(&path)?.ok_or_else(|| Error::File {
                action: "open",
                path: path.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            })?;
            durable::remove(&path)?;
            Ok::<_, Error>(input)
        })?;
        let mut command = self.binaries.command("postgres");
        command
            .args(["--single", "-c", "log_min_messages=error", "-D"])
            .arg(data)
            .arg("postgres")
            .stdin(input);
        let mut refused = None;
        run(command, PREPARED_WITHIN, |line| {
            if line.contains("ERROR:") {
                refused = Some(line.to_owned());
            }
            Line::Words
        })
        .await?;
        match refused {
            None => Ok(()),
            Some(stderr) => Err(Error::Program {
                program: "postgres --single".to_owned(),
                status: "a statement was refused".to_owned(),
                stderr,
            }),
        }
    }

    /// Rewinds the data to the source's history, once the WAL is kept aside that only it has. The note of which filling it
    /// is goes first, and a mark stays until the new filling is settled.
    pub async fn rewind(&self, _by: &Admission, source: &Source) -> Done {
        let data = self.data_path();
        block_in_place(|| {
            processes::remove_stale_lock(data)?;
            self.keep_wal(source)?;
            durable::write(&self.config.folder.join(REWINDING), b"")?;
            data_folder::remove_filling(data)
        })?;
        let conninfo = format!("{} dbname=postgres", self.conninfo(source));
        let passfile = self.passfile();
        let from = tools::Source {
            conninfo: &conninfo,
            passfile: Some(&passfile),
        };
        let said = tools::rewind(&self.binaries, from, data, REWOUND_WITHIN).await?;
        if said.contains("no rewind required") {
            // It is only told to rewind because it cannot follow: a rewind that changes nothing is no help.
            return Err(Error::Program {
                program: "pg_rewind".to_owned(),
                status: "it changed nothing".to_owned(),
                stderr: said,
            });
        }
        tracing::info!(instance = %self.instance(), source = %source.instance, said, "the data is rewound");
        Ok(())
    }

    /// Clones the source beside the data and renames the old data aside.
    pub async fn clone_source(&self, _by: &Admission, source: &Source) -> Done {
        let conninfo = self.conninfo(source);
        let passfile = self.passfile();
        let from = tools::Source {
            conninfo: &conninfo,
            passfile: Some(&passfile),
        };
        let prepare = |fresh: &Path| {
            // A copy of another instance's note is nobody's.
            data_folder::remove_filling(fresh)?;
            self.note_identity(control_file::read(fresh)?.system)?;
            self.write_settings(fresh, None, None)?;
            self.write_access(fresh)
        };
        let folders = tools::Folders {
            data: self.data_path(),
            stamp: &clock::wall_stamp(),
            mark: &self.config.folder.join(CLONING),
        };
        let apart = block_in_place(|| self.apart(source));
        let cloned = tools::clone_beside(&self.binaries, from, folders, COPYING, prepare).await?;
        // The copy is in its place: to do it all again for a note would fill the disk.
        if let Err(error) = block_in_place(|| self.keep_data(cloned.old_data.as_deref(), apart)) {
            tracing::warn!(error = %chain(&error), "where the old data is kept cannot be noted");
        }
        tracing::info!(instance = %self.instance(), source = %source.instance, kept = ?cloned.old_data, "the source is cloned");
        Ok(())
    }

    /// Notes which filling the data became, with this instance's own settings in place.
    pub fn settle(&self, by: &Admission, incarnation: Incarnation, source: &Source) -> Done {
        let data = self.data_path();
        data_folder::create_standby_signal(data)?;
        self.write_settings(data, Some(source), None)?;
        self.write_access(data)?;
        data_folder::write_filling(data, &self.filling(by, incarnation))?;
        self.note_identity(control_file::read(data)?.system)?;
        durable::remove(&self.config.folder.join(REWINDING)).map(drop)
    }

    pub(super) fn filling(&self, by: &Admission, incarnation: Incarnation) -> Filling {
        Filling {
            group: by.group().to_owned(),
            cluster: self.config.cluster.clone(),
            instance: self.config.instance.clone(),
            incarnation,
        }
    }

    /// Notes outside the data folder which database system it is about to hold.
    pub(super) fn note_identity(&self, system: SystemIdentifier) -> Done {
        let text = format!("{system}\n");
        durable::write(&self.config.folder.join(IDENTITY), text.as_bytes())
    }
}

/// What pg_rewind calls as this role.
pub(super) fn grants(role: &str) -> String {
    let functions = [
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    ];
    functions
        .map(|function| format!("GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {role};\n"))
        .concat()
}
