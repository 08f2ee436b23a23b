//! How a command changes a cluster without agents. Every proof is checked again here.

use std::collections::{BTreeMap, BTreeSet};

use crate::broken;
use crate::model::{
    Address, ClusterName, Epoch, FenceDemand, InstanceId, Order, SqlCluster, SystemIdentifier,
    WalPosition,
};
use crate::recovery::Rejection;
use crate::recovery::sql_only::{SqlEvidence, SqlHandover, SqlPhase, reach};

use super::words::in_words;
use super::{Adopted, SqlChange, SqlCommand, SqlState};
use crate::state::history::{History, Kind};
use crate::state::level::has_verdicts;
use crate::state::{Reply, State, verdict};

impl State {
    /// Applies one command.
    pub(in crate::state) fn apply_sql(&mut self, command: SqlCommand) -> Reply {
        let SqlCommand {
            cluster: name,
            at,
            change,
        } = command;
        if let SqlChange::Adopt(new) = change {
            self.check_new(&name, &new)?;
            let state = SqlState::adopt(name.clone(), new, at)?;
            let order = state.order();
            self.sql.insert(name, state);
            return Ok(order);
        }
        let directives = self.directives.in_force(&name, at);
        let judges = has_verdicts(self.level);
        let unknown = || Rejection::Unknown(format!("cluster {name} without agents"));
        let state = self.sql.get_mut(&name).ok_or_else(unknown)?;
        match change {
            SqlChange::Adopt(_) => Err(Rejection::WrongPhase),
            SqlChange::Forget => {
                let order = state.order();
                self.sql.remove(&name);
                self.directives.forget(&name);
                self.hooks.forget(&name);
                Ok(order)
            }
            SqlChange::Begin { seen, cause, named } => {
                let held = directives.holds_failover(state.cluster.primary.as_ref());
                match held.filter(|_| named.is_none()) {
                    Some(held) => Err(Rejection::Invalid(held.to_string())),
                    None => state.begin(seen, &cause, named, at),
                }
            }
            SqlChange::Record { order, evidence } => {
                let is_failover = state.handover.as_ref().is_some_and(|it| it.named.is_none())
                    && matches!(evidence, SqlEvidence::Promoted { .. });
                let recorded = state.record(order, &evidence, judges, at);
                if is_failover && recorded.is_ok() {
                    let epoch = state.cluster.epoch;
                    self.directives.note_failover(&name, epoch, at);
                }
                recorded
            }
            SqlChange::Abandon { epoch, why } => state.abandon(epoch, &why, at),
            SqlChange::Observe { order, observed } => state.observe(order, observed, at),
        }
    }

    /// The cluster that has this history, with agents or without.
    pub fn cluster_of(&self, system: SystemIdentifier) -> Option<&ClusterName> {
        let with_agents = self.clusters.iter();
        let with_agents = with_agents.map(|(name, it)| (name, it.cluster.identity));
        let without = self.sql.iter();
        let without = without.map(|(name, it)| (name, Some(it.cluster.system)));
        let mut all = with_agents.chain(without);
        Some(all.find(|(_, known)| *known == Some(system))?.0)
    }

    /// The cluster that has an instance at this address, with agents or without.
    pub fn cluster_at(&self, address: &Address) -> Option<&ClusterName> {
        let with_agents = self.clusters.iter().map(|(name, it)| {
            let mut members = it.cluster.members.values();
            (name, members.any(|it| it.address == *address))
        });
        let without = self.sql.iter().map(|(name, it)| {
            let mut members = it.cluster.members.values();
            (name, members.any(|it| it.address == *address))
        });
        let mut all = with_agents.chain(without);
        Some(all.find(|(_, is_there)| *is_there)?.0)
    }

    /// One cluster for each history, one name for each cluster, and no server that an agent looks after.
    fn check_new(&self, name: &ClusterName, new: &Adopted) -> Result<(), Rejection> {
        if self.sql.contains_key(name) || self.clusters.contains_key(name) {
            return Err(Rejection::Exists(format!("cluster {name}")));
        }
        if let Some(known) = self.cluster_of(new.system) {
            return Err(Rejection::Exists(format!(
                "cluster {known} with the system identifier {}",
                new.system
            )));
        }
        for (id, member) in &new.members {
            for (known, state) in &self.clusters {
                let mut others = state.cluster.members.values();
                if others.any(|it| it.address == member.address) {
                    return Err(Rejection::Invalid(format!(
                        "{id} at {} is looked after by an agent, in cluster {known}",
                        member.address
                    )));
                }
            }
        }
        Ok(())
    }
}

