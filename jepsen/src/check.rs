//! `jepsen check`: the verdicts on a recorded history.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;

use crate::checker::{self, Verdict};
use crate::history::{History, Recorder};

/// Most bytes of a history: a soak of a day has a tenth of that.
const LONGEST: u64 = 1 << 30;

/// What is judged.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// A history: EDN if its name ends in .edn, else JSON lines; or a folder of clients' logs
    history: PathBuf,
    /// Also write the history as EDN, as Elle reads it
    #[arg(long)]
    edn: Option<PathBuf>,
}

/// Prints the verdicts: 0 if all are valid, 1 if one is invalid, 2 if one is unknown or the history
/// cannot be judged.
pub fn run(options: &Options) -> ExitCode {
    match judge(options) {
        Ok((text, code)) => {
            print(&text);
            ExitCode::from(code)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn judge(options: &Options) -> anyhow::Result<(String, u8)> {
    let place = options.history.display();
    let history = read(&options.history).with_context(|| format!("read {place}"))?;
    if let Some(edn) = &options.edn {
        fs::write(edn, history.to_edn()).with_context(|| format!("write {}", edn.display()))?;
    }
    let verdicts = checker::judge(&history).with_context(|| format!("judge {place}"))?;
    ensure!(!verdicts.is_empty(), "{place} holds nothing to judge");
    let mut text = format!("{place}: {} events\n", history.events().len());
    let mut code = 0;
    for (name, verdict) in verdicts {
        writeln!(text, "{name:<16} {verdict}")?;
        code = match (code, verdict) {
            (1, _) | (_, Verdict::Invalid(_)) => 1,
            (_, Verdict::Unknown(_)) => 2,
            (code, Verdict::Valid) => code,
        };
    }
    Ok((text, code))
}

fn read(path: &Path) -> anyhow::Result<History> {
    if path.is_dir() {
        return Ok(Recorder::read(path)?);
    }
    let length = fs::metadata(path)?.len();
    ensure!(
        length <= LONGEST,
        "it has {length} bytes, and {LONGEST} is the most that is judged"
    );
    let text = fs::read_to_string(path)?;
    let is_edn = path.extension().is_some_and(|extension| extension == "edn");
    let history = if is_edn {
        History::from_edn(&text)
    } else {
        History::from_json_lines(&text)
    };
    Ok(history?)
}

#[expect(clippy::print_stdout, reason = "verdicts are printed")]
fn print(text: &str) {
    print!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: u8, said: &str) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let options = Options {
            history: golden.join(name),
            edn: None,
        };
        let (text, code) = judge(&options).unwrap();
        assert_eq!(code, expected, "{text}");
        assert!(text.contains(said), "{text}");
    }

    #[test]
    fn the_worst_verdict_decides() {
        check("set-clean.edn", 0, "set              valid");
        check("split-brain.edn", 1, "INVALID\n    old-primary: ");
        check("set-unread.edn", 2, "unknown: the set was never read");
    }

    #[test]
    fn a_history_that_is_too_long_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.edn");
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("is the most"), "{refused}");
    }

    #[test]
    fn json_lines_and_folders_of_logs_are_read_too() {
        let folder = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/set-clean.edn");
        let history = read(&golden).unwrap();
        let log = folder.path().join("000-set.jsonl");
        fs::write(&log, history.to_json_lines()).unwrap();
        assert_eq!(read(&log).unwrap(), history);
        assert_eq!(read(folder.path()).unwrap(), history);
    }
}
