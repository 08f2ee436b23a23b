//! Which safety rule this process breaks on purpose. Only in builds with the feature `mutants`: a release has neither
//! this module nor the name of the variable.

use crate::recovery::Mutation;

use super::{Exit, Failure};

const VARIABLE: &str = "PRIMACY_MUTANT";
/// Which feature level this process speaks, as if it were another build.
const LEVEL: &str = "PRIMACY_MUTANT_LEVEL";

/// Breaks the rule that the environment names, for this process and those that it starts. A name that is no rule's
/// refuses the start. Never inlined: by its name `.ci/no-mutants` knows a binary that can do this.
#[inline(never)]
pub(super) fn take() -> Result<(), Failure> {
    if let Ok(level) = std::env::var(LEVEL) {
        let level = level
            .parse()
            .map_err(|_| Failure::new(Exit::Usage, format!("{LEVEL}={level}: it is no number")))?;
        crate::state::level::pretend(level);
    }
    let Some(name) = std::env::var_os(VARIABLE) else {
        return Ok(());
    };
    let name = name.to_string_lossy();
    let Some(rule) = Mutation::named(&name) else {
        let text = format!("{VARIABLE}={name}: there is no such rule");
        return Err(Failure::new(Exit::Usage, text));
    };
    Mutation::break_everywhere(rule);
    eprintln!("warning: this process breaks the rule {name} on purpose");
    Ok(())
}
