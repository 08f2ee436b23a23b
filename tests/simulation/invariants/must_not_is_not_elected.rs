//! Of whom operators said that it must not be promoted is not elected.

use primacy::model::{Epoch, PromotionRule};
use primacy::recovery::Handover;

use crate::world::World;

#[derive(Default)]
pub struct Check {
    elected: Option<Epoch>,
}

impl Check {
    pub fn tick(&mut self, world: &World) -> Result<(), String> {
        let state = world.cluster();
        let Some(Handover::Promoting { candidate, .. }) = &state.handover else {
            return Ok(());
        };
        let epoch = Some(state.cluster.epoch);
        // A rule that is made later does not stop what has begun.
        let is_new = std::mem::replace(&mut self.elected, epoch) != epoch;
        match is_new && world.said().rule(candidate) == PromotionRule::MustNot {
            true => Err(format!("{candidate} was elected and must not be promoted")),
            false => Ok(()),
        }
    }
}
