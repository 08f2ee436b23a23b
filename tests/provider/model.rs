//! The model as a stage.

use std::time::Duration;

use primacy::model::Address;
use primacy::provider::Simulated;
use primacy::provider::simulated::Written;

use crate::stage::Stage;

pub struct Model {
    provider: Simulated,
    addresses: [Address; 3],
}

impl Model {
    pub fn new() -> Model {
        let address = |port| Address {
            host: "127.0.0.1".to_owned(),
            port,
        };
        let addresses = [address(5432), address(5433), address(5434)];
        let provider = Simulated::default();
        provider.add_primary(&addresses[0]);
        provider.add_standby(&addresses[1], "s1", &addresses[0]);
        provider.add_standby(&addresses[2], "s2", &addresses[0]);
        Model {
            provider,
            addresses,
        }
    }
}

impl Stage for Model {
    type Provider = Simulated;

    fn provider(&self) -> &Simulated {
        &self.provider
    }

    fn addresses(&self) -> &[Address; 3] {
        &self.addresses
    }

    async fn write(&self, at: &Address) -> Written {
        self.provider.write(at)
    }

    async fn rows(&self, at: &Address) -> u64 {
        self.provider.rows(at)
    }

    async fn pass(&self, time: Duration) {
        self.provider.advance(time);
    }

    async fn freeze(&self, at: &Address, is_frozen: bool) {
        self.provider.set_frozen(at, is_frozen);
    }

    async fn kill(&self, at: &Address) {
        self.provider.set_alive(at, false);
    }

    async fn sql(&self, _at: &Address, _statement: &str) -> Option<String> {
        None
    }
}
