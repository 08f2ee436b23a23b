//! What the agent does on its host, one function for each act. Nothing here decides.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use super::config::{AgentConfig, InvalidConfig};
use super::observe::blocking;
use crate::clock;
use crate::duty::{Data, Session};
use crate::gate::Admission;
use crate::host::control_file::{self, ControlFile};
use crate::host::data_folder::{self, Content};
use crate::host::settings::{self, Listen, Settings};
use crate::host::wal_page::Wal;
use crate::host::{Account, Binaries, Error, durable, history, processes, server, tools, wal_scan};
use crate::model::{Incarnation, InstanceId, Lineage, Timeline, WalPosition};
use crate::recovery::Source;

/// How long processes may survive SIGKILL before that is an error.
const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// The longest clone or rewind: one read of a terabyte.
const COPIED_WITHIN: Duration = Duration::from_secs(3500);
/// initdb, and the first statements in what it made.
const PREPARED_WITHIN: Duration = Duration::from_secs(600);
/// A synchronous name that nobody carries: whoever promotes a standby behind our back gets no commit
/// acknowledged. Replaced by the recorded names before a promotion.
const NOBODY: &str = "ANY 1 (\"primacy_waits_for_a_promotion\")";
/// In the state folder while a rewind is under way; pg_rewind would remove it from the data folder.
const REWINDING: &str = "rewinding";
const IDENT_MAP: &str = "primacy";

/// The processes of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processes {
    /// Whether any is alive.
    pub is_running: bool,
    /// The living postmaster.
    pub postmaster: Option<i32>,
}

/// The hands of one agent.
#[derive(Debug)]
pub struct Hands {
    config: AgentConfig,
    binaries: Binaries,
    /// The postmaster started last, which may not have written its lock file yet.
    newborn: Mutex<Option<i32>>,
}

type Done<T = ()> = Result<T, Error>;

impl Hands {
    /// Prepares the state folder and the password file. Blocks.
    /// Errors: one sentence for the operator.
    pub fn prepare(config: AgentConfig) -> Result<Hands, InvalidConfig> {
        let explain = |error: Error| InvalidConfig(super::chain(&error));
        let account = config.run_as.as_deref().map(Account::named);
        let account = account.transpose().map_err(explain)?;
        let binaries = Binaries::find(config.binaries.as_deref(), account).map_err(explain)?;
        let hands = Hands {
            config,
            binaries,
            newborn: Mutex::new(None),
        };
        let password = hands.config.replication.password()?;
        let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
        let line = format!("*:*:*:{}:{escaped}\n", hands.config.replication.user);
        hands
            .own_folder(&hands.config.folder)
            .and_then(|()| hands.own_folder(&hands.config.socket_folder()))
            .and_then(|()| durable::write(&hands.passfile(), line.as_bytes()))
            .map_err(explain)?;
        Ok(hands)
    }

    /// Whose hands.
    pub fn instance(&self) -> &InstanceId {
        &self.config.instance
    }

    /// The configuration.
    pub fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// The user that runs PostgreSQL.
    pub fn account(&self) -> Account {
        self.binaries.account
    }

    fn passfile(&self) -> PathBuf {
        self.config.folder.join("passfile")
    }

    fn log(&self) -> PathBuf {
        self.config.folder.join("postgresql.log")
    }

    fn data_path(&self) -> &Path {
        &self.config.data
    }

    fn pg_wal(&self) -> PathBuf {
        self.config.data.join("pg_wal")
    }

    fn own_folder(&self, path: &Path) -> Done {
        let failed = |source| Error::File {
            action: "create folder",
            path: path.to_owned(),
            source,
        };
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
        made.map_err(failed)?;
        if rustix::process::geteuid().is_root() {
            let account = self.binaries.account;
            chown(path, Some(account.uid), Some(account.gid)).map_err(failed)?;
        }
        Ok(())
    }

    // --- what is there -------------------------------------------------------------------------

    /// The processes, without touching the data disk beyond one small cached file. Blocks.
    pub fn processes(&self, known: Option<i32>) -> Processes {
        let newborn = *self.newborn.lock().unwrap_or_else(PoisonError::into_inner);
        let written = processes::postmaster(self.data_path()).ok().flatten();
        if let Some(found) = written {
            return Processes {
                is_running: true,
                postmaster: Some(found.pid),
            };
        }
        let alive = processes::of(self.data_path()).unwrap_or_default();
        let is_ours = |pid: &i32| alive.iter().any(|it| it.pid == *pid);
        Processes {
            is_running: !alive.is_empty(),
            postmaster: newborn.filter(is_ours).or(known.filter(is_ours)),
        }
    }

