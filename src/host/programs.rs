//! PostgreSQL's programs: where they are, and how one of them is run to its end.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::account::Account;
use super::error::{Error, Result, on};

/// The oldest major version that is supported.
pub const OLDEST_SUPPORTED: u32 = 15;
/// What an agent runs.
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "pg_basebackup", "pg_rewind"];

/// The folder with PostgreSQL's programs and the user that runs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The folder with `postgres`, `pg_rewind` and the others.
    pub folder: PathBuf,
    /// The user that owns the data folder.
    pub account: Account,
    /// The major version, at least [`OLDEST_SUPPORTED`].
    pub version: u32,
}

impl Binaries {
    /// Finds the programs: in `folder` if given, else those of version `made_by` or the newest of
    /// `/usr/lib/postgresql/*/bin`, and asks `postgres --version`. `account` is needed when this process is root. Blocks.
    /// Errors: [`Error::NoBinaries`] (missing or too old), [`Error::Root`].
    pub fn find(
        folder: Option<&Path>,
        made_by: Option<u32>,
        account: Option<Account>,
    ) -> Result<Binaries> {
        let account = account.unwrap_or_else(Account::own);
        if account.is_root() {
            return Err(Error::Root);
        }
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => debian_folder(made_by),
        };
        let version = version_in(&folder).map_err(|reason| Error::NoBinaries {
            folder: folder.clone(),
            reason,
        })?;
        Ok(Binaries {
            folder,
            account,
            version,
        })
    }

    /// A command for one of the programs: as the right user, in the C locale, without the
    /// variables by which the environment could point it at another server.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.clean(Command::new(self.folder.join(program)))
    }

    /// Gives any command the user and the clean environment of PostgreSQL's programs.
    pub(crate) fn clean(&self, mut command: Command) -> Command {
        if rustix::process::geteuid().is_root() {
            command.uid(self.account.uid).gid(self.account.gid);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
            .env("LC_ALL", "C")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }
}

/// What a line of a program's stderr is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// For the operator, if the program fails.
    Words,
    /// The program got on: it has so long until it must do so again.
    Progress(Duration),
}

/// Runs a program to its end and returns its stdout. `on_line` sees each line of stderr, and may give it
/// more time.
/// The program gets a process group of its own, and the whole group is killed when the time is over or the
/// future is dropped (pg_rewind and pg_basebackup have children that write). Its agent may be killed before
/// that: a program that writes a data folder must work in it, so that the next agent finds and stops it.
/// Any other works in `/`.
///
/// Errors: [`Error::Program`] with the end of its stderr, [`Error::Deadline`], [`Error::Stalled`],
/// [`Error::File`].
pub(crate) async fn run(
    mut command: Command,
    deadline: Duration,
    mut on_line: impl FnMut(&str) -> Line,
) -> Result<String> {
    let path = PathBuf::from(command.as_std().get_program());
    let program = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    if command.as_std().get_current_dir().is_none() {
        command.current_dir("/");
    }
    let mut child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(on("run", &path))?;
    let group = Group(child.id());
    let mut output = child.stdout.take().expect("stdout is a pipe");
    let errors = child.stderr.take().expect("stderr is a pipe");
    let mut lines = BufReader::new(errors).lines();
    let mut text = String::new();
    let mut said = Said::default();
    let mut within = deadline;
    let finished = {
        let mut read = pin!(output.read_to_string(&mut text));
        let mut late = pin!(tokio::time::sleep(within));
        let (mut is_read, mut is_heard) = (false, false);
        loop {
            tokio::select! {
                line = lines.next_line(), if !is_heard => match line {
                    Ok(Some(line)) => {
                        let kind = on_line(&line);
                        said.keep(line, kind);
                        if let Line::Progress(more) = kind {
                            within = more;
                            late.set(tokio::time::sleep(more));
                        }
                    }
                    Ok(None) | Err(_) => is_heard = true,
                },
                _ = &mut read, if !is_read => is_read = true,
                ended = child.wait(), if is_read && is_heard => break Some(ended),
                () = &mut late => break None,
            }
        }
    };
    let stderr = said.lines.join("\n");
    match finished {
        Some(Ok(status)) => {
            group.ended();
            if status.success() {
                Ok(text)
            } else {
                Err(Error::Program {
                    program,
                    status: status.to_string(),
                    stderr,
                })
            }
        }
        Some(Err(error)) => Err(on("wait for", &path)(error)),
        None => {
            drop(group);
            child.wait().await.map_err(on("wait for", &path))?;
            Err(match said.had_progress {
                true => Error::Stalled {
                    program,
                    after: within,
                    stderr,
                },
                false => Error::Deadline {
                    program,
                    after: within,
                    stderr,
                },
            })
        }
    }
}

