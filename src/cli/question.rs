//! What is asked before something is recorded or changed.

use std::io::{IsTerminal, Write, stderr, stdin};

use super::{Exit, Failure};

/// Asks once. Whoever cannot be asked says `--yes`.
pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !stdin().is_terminal() {
        return Err(Failure {
            exit: Exit::Usage,
            text: "nobody can be asked whether this is right".to_owned(),
            hint: Some("look at the plan, and add --yes".to_owned()),
        });
    }
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
    write!(stderr(), "{question} [y/N] ").map_err(failed)?;
    stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