    /// The timeline of the segment that the startup process replays, from its title, or that of the
    /// control file if that is higher. Blocks for microseconds.
    pub fn replayed_timeline(&self, startup: Option<i32>) -> Timeline {
        let title = startup.and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok());
        let title = title.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
        let replayed = title.as_deref().and_then(timeline_in_title);
        let control = control_file::read(self.data_path()).ok();
        let control = control.map(|it| it.timeline.max(it.min_recovery_timeline));
        replayed.max(control).unwrap_or_default()
    }

    /// What the data folder holds; where its WAL ends only if nothing runs. Blocks on the data disk.
    pub fn data(&self, stopped: bool) -> Data {
        match self.try_data(stopped) {
            Ok(data) => data,
            Err(error) => Data::Foreign {
                why: super::chain(&error),
            },
        }
    }

    fn try_data(&self, stopped: bool) -> Done<Data> {
        let data = self.data_path();
        match data_folder::inspect(data)? {
            Content::Absent | Content::Empty => return Ok(Data::Empty),
            Content::NotEmptyNoCluster => {
                return Ok(Data::Foreign {
                    why: format!(
                        "{} holds files that are no database; move them away",
                        data.display()
                    ),
                });
            }
            Content::Cluster { version } if version != self.binaries.version.to_string() => {
                return Ok(Data::Foreign {
                    why: format!(
                        "{} was made by PostgreSQL {version}, the programs are of {}; install those or upgrade the data",
                        data.display(),
                        self.binaries.version
                    ),
                });
            }
            Content::Cluster { .. } => {}
        }
        let control = control_file::read(data)?;
        let histories = history::read_all(&self.pg_wal())?;
        let genuine = histories.values().rev().find_map(|found| match found {
            history::History::Genuine(lineage) => Some(lineage.clone()),
            history::History::Planted | history::History::Foreign => None,
        });
        let lineage = genuine.unwrap_or(Lineage {
            current: control.timeline,
            left_at: std::collections::BTreeMap::new(),
        });
        let highest_timeline = histories
            .last_key_value()
            .map_or(Timeline(0), |(&timeline, _)| timeline)
            .max(control.timeline)
            .max(control.min_recovery_timeline);
        let incarnation = data_folder::read_incarnation(data, self.instance())
            .inspect_err(
                |error| tracing::error!(error = %super::chain(error), "the filling is not known"),
            )
            .ok()
            .flatten();
        let ends_at = stopped.then(|| self.end_of_wal(&control, None)).flatten();
        Ok(Data::Cluster {
            identity: control.system,
            incarnation,
            standby_signal: data_folder::has_standby_signal(data),
            ends_at,
            lineage,
            highest_timeline,
            interrupted: self.config.folder.join(REWINDING).exists(),
        })
    }

    /// Where valid WAL ends, read from the files; none if that cannot be told. The instance must be
    /// fenced or stopped. Blocks: milliseconds, more if the last checkpoint is far behind.
    pub fn position(&self, session: Option<&Session>) -> Option<WalPosition> {
        let control = control_file::read(self.data_path()).ok()?;
        self.end_of_wal(&control, session.map(|session| session.position))
    }

    fn end_of_wal(
        &self,
        control: &ControlFile,
        replayed: Option<WalPosition>,
    ) -> Option<WalPosition> {
        let wal = Wal {
            folder: self.pg_wal(),
            segment_size: control.segment_size,
            system: control.system,
        };
        let replayed = replayed.filter(|at| at.lsn >= control.redo);
        let near = replayed.and_then(|start| wal_scan::scan(&wal, start).ok());
        if let Some(scan) = near {
            return Some(scan.end);
        }
        match wal_scan::scan(&wal, wal_scan::start_from(control)) {
            Ok(scan) => Some(scan.end),
            Err(error) => {
                tracing::warn!(error = %super::chain(&error), "the end of the WAL is not known");
                None
            }
        }
    }

    /// The last line of PostgreSQL's log, for the operator. Blocks.
    pub fn last_words(&self) -> Option<String> {
        let end = server::log_end(&self.log());
        end.lines().last().map(str::to_owned)
    }

    // --- acts ----------------------------------------------------------------------------------

    /// Kills every process, and removes what would promote the instance at its next start. Needs no
    /// admission: stopping is always safe.
    pub async fn stop_all(&self) -> Done {
        let data = self.config.data.clone();
        let killed = blocking(move || processes::kill_all(&data, KILLED_WITHIN)).await?;
        tracing::info!(instance = %self.instance(), processes = killed.processes, took_ms = killed.took.as_millis() as u64, "every process is stopped");
        *self.newborn.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let data = self.config.data.clone();
        blocking(move || data_folder::remove_promote_trigger(&data).map(drop)).await
    }

    /// Puts settings in force: from a source or from none, with these synchronous names.
    /// Blocks.
    pub fn configure(&self, _by: &Admission, source: Option<&Source>, names: Option<&str>) -> Done {
        self.write_settings(self.data_path(), source, names)?;
        self.reload();
        Ok(())
    }

    fn reload(&self) {
        if let Ok(Some(postmaster)) = processes::postmaster(self.data_path()) {
            processes::signal(self.data_path(), postmaster.pid, Signal::HUP);
        }
    }

    fn write_settings(&self, data: &Path, source: Option<&Source>, names: Option<&str>) -> Done {
        let listen = Listen {
            addresses: self.config.listen().to_owned(),
            port: self.config.port,
            socket_folder: self.config.socket_folder().display().to_string(),
        };
        let conninfo = source.map_or_else(String::new, |source| {
            format!(
                "{} application_name={}",
                self.conninfo(source),
                source.application_name
            )
        });
        let extra = Settings::from([
            ("primary_conninfo".to_owned(), conninfo),
            ("restore_command".to_owned(), String::new()),
            ("primary_slot_name".to_owned(), String::new()),
            ("recovery_min_apply_delay".to_owned(), "0".to_owned()),
            (
                "synchronous_standby_names".to_owned(),
                names.unwrap_or(NOBODY).to_owned(),
            ),
        ]);
        settings::write(data, &settings::base(&listen, 100, &extra), &[])
    }

    fn conninfo(&self, source: &Source) -> String {
        format!(
            "host='{}' port={} user='{}' passfile='{}' connect_timeout=2",
            source.address.host,
            source.address.port,
            self.config.replication.user,
            self.passfile().display()
        )
    }

    /// Who may connect: the agent over the socket, roles with passwords over the network.
    fn write_access(&self, data: &Path) -> Done {
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
        let own = rustix::process::geteuid().as_raw();
        let mut users = vec![self.binaries.account.uid];
        if own != self.binaries.account.uid {
            users.push(own);
        }
        let mut text = String::from("# Written by primacy; changes made here are lost.\n");
        for uid in users {
            let name = user_name(uid);
            text.push_str(&format!("{IDENT_MAP} \"{name}\" \"{superuser}\"\n"));
        }
        durable::write(&data.join("pg_ident.conf"), text.as_bytes())
    }

    /// Makes the next start a standby's, with its settings. Blocks.
    pub fn prepare_standby(&self, _by: &Admission, source: Option<&Source>) -> Done {
        let data = self.data_path();
        data_folder::create_standby_signal(data)?;
        data_folder::remove_promote_trigger(data)?;
        history::remove_planted_above(&self.pg_wal(), Timeline(1))?;
        self.write_settings(data, source, None)?;
        self.write_access(data)
    }

    /// Starts PostgreSQL and returns when the postmaster runs.
    pub async fn start(&self, _by: &Admission) -> Done {
        let pid = server::start(&self.binaries, self.data_path(), &self.log()).await?;
        *self.newborn.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        Ok(())
    }

    /// SIGTERM to every walreceiver, connecting ones included.
    pub fn end_receivers(&self, _by: &Admission) -> Done {
        processes::end_wal_receivers(self.data_path()).map(drop)
    }

    /// Plants history files for every unused number below.
    pub fn plant(&self, _by: &Admission, below: Timeline) -> Done {
        history::plant(&self.pg_wal(), Timeline(2)..below).map(drop)
    }

    /// Creates the first data beside and renames it into place, so that an interruption leaves nothing there.
    pub async fn initialise(&self, by: &Admission, incarnation: Incarnation) -> Done {
        let data = self.data_path();
        let fresh = data_folder::beside(data, ".initialising");
        if fresh.exists() {
            data_folder::rename_aside(&fresh, &clock::wall_stamp())?;
        }
        self.own_folder(&fresh)?;
        tools::initdb(
            &self.binaries,
            &fresh,
            &self.config.superuser,
            PREPARED_WITHIN,
        )
        .await?;
        self.create_roles(&fresh).await?;
        self.write_settings(&fresh, None, None)?;
        self.write_access(&fresh)?;
        data_folder::create_standby_signal(&fresh)?;
        data_folder::write_incarnation(&fresh, self.instance(), incarnation)?;
        // Only an empty folder can be removed so.
        if data.exists() {
            fs::remove_dir(data).map_err(|source| Error::File {
                action: "make room in",
                path: data.to_owned(),
                source,
            })?;
        }
        durable::rename(&fresh, data)?;
        tracing::info!(instance = %self.instance(), epoch = %by.order().epoch, "the first data is created");
        Ok(())
    }

    async fn create_roles(&self, data: &Path) -> Done {
        let password = |role: &super::config::Role| {
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
        // What pg_rewind calls.
        for function in [
            "pg_ls_dir(text, boolean, boolean)",
            "pg_stat_file(text, boolean)",
            "pg_read_binary_file(text)",
            "pg_read_binary_file(text, bigint, bigint, boolean)",
        ] {
            statements.push_str(&format!(
                "GRANT EXECUTE ON FUNCTION {function} TO {role};\n"
            ));
        }
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
    async fn alone(&self, data: &Path, statements: &str) -> Done {
        let path = self.config.folder.join("statements.sql");
        durable::write(&path, statements.as_bytes())?;
        let input = fs::File::open(&path).map_err(|source| Error::File {
            action: "open",
            path: path.clone(),
            source,
        })?;
        durable::remove(&path)?;
        let mut command = self.binaries.command("postgres");
        command
            .args(["--single", "-c", "log_min_messages=error", "-D"])
            .arg(data)
            .arg("postgres")
            .stdin(input);
        let mut refused = None;
        crate::host::programs::run(command, PREPARED_WITHIN, |line| {
            if line.contains("ERROR:") {
                refused = Some(line.to_owned());
            }
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

    /// Rewinds the data to the source's history. The note of which filling it is goes first, and a mark
    /// stays until the new filling is settled.
    pub async fn rewind(&self, _by: &Admission, source: &Source) -> Done {
        let data = self.data_path();
        processes::remove_stale_lock(data)?;
        durable::write(&self.config.folder.join(REWINDING), b"")?;
        durable::remove(&data.join("primacy.incarnation"))?;
        let conninfo = format!("{} dbname=postgres", self.conninfo(source));
        let passfile = self.passfile();
        let from = tools::Source {
            conninfo: &conninfo,
            passfile: Some(&passfile),
        };
        let said = tools::rewind(&self.binaries, from, data, COPIED_WITHIN).await?;
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
            durable::remove(&fresh.join("primacy.incarnation"))?;
            self.write_settings(fresh, None, None)?;
            self.write_access(fresh)
        };
        let stamp = clock::wall_stamp();
        let cloned = tools::clone_beside(
            &self.binaries,
            from,
            self.data_path(),
            &stamp,
            COPIED_WITHIN,
            |_| (),
            prepare,
        )
        .await?;
        tracing::info!(instance = %self.instance(), source = %source.instance, kept = ?cloned.old_data, "the source is cloned");
        Ok(())
    }

    /// Notes which filling the data became, with this instance's own settings in place.
    pub fn settle(&self, _by: &Admission, incarnation: Incarnation, source: &Source) -> Done {
        let data = self.data_path();
        data_folder::create_standby_signal(data)?;
        self.write_settings(data, Some(source), None)?;
        self.write_access(data)?;
        data_folder::write_incarnation(data, self.instance(), incarnation)?;
        durable::remove(&self.config.folder.join(REWINDING)).map(drop)
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

/// `postgres: startup recovering 000000020000000000000003` → 2
fn timeline_in_title(title: &str) -> Option<Timeline> {
    let segment = title
        .split_whitespace()
        .rfind(|word| word.len() == 24 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(&segment[..8], 16).ok().map(Timeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_of_the_startup_process_names_its_timeline() {
        for (title, timeline) in [
            (
                "postgres: startup recovering 0000000A0000000000000003",
                Some(Timeline(10)),
            ),
            (
                "postgres: pg-a: startup waiting for 000000020000000000000003 ",
                Some(Timeline(2)),
            ),
            ("postgres: startup ", None),
        ] {
            assert_eq!(timeline_in_title(title), timeline, "{title}");
        }
    }
}
