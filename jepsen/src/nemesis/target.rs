//! Whom a fault strikes: a role in the plan, a host once the API has said who has it.

use serde::Serialize;

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The primary's host.
    Primary,
    /// A node that is not the primary, by number; counted around if there are fewer.
    Standby(usize),
    /// The Raft leader's host.
    Leader,
    /// A peer that does not lead, by number.
    Follower(usize),
    /// No host in particular.
    Everybody,
}

impl Target {
    /// As it is typed and printed.
    pub fn name(self) -> String {
        match self {
            Target::Primary => "primary".to_owned(),
            Target::Standby(number) => format!("standby-{number}"),
            Target::Leader => "leader".to_owned(),
            Target::Follower(number) => format!("follower-{number}"),
            Target::Everybody => "everybody".to_owned(),
        }
    }
}

/// Who has which role now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    /// The primary's host, if the API names one.
    pub primary: Option<String>,
    /// The leader's host, if the API names one.
    pub leader: Option<String>,
    /// Every node.
    pub nodes: Vec<String>,
    /// Every peer.
    pub peers: Vec<String>,
}

impl Roles {
    /// The host; none if nobody is known to have that role. `Everybody` is the empty name.
    pub fn host(&self, target: Target) -> Option<String> {
        let other = |all: &[String], one: &Option<String>, number: usize| {
            let others: Vec<_> = all.iter().filter(|it| Some(*it) != one.as_ref()).collect();
            let number = number.checked_rem(others.len())?;
            one.as_ref().map(|_| others[number].clone())
        };
        match target {
            Target::Primary => self.primary.clone(),
            Target::Standby(number) => other(&self.nodes, &self.primary, number),
            Target::Leader => self.leader.clone(),
            Target::Follower(number) => other(&self.peers, &self.leader, number),
            Target::Everybody => Some(String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_become_hosts() {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut roles = Roles {
            primary: Some("b".to_owned()),
            leader: None,
            nodes: own(&["a", "b", "c"]),
            peers: own(&["p1", "p2", "p3"]),
        };
        let host = |roles: &Roles, target| roles.host(target).unwrap_or_default();
        assert_eq!(host(&roles, Target::Primary), "b");
        assert_eq!(host(&roles, Target::Standby(1)), "c");
        assert_eq!(host(&roles, Target::Standby(2)), "a");
        assert_eq!(roles.host(Target::Leader), None);
        assert_eq!(roles.host(Target::Follower(0)), None);
        roles.leader = Some("p1".to_owned());
        assert_eq!(host(&roles, Target::Follower(1)), "p3");
    }
}
