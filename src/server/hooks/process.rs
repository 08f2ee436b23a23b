//! Runs one program of the user's to its end, or to the end of its time.

use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long one program may take: whoever is to be told answers sooner, and a failover waits for it.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// What it said is waited for so long after its end: whatever it left behind may hold its output open.
const SAID_WITHIN: Duration = Duration::from_secs(1);
/// The most bytes of what it said last that are kept.
const SAID: usize = 100;

/// What became of a program: whether it did well, and what it said last.
pub(super) struct Ended {
    pub passed: bool,
    pub words: String,
}

/// Ends what is left of a program, whatever became of whoever waited for it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody of it may be left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn command(shell: &str, text: &str, variables: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(shell);
    command
        .arg("-c")
        .arg(text)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

/// In bash, as orchestrator does, or where there is none in `sh`.
fn spawn(text: &str, variables: &[(&'static str, String)]) -> std::io::Result<Child> {
    match command("bash", text, variables).spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => command("sh", text, variables).spawn(),
        spawned => spawned,
    }
}

pub(super) async fn run(text: &str, variables: &[(&'static str, String)]) -> Ended {
    let failed = |words: String| Ended {
        passed: false,
        words,
    };
    let mut child = match spawn(text, variables) {
        Ok(child) => child,
        Err(error) => return failed(format!("it cannot be run: {error}")),
    };
    let pid = child.id().and_then(|it| i32::try_from(it).ok());
    let mut group = Group(pid.and_then(Pid::from_raw));
    let (mut out, mut err) = (Tail::default(), Tail::default());
    let pipes = (child.stdout.take(), child.stderr.take());
    let status = {
        let said = async {
            tokio::join!(out.read(pipes.0), err.read(pipes.1));
        };
        let mut said = std::pin::pin!(said);
        let mut has_said = false;
        let ended = timeout(WITHIN, async {
            tokio::select! {
                status = child.wait() => return status,
                () = &mut said => has_said = true,
            }
            child.wait().await
        });
        let ended = ended.await.ok();
        if ended.is_some() && !has_said {
            let _ = timeout(SAID_WITHIN, &mut said).await;
        }
        ended
    };
    let said = [err.text(), out.text()].concat();
    let said = said.trim();
    match status {
        Some(Ok(status)) => {
            // What it started aside goes on.
            group.0 = None;
            Ended {
                passed: status.success(),
                words: format!("{}: {said}", in_words(status)),
            }
        }
        Some(Err(error)) => failed(error.to_string()),
        None => failed(format!(
            "it did not end within {} s: {said}",
            WITHIN.as_secs()
        )),
    }
}

fn in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit {code}"),
        None => status.to_string(),
    }
}

/// The end of what is read.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut part).await {
            self.0.extend_from_slice(&part[..count]);
            let surplus = self.0.len().saturating_sub(SAID);
            self.0.drain(..surplus);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn how_it_ended_and_what_it_said() {
        let variables = [("ORC_FAILED_HOST", "a; exit 3".to_owned())];
        let ended = run("echo to ${ORC_FAILED_HOST}; echo wrong >&2", &variables).await;
        assert!(ended.passed);
        assert_eq!(ended.words, "exit 0: wrong\nto a; exit 3");
        let ended = run("echo no; exit 7", &[]).await;
        assert!(!ended.passed);
        assert_eq!(ended.words, "exit 7: no");
        assert!(!run("/nowhere/nothing", &[]).await.passed);
        // What it leaves behind holds its output open.
        let ended = run("sleep 20 & echo started", &[]).await;
        assert_eq!(ended.words, "exit 0: started");
    }
}
