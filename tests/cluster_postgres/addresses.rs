//! Where an installation answers SQL.

use serde_json::Value;
use tokio_postgres::Config;

use crate::{Dev, shown};

impl Dev {
    /// The connection string that finds the primary, whether there is one at the moment or not.
    pub fn dsn(&self) -> Config {
        let output = self.run(&["primary", "--dsn"]);
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    /// Where one instance alone answers SQL, whatever it is at the moment.
    pub fn address_of(&self, cluster: &Value, instance: &str) -> Config {
        let everywhere = self.dsn();
        let shown = shown(cluster, instance);
        let port = shown["port"].as_u64().unwrap().try_into().unwrap();
        let mut config = Config::new();
        config
            .user(everywhere.get_user().unwrap())
            .password(everywhere.get_password().unwrap())
            .dbname(everywhere.get_dbname().unwrap())
            .host(shown["host"].as_str().unwrap())
            .port(port);
        config
    }

    /// Every instance but one, and where it answers SQL.
    pub fn others(&self, cluster: &Value, but: &str) -> Vec<(String, Config)> {
        let names = ["a", "b", "c"].into_iter().filter(|name| *name != but);
        names
            .map(|name| (name.to_owned(), self.address_of(cluster, name)))
            .collect()
    }
}
