//! A fault as it is typed: `isolate`, or `isolate@primary` if it shall strike that role.

use std::fmt;
use std::str::FromStr;

use crate::nemesis::fault::Fault;
use crate::nemesis::target::Target;

/// What shall be struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    /// With what.
    pub fault: Fault,
    /// Who; none leaves it to the seed.
    pub target: Option<Target>,
}

impl From<Fault> for Choice {
    fn from(fault: Fault) -> Choice {
        Choice {
            fault,
            target: None,
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.name())?;
        match self.target {
            Some(target) => write!(f, "@{}", target.name()),
            None => Ok(()),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Choice, String> {
        let (name, role) = match text.split_once('@') {
            Some((name, role)) => (name, Some(role)),
            None => (text, None),
        };
        let all: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        let unknown = || format!("there is no fault {name}; there are {}", all.join(", "));
        let fault = Fault::named(name).ok_or_else(unknown)?;
        let Some(role) = role else {
            return Ok(fault.into());
        };
        let roles: Vec<_> = fault.targets().iter().map(|it| it.name()).collect();
        let named = fault.targets().iter().find(|it| it.name() == role);
        let never = || format!("{name} strikes {}, never {role}", roles.join(", "));
        Ok(Choice {
            fault,
            target: Some(*named.ok_or_else(never)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_printed() {
        for text in [
            "isolate",
            "isolate@follower-1",
            "kill-node@standby-0",
            "ring@everybody",
        ] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        for text in ["nothing", "isolate@nobody", "kill-peer@primary", "isolate@"] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }
}