impl SqlState {
    fn adopt(name: ClusterName, new: Adopted, at: u64) -> Result<SqlState, Rejection> {
        if !new.members.contains_key(&new.primary) {
            return Err(Rejection::Invalid("the primary is no member".to_owned()));
        }
        let epoch = Epoch(1);
        let mut history = History::default();
        let to = Some(new.primary.clone());
        history.begin(
            at,
            Kind::Adoption,
            epoch,
            None,
            to,
            "the cluster was adopted",
        );
        if let Some(record) = history.handover() {
            record.end(at, "done", "it is looked after over SQL");
        }
        Ok(SqlState {
            cluster: SqlCluster {
                name,
                system: new.system,
                fence: new.fence,
                members: new.members,
                rule: new.rule,
                epoch,
                lineage: new.lineage,
                primary: Some(new.primary),
                suspects: BTreeSet::new(),
                told: BTreeMap::new(),
                strays: BTreeSet::new(),
                copies: BTreeMap::new(),
            },
            adopted_at: at,
            number: 1,
            handover: None,
            quieted: None,
            history,
        })
    }

    pub(super) fn moved(&mut self) -> Reply {
        self.number += 1;
        Ok(self.order())
    }

    fn begin(&mut self, seen: Epoch, cause: &str, named: Option<InstanceId>, at: u64) -> Reply {
        if self.handover.is_some() || seen != self.cluster.epoch {
            return Err(Rejection::Stale);
        }
        if self.cluster.fence == FenceDemand::Required {
            let why = "fence is \"required\": only agents may change the primary";
            return Err(Rejection::Invalid(why.to_owned()));
        }
        if let (Some(_), Some(quieted)) = (&named, &self.quieted) {
            return Err(Rejection::Invalid(format!(
                "{quieted} was asked to be quiet and does not accept writes again yet; try again in a moment"
            )));
        }
        let from = self.cluster.primary.take();
        if let Some(named) = &named {
            let is_standby =
                self.cluster.members.contains_key(named) && from.as_ref() != Some(named);
            if !is_standby || from.is_none() {
                self.cluster.primary = from;
                return Err(Rejection::Invalid(format!(
                    "{named} is no standby of a primary"
                )));
            }
            if let Err(rejection) = reach::check(&self.cluster, from.as_ref(), named) {
                self.cluster.primary = from;
                return Err(rejection);
            }
        }
        self.cluster.epoch = seen.next();
        self.cluster.suspects.extend(from.clone());
        self.number = 1;
        let phase = match &named {
            Some(_) => SqlPhase::Quieting { end: None },
            None => SqlPhase::Revoking {
                ends: BTreeMap::new(),
            },
        };
        // Also if its answer is lost: what was asked to be quiet must be let go on.
        self.quieted = self
            .quieted
            .take()
            .or_else(|| from.clone().filter(|_| named.is_some()));
        let (epoch, to) = (self.cluster.epoch, named.clone());
        self.history
            .begin(at, Kind::Handover, epoch, from.clone(), to, cause);
        self.handover = Some(SqlHandover { named, from, phase });
        Ok(self.order())
    }

    fn abandon(&mut self, epoch: Epoch, why: &str, at: u64) -> Reply {
        let Some(handover) = self.handover.take_if(|_| epoch == self.cluster.epoch) else {
            return Err(Rejection::Stale);
        };
        match handover.phase {
            // Nobody else was told to be the primary: the old one still is, if it lives.
            SqlPhase::Quieting { .. } | SqlPhase::Revoking { .. } => {
                if let Some(from) = &handover.from {
                    self.cluster.suspects.remove(from);
                }
                self.cluster.primary = handover.from;
            }
            // What became of the candidate is found out.
            SqlPhase::Promoting { serves, .. } => {
                self.cluster.rule = self.cluster.rule.or(&serves);
            }
            SqlPhase::Repointing { .. } | SqlPhase::Done => {}
        }
        if let Some(record) = self.history.handover() {
            record.end(at, "gave_up", why);
        }
        self.moved()
    }

