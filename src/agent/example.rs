//! An agent without PostgreSQL, for tests.

use std::path::Path;
use std::sync::Arc;

use super::config::AgentConfig;
use super::hands::Hands;
use super::lane::Lane;
use super::leash::LeashKeeper;
use super::perform::Tools;
use crate::gate::{FolderLock, PromiseStore};
use crate::host::{Account, Binaries};
use crate::model::{Epoch, Order};
use crate::provider::{Endpoint, LocalPostgres};
use crate::security::Wire;

pub fn order(epoch: u64, number: u32) -> Order {
    Order {
        epoch: Epoch(epoch),
        number,
    }
}

/// What an agent works with whose folders are in `root`; its data folder is `data` there.
pub fn tools(root: &Path) -> Tools {
    let shown = root.display();
    std::fs::write(root.join("password"), "secret\n").unwrap();
    std::fs::create_dir_all(root.join("data")).unwrap();
    let text = format!(
        r#"
        cluster = "main"
        instance = "pg-a"
        peers = ["127.0.0.1:1"]
        folder = "{shown}/state"
        data = "{shown}/data"
        host = "127.0.0.1"
        port = 5432
        health = "127.0.0.1:8008"
        [replication]
        password_file = "{shown}/password"
        "#
    );
    let config = AgentConfig::parse(&text).unwrap();
    let account = Account::own();
    let binaries = Binaries {
        folder: root.join("nowhere"),
        account,
        version: 15,
    };
    let (folder, data) = (config.folder.clone(), config.data.clone());
    Tools {
        provider: Arc::new(LocalPostgres::new(Endpoint {
            socket_folder: config.socket_folder(),
            port: config.port,
            user: config.superuser.clone(),
        })),
        leash: LeashKeeper::new(root.join("nowhere"), folder, data, account),
        hands: Arc::new(Hands::prepare(config, binaries).unwrap()),
        changes: Lane::default(),
        wire: Wire::Plain,
    }
}

/// The promise of that agent, with epoch 1 adopted.
pub async fn promise(tools: &Tools) -> PromiseStore {
    let folder = &tools.hands.config().folder;
    let lock = FolderLock::take(folder).unwrap();
    let mut promise = PromiseStore::open(folder, lock).unwrap();
    promise.adopt("g", order(1, 0)).await.unwrap();
    promise
}
