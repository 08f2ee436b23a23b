//! The feature level: what every peer of the group is known to understand.
//!
//! A build speaks every level up to [`spoken`]. The level of the group is recorded. It rises when every member has said
//! that it speaks the next one, and never falls. An entry of a level above the group's is not proposed, so that a peer
//! of an older build never meets what it cannot read, and an upgrade can be taken back as long as the level has not risen.
//! After that an older build stops at what it meets, rather than guess.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Change, Directive, Entry, Observed, SqlChange, State};
use crate::recovery::{Evidence, FenceProof};

/// The highest level that this build speaks. Raise it with the first entry that older builds cannot read, give that
/// entry its level in [`Entry::level`], and keep the old number where older entries stand.
const HIGHEST: u32 = 4;
/// From this level on, a cluster may begin with a database that was there before.
const TAKING_OVER: u32 = 3;

#[cfg(feature = "mutants")]
static PRETENDED: std::sync::OnceLock<u32> = std::sync::OnceLock::new();

/// Makes this process a build of another level: the next one exists only in builds that can break their rules.
#[cfg(feature = "mutants")]
pub fn pretend(level: u32) {
    PRETENDED.get_or_init(|| level);
}

/// The highest level that this build speaks.
pub fn spoken() -> FeatureLevel {
    #[cfg(feature = "mutants")]
    if let Some(level) = PRETENDED.get() {
        return FeatureLevel(*level);
    }
    FeatureLevel(HIGHEST)
}

/// A level that this build speaks: none other can be read from a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct FeatureLevel(u32);

/// The level was reached by newer builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the group has reached feature level {found}, this version speaks up to {}; start the newer version",
    spoken()
)]
pub struct LevelAbove {
    found: u32,
}

impl TryFrom<u32> for FeatureLevel {
    type Error = LevelAbove;

    fn try_from(level: u32) -> Result<FeatureLevel, LevelAbove> {
        match level <= spoken().0 {
            true => Ok(FeatureLevel(level)),
            false => Err(LevelAbove { found: level }),
        }
    }
}

impl Default for FeatureLevel {
    /// Where every group begins.
    fn default() -> FeatureLevel {
        FeatureLevel(1)
    }
}

