//! Whether what should have happened did: a run whose faults were never installed shows nothing.

use std::fmt;

use super::fault::Fault;
use super::{Outcome, Record};

/// A required fault that was never installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    /// Which.
    pub fault: Fault,
    /// What became of its attempts; empty if there was none.
    pub attempts: Vec<Outcome>,
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was never installed", self.fault.name())?;
        for attempt in &self.attempts {
            write!(f, "; {attempt}")?;
        }
        Ok(())
    }
}

/// Those of `required` that no record says was installed; empty if all were.
pub fn check(required: &[Fault], records: &[Record]) -> Vec<Uncovered> {
    let attempts = |fault| records.iter().filter(move |record| record.fault == fault);
    required
        .iter()
        .filter(|fault| attempts(**fault).all(|record| record.outcome != Outcome::Installed))
        .map(|fault| Uncovered {
            fault: *fault,
            attempts: attempts(*fault)
                .map(|record| record.outcome.clone())
                .collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::nemesis::target::Target;

    #[test]
    fn skipped_and_doubtful_faults_are_not_covered() {
        let record = |fault, outcome| Record {
            fault,
            target: Target::Primary,
            host: "a".to_owned(),
            began: Moment(0),
            installed: Moment(1),
            outcome,
            healed: None,
            trouble: None,
        };
        let records = [
            record(Fault::Ring, Outcome::Skipped("no".to_owned())),
            record(Fault::Ring, Outcome::Installed),
            record(Fault::Freeze, Outcome::Indeterminate("why".to_owned())),
        ];
        let found = check(&[Fault::Ring, Fault::Freeze, Fault::Mute], &records);
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "freeze was never installed; indeterminate: why",
                "mute was never installed"
            ]
        );
    }
}
