//! What an operation asks of an instance before it does anything.

use std::time::Duration;

use super::world::{Instance, State, World};
use crate::model::{Address, Role};
use crate::provider::{Outcome, Phase, ProviderError, Result};

/// The instance, if it answers.
pub(super) fn answers<'a>(
    world: &'a World,
    operation: &'static str,
    of: &Address,
    within: Duration,
) -> Result<&'a Instance> {
    let instance = world.instances.get(of);
    match instance.map(|it| it.state) {
        Some(State::Runs) => Ok(instance.expect("it was there")),
        Some(State::Frozen) => Err(ProviderError::Timeout {
            operation,
            within,
            phase: Phase::Startup,
            outcome: Outcome::NotApplied,
        }),
        Some(State::Dead) | None => Err(ProviderError::Unreachable {
            phase: Phase::Tcp,
            source: "nobody is there".into(),
        }),
    }
}

/// Whether it is a standby.
pub(super) fn standby_alone(_: &World, instance: &Instance) -> Result<()> {
    match instance.role() {
        Role::Standby | Role::Detached => Ok(()),
        found @ Role::Primary => Err(ProviderError::WrongRole { found }),
    }
}

/// Whether whom it follows can be changed.
pub(super) fn changeable(world: &World, instance: &Instance) -> Result<()> {
    standby_alone(world, instance)?;
    match instance.is_paused && instance.role() == Role::Standby {
        true => Err(ProviderError::Precondition(
            "its replay is paused; start replication first".to_owned(),
        )),
        false => Ok(()),
    }
}
