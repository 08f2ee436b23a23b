//! An instance for tests.

use crate::model::{Address, InstanceFacts, example};

/// A primary that answers at this address, and nobody streams from it.
pub fn facts(address: Address) -> InstanceFacts {
    InstanceFacts {
        own_port: address.port,
        address,
        ..example::facts("")
    }
}