/// How many lines of a program's stderr an error keeps.
const KEPT_LINES: usize = 40;

/// The end of a program's stderr; of its progress only the last line.
#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ends_in_progress: bool,
    had_progress: bool,
}

impl Said {
    fn keep(&mut self, line: String, kind: Line) {
        let is_progress = kind != Line::Words;
        if self.ends_in_progress && is_progress {
            self.lines.pop();
        }
        if self.lines.len() == KEPT_LINES {
            self.lines.remove(0);
        }
        self.lines.push(line);
        self.ends_in_progress = is_progress;
        self.had_progress |= is_progress;
    }
}

/// Kills a process group when dropped before its end was seen.
struct Group(Option<u32>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.and_then(|id| Pid::from_raw(id as i32)) {
            // It may have ended in between.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Where Debian keeps the programs of this version; of the newest if they are not there.
fn debian_folder(version: Option<u32>) -> PathBuf {
    let root = Path::new("/usr/lib/postgresql");
    let of = |version: u32| root.join(version.to_string()).join("bin");
    if let Some(found) = version.map(of).filter(|folder| folder.exists()) {
        return found;
    }
    let newest = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max();
    match newest {
        Some(version) => of(version),
        None => of(OLDEST_SUPPORTED),
    }
}

fn version_in(folder: &Path) -> std::result::Result<u32, String> {
    let is_program = |name: &&str| {
        let found = folder.join(name).metadata();
        found.is_ok_and(|it| it.is_file() && it.mode() & 0o111 != 0)
    };
    if let Some(missing) = PROGRAMS.iter().find(|name| !is_program(name)) {
        return Err(format!("'{missing}' is not there"));
    }
    let program = folder.join("postgres");
    let output = std::process::Command::new(&program)
        .arg("--version")
        .output()
        .map_err(|error| format!("'postgres --version' does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match major_version(&text) {
        Some(version) if version >= OLDEST_SUPPORTED => Ok(version),
        Some(version) => Err(format!("version {version} is too old")),
        None => Err(format!("'postgres --version' says '{}'", text.trim())),
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15; betas and release candidates too.
pub(crate) fn major_version(text: &str) -> Option<u32> {
    let number = text.split(") ").nth(1)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, version) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15),
            ("postgres (PostgreSQL) 9.6.2", 9),
            ("postgres (PostgreSQL) 17beta1", 17),
        ] {
            assert_eq!(major_version(text), Some(version), "{text}");
        }
        assert_eq!(major_version("nonsense"), None);
    }

    #[test]
    fn a_folder_without_programs_is_named() {
        let account = Some(Account { uid: 1, gid: 1 });
        let error = Binaries::find(Some(Path::new("/nowhere/bin")), None, account).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("/nowhere/bin") && text.contains("install"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_program_is_heard_and_ended() {
        let script = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        };
        let short = Duration::from_secs(3);
        let long = Duration::from_secs(30);
        let output = run(script("echo out"), long, |_| Line::Words)
            .await
            .unwrap();
        assert_eq!(output, "out\n");
        let failed = run(script("echo why >&2; exit 3"), long, |_| Line::Words).await;
        assert!(
            matches!(&failed, Err(Error::Program { stderr, .. }) if stderr == "why"),
            "{failed:?}"
        );
        // Its child, which holds the pipes, is ended with it.
        let late = run(script("echo busy >&2; sleep 60; true"), short, |_| {
            Line::Words
        })
        .await;
        assert!(
            matches!(&late, Err(Error::Deadline { stderr, .. }) if stderr == "busy"),
            "{late:?}"
        );
    }
}