impl FeatureLevel {
    /// As a number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The one to rise to when the members speak the levels `told`; none if that is no higher one, or if one of them did
    /// not say.
    pub fn next(self, told: &[Option<u32>]) -> Option<FeatureLevel> {
        let told: Option<Vec<u32>> = told.iter().copied().collect();
        let lowest = told?.into_iter().min()?;
        let next = FeatureLevel(lowest.min(spoken().0));
        (next > self).then_some(next)
    }
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether what becomes of the user's programs can be recorded.
pub fn has_hooks(level: FeatureLevel) -> bool {
    level.number() >= super::record::HOOKS
}

impl Entry {
    /// From which level on every member understands it.
    pub fn level(&self) -> FeatureLevel {
        match self {
            Entry::Cluster(command) => match &command.change {
                Change::Record { evidence, .. } => of_evidence(evidence),
                Change::PlanSwitchover(_)
                | Change::BeginShutDown { .. }
                | Change::GiveUpSwitchover { .. }
                | Change::ForceFailover(_)
                | Change::EndSwitchover { .. }
                | Change::CallOffSwitchover { .. } => FeatureLevel(super::record::SWITCHOVERS),
                Change::PlanDurability(_)
                | Change::BeginConfirming { .. }
                | Change::StopConfirming { .. }
                | Change::RecordLapsed { .. } => FeatureLevel(super::record::DURABILITIES),
                Change::Create(_)
                | Change::Begin { .. }
                | Change::Abandon { .. }
                | Change::BeginRejoin { .. }
                | Change::EndRejoin { .. }
                | Change::PlanStop { .. }
                | Change::EndStop { .. } => FeatureLevel(1),
            },
            Entry::Peers(_) | Entry::Access(_) | Entry::Raise(_) => FeatureLevel(1),
            Entry::Sql(command) => match &command.change {
                SqlChange::Observe {
                    observed: Observed::Copy { .. },
                    ..
                } => FeatureLevel(super::record::COPIES),
                SqlChange::Adopt(_)
                | SqlChange::Forget
                | SqlChange::Begin { .. }
                | SqlChange::Record { .. }
                | SqlChange::Abandon { .. }
                | SqlChange::Observe { .. } => FeatureLevel(super::record::SQL_ONLY),
            },
            Entry::Directive(command) => match &command.change {
                Directive::Priority { .. } => FeatureLevel(super::record::PRIORITIES),
                Directive::Pause { .. }
                | Directive::Resume { .. }
                | Directive::Downtime { .. }
                | Directive::Uptime { .. }
                | Directive::Rule { .. }
                | Directive::Block { .. }
                | Directive::Acknowledge { .. } => FeatureLevel(super::record::DIRECTIVES),
            },
            Entry::Hook(_) => FeatureLevel(super::record::HOOKS),
            #[cfg(feature = "mutants")]
            Entry::Trial(level) => *level,
        }
    }
}

fn of_evidence(evidence: &Evidence) -> FeatureLevel {
    match evidence {
        Evidence::TakenOver { .. } => FeatureLevel(TAKING_OVER),
        Evidence::RebuiltKeeping { .. } => FeatureLevel(super::record::VERDICTS),
        Evidence::Confirmed { .. } => FeatureLevel(super::record::DURABILITIES),
        Evidence::ShutDown { .. }
        | Evidence::Elected {
            proof: FenceProof::Forced { .. },
            ..
        } => FeatureLevel(super::record::SWITCHOVERS),
        Evidence::Initialised { .. }
        | Evidence::Promised { .. }
        | Evidence::Elected { .. }
        | Evidence::Promoted { .. }
        | Evidence::CannotPromote { .. }
        | Evidence::Following { .. }
        | Evidence::CannotFollow { .. }
        | Evidence::LeftBehind { .. }
        | Evidence::FirstCommit { .. }
        | Evidence::RebuildPermitted { .. }
        | Evidence::Rebuilt { .. }
        | Evidence::Located { .. }
        | Evidence::Admitted { .. } => FeatureLevel(1),
    }
}

/// Whether what a change of primary may have lost, and what is kept of it, can be recorded.
pub fn has_verdicts(level: FeatureLevel) -> bool {
    level.number() >= super::record::VERDICTS
}

/// Whether the durability of a cluster can be changed.
pub fn has_durabilities(level: FeatureLevel) -> bool {
    level.number() >= super::record::DURABILITIES
}

/// Whether the members of clusters without agents may have their copies recorded.
pub fn may_record_copies(level: FeatureLevel) -> bool {
    level.number() >= super::record::COPIES
}

impl State {
    /// Raises the level; what is lower than the recorded one changes nothing.
    pub(super) fn raise(&mut self, to: FeatureLevel) -> FeatureLevel {
        self.level = self.level.max(to);
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_when_every_member_says_so() {
        let check = |told: &[Option<u32>], expected: Option<u32>| {
            let zero = FeatureLevel(0);
            assert_eq!(
                zero.next(told).map(FeatureLevel::number),
                expected,
                "{told:?}"
            );
        };
        check(&[Some(1), Some(1)], Some(1));
        // This build speaks no more.
        check(&[Some(5), Some(7)], Some(4));
        check(&[Some(1), None], None);
        check(&[Some(1), Some(0)], None);
        check(&[], None);
        assert_eq!(FeatureLevel(1).next(&[Some(1)]), None);
    }

    #[test]
    fn a_level_above_cannot_be_read_and_the_reason_is_told() {
        let record = raft::seal(&(HIGHEST + 1)).unwrap();
        let error = raft::unseal::<FeatureLevel>(&record, 64).unwrap_err();
        let told = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(
            told.contains("feature level 5, this version speaks up to 4"),
            "{told}"
        );
    }

    #[test]
    fn it_never_falls() {
        let mut state = State::default();
        state.raise(FeatureLevel(3));
        assert_eq!(state.raise(FeatureLevel(2)), FeatureLevel(3));
    }
}
