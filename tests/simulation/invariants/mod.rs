//! What must hold in every tick of every seed, one file each.

mod epochs_only_grow;
mod fenced_stays_fenced;
mod healthy_is_left_alone;
mod no_acknowledged_write_lost;
mod one_acknowledges;
mod one_handover;
mod recovery_ends;

use crate::world::World;

/// A broken rule, in words.
pub type Violation = String;

/// All of them, with what they remember.
#[derive(Default)]
pub struct Invariants {
    no_acknowledged_write_lost: no_acknowledged_write_lost::Check,
    one_acknowledges: one_acknowledges::Check,
    epochs_only_grow: epochs_only_grow::Check,
    fenced_stays_fenced: fenced_stays_fenced::Check,
    one_handover: one_handover::Check,
    healthy_is_left_alone: healthy_is_left_alone::Check,
}

impl Invariants {
    /// After every tick.
    pub fn tick(&mut self, world: &World) -> Result<(), Violation> {
        self.no_acknowledged_write_lost.tick(world)?;
        self.one_acknowledges.tick(world)?;
        self.epochs_only_grow.tick(world)?;
        self.fenced_stays_fenced.tick(world)?;
        self.one_handover.tick(world)?;
        self.healthy_is_left_alone.tick(world)
    }

    /// When everything has worked again for long enough.
    pub fn end(&mut self, world: &World) -> Result<(), Violation> {
        recovery_ends::end(world)?;
        self.no_acknowledged_write_lost.end(world)
    }
}

pub use recovery_ends::is_healthy;