    fn record(&mut self, order: Order, evidence: &SqlEvidence, judges: bool, at: u64) -> Reply {
        if order.epoch != self.cluster.epoch || order.number > self.number {
            return Err(Rejection::Stale);
        }
        if let SqlEvidence::Unquieted { instance } = evidence {
            self.quieted
                .take_if(|it| it == instance)
                .ok_or(Rejection::WrongPhase)?;
            return self.moved();
        }
        let handover = self.handover.clone().ok_or(Rejection::WrongPhase)?;
        if let SqlEvidence::CannotPromote { instance, why } = evidence {
            return match &handover.phase {
                SqlPhase::Promoting { candidate, .. } if candidate == instance => {
                    let why = format!("{instance} cannot be promoted: {why}");
                    self.abandon(self.cluster.epoch, &why, at)
                }
                SqlPhase::Promoting { .. }
                | SqlPhase::Quieting { .. }
                | SqlPhase::Revoking { .. }
                | SqlPhase::Repointing { .. }
                | SqlPhase::Done => Err(Rejection::WrongPhase),
            };
        }
        let verdict = match evidence {
            SqlEvidence::Elected { proof, .. } if judges => {
                Some(verdict::over_sql(&handover, proof, &self.cluster))
            }
            _ => None,
        };
        let before = handover.serves().cloned();
        let handover = handover.record(&self.cluster, evidence)?;
        self.take_over(evidence);
        if let SqlPhase::Promoting {
            candidate,
            position,
            ..
        } = &handover.phase
        {
            self.cluster.told.insert(candidate.clone(), *position);
        } else if let Some(serves) = before {
            self.cluster.rule = self.cluster.rule.or(&serves);
        }
        self.number += 1;
        let (event, detail, to) = in_words(evidence);
        if let Some(record) = self.history.handover() {
            record.note(at, event, &detail);
            record.to = to.cloned().or(record.to.take());
            if handover.phase == SqlPhase::Done {
                record.end(at, "done", "a primary serves");
            }
        }
        if let (Some(verdict), Some(id)) = (verdict, self.history.handover_id()) {
            self.history.judge(id, at, &verdict.to_string());
        }
        self.handover = Some(handover).filter(|it| it.phase != SqlPhase::Done);
        Ok(self.order())
    }

    /// Of one that is seen in recovery: whether it ever left the branches of the others is forgotten if it cannot have. One
    /// that was told to become the primary and ends behind the timeline on which it was has opened one of its own, or may
    /// have: the number says nothing. Whoever ran as a primary has.
    fn forget_branch(&mut self, instance: &InstanceId, end: Option<WalPosition>) {
        let cluster = &mut self.cluster;
        if cluster.copies.is_empty() || broken!(SqlBranch) {
            // One copy is not told from the next.
            cluster.told.remove(instance);
            cluster.strays.remove(instance);
            return;
        }
        let has_stayed = |told: &WalPosition| end.is_some_and(|end| end.timeline <= told.timeline);
        if cluster.told.get(instance).is_some_and(has_stayed) {
            cluster.told.remove(instance);
        }
    }

    /// What evidence that was taken says of the cluster itself.
    fn take_over(&mut self, evidence: &SqlEvidence) {
        match evidence {
            // It confirmed a pause, so it is in recovery and was told nothing that it has not done.
            SqlEvidence::Revoked { instance, position } => {
                self.cluster.suspects.remove(instance);
                self.forget_branch(instance, *position);
            }
            SqlEvidence::Elected { candidate, .. } => {
                self.cluster.suspects.insert(candidate.clone());
            }
            SqlEvidence::Promoted { instance, lineage } => {
                self.cluster.suspects.clear();
                self.cluster.told.remove(instance);
                self.cluster.primary = Some(instance.clone());
                self.cluster.lineage = lineage.clone();
                // It stays quiet now: its time is over.
                self.quieted = None;
            }
            SqlEvidence::Quieted { .. }
            | SqlEvidence::Unquieted { .. }
            | SqlEvidence::CaughtUp { .. }
            | SqlEvidence::CannotPromote { .. }
            | SqlEvidence::Following { .. }
            | SqlEvidence::LeftBehind { .. } => {}
        }
    }

    /// What a group of peers that begins anew from an old record makes of this one: the primary is found out.
    pub(in crate::state) fn begin_anew(&mut self, epoch: Epoch, at: u64) {
        let why = "the group of peers began anew from a saved state";
        if let Some(record) = self.history.handover() {
            record.end(at, "gave_up", why);
        }
        self.handover = None;
        self.number = 1;
        self.cluster.epoch = Epoch(self.cluster.epoch.0.max(epoch.0));
        let members = self.cluster.members.keys().cloned();
        self.cluster.suspects = members.collect();
        self.cluster.primary = None;
    }
}
