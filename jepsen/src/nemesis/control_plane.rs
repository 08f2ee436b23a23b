//! Peers that are gone, all or all but one.
//!
//! Expected of this version, as its README says: nobody is promoted, and the primary stops at the end of its
//! lease, because nobody renews it (10 s with quorum durability, 2 s with async); it comes back with the peers.

use super::{Injection, Trouble};
use crate::hosts::Hosts;
use crate::hosts::layout::Kind;

/// So many live on.
#[derive(Debug)]
pub struct PeersDown {
    /// How many.
    pub left: usize,
}

impl Injection for PeersDown {
    fn install(&mut self, hosts: &mut Hosts) -> Result<(), Trouble> {
        // The leader is among the dead.
        let leader = hosts.leader().unwrap_or_default();
        let mut peers = hosts.layout().names(Kind::Peer);
        peers.sort_by_key(|peer| *peer != leader);
        peers.truncate(peers.len() - self.left);
        for peer in peers {
            hosts.machine(&peer)?.kill()?;
        }
        Ok(())
    }

    fn heal(&mut self, hosts: &mut Hosts) -> anyhow::Result<()> {
        for peer in hosts.layout().names(Kind::Peer) {
            hosts.machine(&peer)?.start_if_down()?;
        }
        Ok(())
    }
}
