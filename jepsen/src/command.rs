//! Running a tool of the system to its end, within a time limit.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::clock;

/// No tool that is used here takes longer.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(1);

/// Runs `command` with `input` as its standard input; answers with what it printed.
///
/// # Errors
/// It cannot be started, fails, or does not end within 30 s (then it is killed). Its words are the error.
pub fn run(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let what = format!("{command:?}").replace('"', "");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {what}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that ends early says why by itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let began = clock::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if clock::now().since(began) > ENDS_WITHIN {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{what} does not end");
        }
        std::thread::sleep(POLL);
    };
    let (mut printed, mut complaint) = (String::new(), String::new());
    if let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) {
        stdout.read_to_string(&mut printed)?;
        stderr.read_to_string(&mut complaint)?;
    }
    ensure!(status.success(), "{what}: {}", complaint.trim());
    Ok(printed)
}

/// [`run`] for `program` with `arguments` and no input.
///
/// # Errors
/// As [`run`].
pub fn tool(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run(Command::new(program).args(arguments), "")
}
