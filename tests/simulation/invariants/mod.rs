//! What must hold in every tick of every seed, one file each.

mod epochs_only_grow;
mod fenced_stays_fenced;
mod followers_are_not_leashed;
mod given_up_is_left_alone;
mod healthy_is_left_alone;
mod held_is_left_alone;
mod must_not_is_not_elected;
mod no_acknowledged_write_lost;
mod one_acknowledges;
mod one_handover;
mod recovery_ends;
mod strict_reads;
mod stuck_is_replaced;
mod timelines_are_unique;

use std::fmt;

use crate::world::World;

pub use recovery_ends::is_healthy;

/// Which invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    NoAcknowledgedWriteLost,
    OneAcknowledges,
    EpochsOnlyGrow,
    FencedStaysFenced,
    OneHandover,
    GivenUpIsLeftAlone,
    HealthyIsLeftAlone,
    HeldIsLeftAlone,
    MustNotIsNotElected,
    FollowersAreNotLeashed,
    TimelinesAreUnique,
    StrictReads,
    StuckIsReplaced,
    RecoveryEnds,
}

/// A broken rule, and how, in words.
#[derive(Debug, Clone)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// All of them, with what they remember.
#[derive(Default)]
pub struct Invariants {
    no_acknowledged_write_lost: no_acknowledged_write_lost::Check,
    one_acknowledges: one_acknowledges::Check,
    epochs_only_grow: epochs_only_grow::Check,
    fenced_stays_fenced: fenced_stays_fenced::Check,
    one_handover: one_handover::Check,
    healthy_is_left_alone: healthy_is_left_alone::Check,
    held_is_left_alone: held_is_left_alone::Check,
    must_not_is_not_elected: must_not_is_not_elected::Check,
    timelines_are_unique: timelines_are_unique::Check,
    stuck_is_replaced: stuck_is_replaced::Check,
}

impl Invariants {
    /// After every tick. Answers with all that are broken: one fault may break several.
    pub fn tick(&mut self, world: &World) -> Vec<Violation> {
        let checked = [
            (
                Rule::NoAcknowledgedWriteLost,
                self.no_acknowledged_write_lost.tick(world),
            ),
            (Rule::OneAcknowledges, self.one_acknowledges.tick(world)),
            (Rule::EpochsOnlyGrow, self.epochs_only_grow.tick(world)),
            (
                Rule::FencedStaysFenced,
                self.fenced_stays_fenced.tick(world),
            ),
            (Rule::OneHandover, self.one_handover.tick(world)),
            (
                Rule::HealthyIsLeftAlone,
                self.healthy_is_left_alone.tick(world),
            ),
            (Rule::HeldIsLeftAlone, self.held_is_left_alone.tick(world)),
            (
                Rule::MustNotIsNotElected,
                self.must_not_is_not_elected.tick(world),
            ),
            (
                Rule::FollowersAreNotLeashed,
                followers_are_not_leashed::tick(world),
            ),
            (
                Rule::TimelinesAreUnique,
                self.timelines_are_unique.tick(world),
            ),
            (
                Rule::GivenUpIsLeftAlone,
                given_up_is_left_alone::tick(world),
            ),
            (Rule::StrictReads, strict_reads::tick(world)),
            (Rule::StuckIsReplaced, self.stuck_is_replaced.tick(world)),
        ];
        broken(checked)
    }

    /// When everything has worked again for long enough.
    pub fn end(&mut self, world: &World) -> Vec<Violation> {
        broken([
            (Rule::RecoveryEnds, recovery_ends::end(world)),
            (
                Rule::NoAcknowledgedWriteLost,
                self.no_acknowledged_write_lost.end(world),
            ),
        ])
    }
}

fn broken<const N: usize>(checked: [(Rule, Result<(), String>); N]) -> Vec<Violation> {
    let found = checked
        .into_iter()
        .filter_map(|(rule, result)| Some((rule, result.err()?)));
    found.map(|(rule, what)| Violation { rule, what }).collect()
}
