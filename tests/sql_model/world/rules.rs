//! What must never happen.

use primacy::model::{InstanceId, SqlCopy};
use primacy::recovery::sql_only::proof;

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
    /// Nobody is told to promote in a switchover while the old primary is there and accepts writes, or has some that the
    /// new one lacks.
    TheOldOneIsQuiet,
    /// No primary is asked to be quiet for a switchover that nothing could prove then.
    NothingIsQuietedInVain,
    /// Nobody is told to promote whose WAL is not a part of that of the primary of before.
    OneHistory,
}

impl World {
    /// Whether the primary of the record may be replaced.
    pub(super) fn check_begin(&mut self) {
        let Some(primary) = self.record().cluster.primary.as_ref().map(number) else {
            return;
        };
        let server = &self.servers[primary];
        let reached = server.reached_by.iter().filter(|it| **it).count();
        if server.is_primary() && reached * 2 > PEERS {
            self.violation = Some(Rule::MajorityFindsItGone);
        }
        let hears = |it: usize| self.streams(it) && self.servers[it].reached_by[0];
        if server.is_primary() && (0..3).any(hears) {
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
        let handover = self.record().handover.clone();
        let from = handover
            .as_ref()
            .and_then(|it| it.from.as_ref())
            .map(number);
        if let Some(from) = from.filter(|from| *from != it) {
            let (old, new) = (&self.servers[from], &self.servers[it]);
            // Whose data was replaced says nothing of what it was.
            let is_old = old.copy == 1 && !old.is_rolled_back;
            if is_old && !old.wal.starts_with(&new.wal) {
                self.violation = Some(Rule::OneHistory);
            }
        }
        let switched = handover.as_ref().filter(|it| it.named.is_some());
        if let Some(from) = switched.and_then(|it| it.from.as_ref()) {
            let (old, new) = (&self.servers[number(from)], &self.servers[it]);
            // Where commits wait, nothing that it accepts now is acknowledged.
            let is_ahead = !self.bounds.is_quorum && old.wal.len() > new.wal.len();
            if old.is_primary() && (!old.is_quiet || is_ahead) {
                self.violation = Some(Rule::TheOldOneIsQuiet);
            }
        }
    }

    /// Whether a primary may be asked to be quiet: enough of those that are there could be compared, whom was named among
    /// them.
    pub(super) fn check_quiet(&mut self) {
        let record = self.record();
        let cluster = &record.cluster;
        let is_there = |id: &InstanceId| {
            let it = number(id);
            let server = &self.servers[it];
            let copy = cluster.copies.get(id);
            let is_proven = |it: &SqlCopy| it.is_proven || !self.bounds.is_quorum;
            let is_one = server.is_alive && server.reached_by[0] && server.role != PRIMARY;
            let has_branch = cluster.told.contains_key(id) || cluster.strays.contains(id);
            is_one
                && server.timeline == cluster.lineage.current.0
                && copy.is_none_or(is_proven)
                && !has_branch
        };
        let named = record.handover.as_ref().and_then(|it| it.named.as_ref());
        let voters = cluster.rule.voters();
        let counted = voters.iter().filter(|id| is_there(id)).count();
        let is_enough = proof::needed(&cluster.rule).is_some_and(|needed| counted >= needed);
        if !is_enough || !named.is_some_and(is_there) {
            self.violation = Some(Rule::NothingIsQuietedInVain);
        }
    }

    pub(super) fn check(&mut self) {
        if !self.bounds.is_quorum {
            return;
        }
        let cluster = &self.record().cluster;
        let is_deposed = |it: usize| {
            let another = cluster.primary.as_ref().is_some_and(|id| number(id) != it);
            // Told so, or on a timeline below that of the one that serves: it is asked to be quiet as soon as it is seen.
            let is_below = self.servers[it].timeline < cluster.lineage.current.0;
            another && (is_below || cluster.told.contains_key(&id(it)))
        };
        let is_short = |it: &usize| {
            let server = &self.servers[*it];
            let has = |commit: &u8| server.wal.contains(commit);
            server.role == PRIMARY && server.is_ours && !self.acknowledged.iter().all(has)
        };
        let mut short = (0..3).filter(is_short);
        if short.any(|it| !is_deposed(it)) {
            self.violation = Some(Rule::NothingAcknowledgedIsLost);
        }
    }
}
