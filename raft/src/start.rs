//! Brings a peer up from its folder.
//!
//! The order matters: the identity first, because it says whether the folder is ours; then, if the folder is new, the
//! other first members, who know whether it should be; then the log, whose loss only the identity reveals; then the
//! leases that were granted, and the snapshot; and only then the protocol, which may answer and vote at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use openraft::{
    BasicNode, Raft,
    errors::{InitializeError, RaftError},
    storage::RaftLogReader,
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    Consensus, Newborn, StartError, StateMachine, View,
    consensus::Parts,
    heard::Heard,
    lease::{Granted, Silence, Wakefulness},
    log::Log,
    machine::Machine,
    network::Network,
    snapshot_file::SnapshotFile,
    status,
    witness::Witness,
};

/// How long openraft may take to look at what it was given: it reads nothing more.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

impl<S: StateMachine> Consensus<S> {
    /// Starts the peer that `newborn` is, with `initial` as the state before the first command; it must be the same
    /// on all peers. The peer takes part at once; calls of others must be passed to [`handle`](Self::handle), and
    /// until this returns to [`Newborn::handle`]. Must be called within a tokio runtime; opening the store blocks it
    /// for a moment.
    ///
    /// On the very first start of a fresh folder the group is born with [`Config::members`](crate::Config::members),
    /// if this peer is one of them. All first members must be up for that: this waits for them, for ever if need be,
    /// and [`Newborn::waiting`] says for whom. A folder that has held data asks nobody.
    ///
    /// Dropping the future takes nothing back and does no harm; the peer can be started again.
    ///
    /// # Errors
    /// [`StartError`]: the folder is damaged, is in use, or was emptied.
    pub async fn start(newborn: Newborn, initial: S) -> Result<Self, StartError> {
        newborn.wait().await?;
        let config = newborn.config().clone();
        let mut engine = config.engine()?;
        let identity = newborn.identity().clone();
        let fresh_mark = !identity.holds_data();
        let witness = || Witness::open(&config.folder, !fresh_mark);
        let (mut log, log_closed) = Log::open(&Newborn::log_folder(&config), identity, witness)?;
        let flushes = log.flushes();
        let vote = log.read_vote().await.map_err(StartError::Log)?;
        let is_born = fresh_mark && log.is_fresh();

        let has_data = !log.is_fresh();
        // Standing for election is a vote for oneself: see `Silence`.
        engine.enable_elect = !has_data;
        // On disk before this peer can grant anything.
        let granted = Granted::note(&config.folder, config.timing, has_data);
        let granted = granted.map_err(StartError::Folder)?;
        let silence = Silence::new(granted, has_data);

        let (view, watched) = watch::channel(View::FIRST);
        let snapshot = SnapshotFile::new(&config.folder);
        let machine =
            Machine::open(snapshot, initial, view.clone()).map_err(StartError::Snapshot)?;
        machine.reaches(log.purged().map_err(StartError::Log)?)?;
        let shared = machine.shared();
        let network = Network {
            group: config.group,
            beginning: config.beginning,
            id: config.id,
            transport: config.transport.clone(),
            election_max: config.timing.election_max,
        };
        let raft = Raft::new(config.id, Arc::new(engine), network, log, machine)
            .await
            .map_err(engine_error)?;

        // What it says of itself is never less than what it said before it stopped.
        let term = vote.map_or(0, |vote| vote.leader_id.term);
        raft.wait(Some(KNOWN_WITHIN))
            .metrics(|metrics| metrics.current_term >= term, "the term of before")
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
        let server = raft.server_metrics();
        status::note(&server, &view);
        tasks.spawn(status::follow(server, view));
        if has_data {
            let (raft, folder, timing) = (raft.clone(), config.folder.clone(), config.timing);
            tasks.spawn(async move {
                tokio::time::sleep(granted.longest()).await;
                raft.runtime_config().elect(true);
                if granted != Granted::of(timing) {
                    Granted::forget(folder, timing).await;
                }
            });
        }
        tracing::info!(peer = config.id, group = %config.group, born = is_born, "peer started");
        Ok(Self::new(Parts {
            raft,
            shared,
            told: newborn.told(true),
            config: Arc::new(config),
            view: watched,
            log_closed,
            flushes,
            silence,
            wakefulness: Wakefulness::new(),
            heard: Heard::default(),
            _tasks: tasks,
        }))
    }
}

fn engine_error(error: impl std::fmt::Display) -> StartError {
    StartError::Engine(error.to_string())
}
