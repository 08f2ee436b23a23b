//! Brings a peer up from its folder.
//!
//! The order matters: the identity first, because it says whether the folder is ours; then the log, whose loss only
//! the identity reveals; then the snapshot; and only then the protocol, which may answer and vote at once.

use std::{collections::BTreeMap, sync::Arc};

use openraft::{
    BasicNode, Raft,
    errors::{InitializeError, RaftError},
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    Config, Consensus, StartError, StateMachine, View, consensus::Parts, durable_file,
    identity::IdentityFile, log::Log, machine::Machine, network::Network,
    snapshot_file::SnapshotFile, status, witness::Witness,
};

impl<S: StateMachine> Consensus<S> {
    /// Starts the peer that `config` describes, with `initial` as the state before the first command; it must be the
    /// same on all peers. The peer takes part at once; calls of others must be passed to
    /// [`handle`](Self::handle). Must be called within a tokio runtime; opening the store blocks it for a moment.
    ///
    /// On the very first start of a fresh folder the group is born with `config.members`, if this peer is one of
    /// them. All first members may do this; they write the same first entry.
    ///
    /// # Errors
    /// [`StartError`]: the folder is not ours, is damaged, or is in use.
    pub async fn start(config: Config, initial: S) -> Result<Self, StartError> {
        let engine = config.engine()?;
        let folder = &config.folder;
        durable_file::create_folder(folder).map_err(StartError::Folder)?;
        let log_folder = folder.join("log");
        if !IdentityFile::exists(folder) && log_folder.exists() {
            return Err(StartError::Unmarked);
        }
        let identity = IdentityFile::open(folder, config.group, config.id)?;
        let fresh_mark = !identity.holds_data();
        let witness = Witness::open(folder, identity.holds_data()).map_err(StartError::Witness)?;
        let (log, log_closed) = Log::open(&log_folder, identity, witness)?;
        let flushes = log.flushes();
        let is_born = fresh_mark && log.is_fresh();

        let (view, watched) = watch::channel(View::FIRST);
        let snapshot = SnapshotFile::new(folder);
        let machine =
            Machine::open(snapshot, initial, view.clone()).map_err(StartError::Snapshot)?;
        machine.reaches(log.purged().map_err(StartError::Log)?)?;
        let shared = machine.shared();
        let network = Network {
            group: config.group,
            id: config.id,
            transport: config.transport.clone(),
        };
        let raft = Raft::new(config.id, engine, network, log, machine)
            .await
            .map_err(engine_error)?;

        if is_born && config.members.contains_key(&config.id) {
            let members = config
                .members
                .iter()
                .map(|(id, address)| (*id, BasicNode::new(address)));
            let members: BTreeMap<u64, BasicNode> = members.collect();
            match raft.initialize(members).await {
                // Another first member was faster, and this peer has heard from it.
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(engine_error(error)),
            }
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(status::follow(raft.server_metrics(), view));
        tracing::info!(peer = config.id, group = %config.group, born = is_born, "peer started");
        Ok(Self::new(Parts {
            raft,
            shared,
            config: Arc::new(config),
            view: watched,
            log_closed,
            flushes,
            _tasks: tasks,
        }))
    }
}

fn engine_error(error: impl std::fmt::Display) -> StartError {
    StartError::Engine(error.to_string())
}
