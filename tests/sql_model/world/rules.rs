//! What must never happen.

use super::{PEERS, PRIMARY, World, id, number};

/// What must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A primary that was promoted, and is not known to be deposed, holds all that was ever acknowledged.
    NothingAcknowledgedIsLost,
    /// No failover begins while a majority of peers reaches a living primary.
    MajorityFindsItGone,
    /// No failover begins while a standby that can be asked hears a living primary.
    NobodyHearsIt,
    /// Nobody is told to promote while another may still become the primary and a majority reaches it. One that is known
    /// to be deposed is none of these.
    OneIsToldAtATime,
}

impl World {
    /// Whether the primary of the record may be replaced.
    pub(super) fn check_begin(&mut self) {
        let Some(primary) = self.record().cluster.primary.as_ref().map(number) else {
            return;
        };
        let server = &self.servers[primary];
        let reached = server.reached_by.iter().filter(|it| **it).count();
        if server.is_alive && reached * 2 > PEERS {
            self.violation = Some(Rule::MajorityFindsItGone);
        }
        let hears = |it: usize| self.streams(it) && self.servers[it].reached_by[0];
        if server.is_alive && (0..3).any(hears) {
            self.violation = Some(Rule::NobodyHearsIt);
        }
    }

    /// Whether it may be told to promote.
    pub(super) fn check_told(&mut self, it: usize) {
        let may_open = |other: usize| {
            let server = &self.servers[other];
            let reached = server.reached_by.iter().filter(|it| **it).count();
            let is_suspect = self.record().cluster.suspects.contains(&id(other));
            let is_one = server.is_told || server.role == PRIMARY && is_suspect;
            other != it && server.is_alive && is_one && reached * 2 > PEERS
        };
        if (1..3).any(may_open) {
            self.violation = Some(Rule::OneIsToldAtATime);
        }
    }

    pub(super) fn check(&mut self) {
        if !self.is_quorum {
            return;
        }
        let cluster = &self.record().cluster;
        let is_deposed = |it: usize| {
            let another = cluster.primary.as_ref().is_some_and(|id| number(id) != it);
            another && cluster.told.contains_key(&id(it))
        };
        let is_short = |it: &usize| {
            let server = &self.servers[*it];
            server.role == PRIMARY && server.timeline > 1 && server.lsn < self.acknowledged
        };
        let mut short = (0..3).filter(is_short);
        if short.any(|it| !is_deposed(it)) {
            self.violation = Some(Rule::NothingAcknowledgedIsLost);
        }
    }
}
