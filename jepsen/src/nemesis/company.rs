//! The primary in a minority that is not alone: a standby could confirm its commits, or the old leader renew its lease.

use super::partition::between;
use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::hosts::layout::{Kind, Layout};

/// Of one primary.
#[derive(Debug)]
pub struct Company {
    host: String,
    with: With,
}

#[derive(Debug, Clone, Copy)]
enum With {
    Standby,
    Leader,
}

impl Company {
    /// `host` reaches the next node and the clients of its own zone.
    pub fn with_standby(host: String) -> Company {
        let with = With::Standby;
        Company { host, with }
    }

    /// `host` reaches the leader and the clients of its own zone.
    pub fn with_leader(host: String) -> Company {
        let with = With::Leader;
        Company { host, with }
    }

    fn name(&self) -> String {
        format!("{} with {:?}", self.host, self.with)
    }
}

/// The one node after `host`, around the end.
fn next_node(layout: &Layout, host: &str) -> Option<String> {
    let nodes = layout.names(Kind::Node);
    let own = nodes.iter().position(|node| node == host)?;
    nodes.iter().cycle().nth(own + 1).cloned()
}

/// `host`, its company, and the clients of the zone of `host`.
fn side(layout: &Layout, host: &str, company: String) -> Vec<String> {
    let clients = layout.names(Kind::Client);
    let mut side = layout.zone_of(host);
    side.retain(|name| *name == *host || clients.contains(name));
    side.push(company);
    side
}

impl Injection for Company {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        let company = match self.with {
            With::Standby => next_node(hosts.layout(), &self.host),
            With::Leader => hosts.leader().ok(),
        };
        let Some(company) = company else {
            let why = format!("nobody is known to be the {:?}", self.with);
            return Err(Trouble::Impossible(why));
        };
        let side = side(hosts.layout(), &self.host, company);
        let matrix = between(&side, &hosts.layout().faulty());
        Ok(hosts.lay(&self.name(), matrix)?)
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        hosts.lift(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_of_the_primary_is_a_minority() {
        let layout = Layout::new(3);
        assert_eq!(next_node(&layout, "c").as_deref(), Some("a"));
        assert_eq!(next_node(&layout, "p1"), None);
        let found = side(&layout, "a", "p3".to_owned());
        assert_eq!(found, ["a", "client1", "p3"]);
        let cut = between(&found, &layout.faulty());
        assert!(cut.between("p3", "p1").cut && !cut.between("p3", "a").cut);
        assert!(!cut.between("a", "watch").cut);
    }
}
