//! A peer from the opening of its folder until it takes part.
//!
//! While its folder has no data it asks the other first members how far they are, as [`birth`](crate::birth) says,
//! and answers them the same. Every other call is refused: a peer that does not know yet whether it is a stranger
//! neither votes nor takes entries.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::{Request, Response, body::Body};
use tokio::sync::watch;

use crate::{
    Config, GroupId, StartError, Waiting,
    birth::{BirthQuestion, Next, Told},
    durable_file,
    handle::{Refusal, accept, collect, respond, to_response},
    identity::IdentityFile,
    log,
    network::Caller,
    restore,
    wire::{Call, Route},
};

/// How often the others are asked: a group is born once, and nobody waits for it but its operator.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long an answer may take. It costs the other one no write.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// How often the log repeats what is waited for.
const REPEAT_EVERY: u32 = 100;

/// A peer that does not take part yet. Mount [`handle`](Self::handle) first, then hand it to
/// [`Consensus::start`](crate::Consensus::start). Clones mean the same peer.
#[derive(Clone)]
pub struct Newborn {
    parts: Arc<Parts>,
}

struct Parts {
    config: Config,
    identity: Mutex<IdentityFile>,
    waiting: watch::Sender<Option<Waiting>>,
}

impl Newborn {
    /// Opens the folder of the peer that `config` describes, or marks an empty one. Blocks for a few flushes.
    ///
    /// # Errors
    /// [`StartError`]: the folder is not ours or cannot be used, or the timings contradict each other.
    pub fn open(mut config: Config) -> Result<Self, StartError> {
        config.engine()?;
        let folder = &config.folder;
        durable_file::create_folder(folder).map_err(StartError::Folder)?;
        if restore::is_unfinished(folder) {
            return Err(StartError::Unfinished);
        }
        if !IdentityFile::exists(folder) && Self::log_folder(&config).exists() {
            return Err(StartError::Unmarked);
        }
        let identity = IdentityFile::open(folder, config.group, config.beginning, config.id)?;
        config.beginning = identity.beginning();
        let parts = Parts {
            config,
            identity: Mutex::new(identity),
            waiting: watch::channel(None).0,
        };
        Ok(Self {
            parts: Arc::new(parts),
        })
    }

    /// This peer.
    pub fn id(&self) -> u64 {
        self.parts.config.id
    }

    /// The group of this peer.
    pub fn group(&self) -> GroupId {
        self.parts.config.group
    }

    /// What this peer waits for, as of its last round of questions; `None` before the first, and if it waits for
    /// nobody.
    pub fn waiting(&self) -> Option<Waiting> {
        self.parts.waiting.borrow().clone()
    }

    /// Answers one HTTP request of another peer until this one has started, as
    /// [`Consensus::handle`](crate::Consensus::handle) does afterwards. All but the questions about the birth are
    /// refused with 503.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        to_response(self.id(), self.answer(request).await)
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Vec<u8>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let call = accept(&request, &self.parts.config)?;
        match call {
            Call::Birth => {
                let body = collect(request, call.limit(), ANSWER_WITHIN).await?;
                let told = self.told(false);
                respond(&body, call, |BirthQuestion| async {
                    Ok::<_, Refusal>(told)
                })
                .await
            }
            Call::Append | Call::Vote | Call::PreVote | Call::Snapshot | Call::Transfer => {
                Err(Refusal::not_yet("this peer does not take part yet"))
            }
        }
    }

    /// Whether this peer has to ask others before it takes part: it is a first member, and its folder is new.
    pub fn asks(&self) -> bool {
        let config = &self.parts.config;
        let identity = self.identity();
        let has_others = config.members.len() > 1 || identity.birth().first.len() > 1;
        config.members.contains_key(&config.id) && has_others && !identity.holds_data()
    }

    /// Returns when this peer may take part; for ever silent first members keep it waiting for ever. Dropping the
    /// future leaves the folder as it is.
    ///
    /// # Errors
    /// [`StartError::Stranger`]; [`StartError::Identity`] if the folder cannot be written.
    pub(crate) async fn wait(&self) -> Result<(), StartError> {
        let config = &self.parts.config;
        if !self.asks() {
            return self.note_lone_birth();
        }
        let mut others: BTreeMap<u64, Caller> = config
            .members
            .iter()
            .filter(|(id, _)| **id != config.id)
            .map(|(id, address)| {
                let route = Route {
                    group: config.group,
                    beginning: config.beginning,
                    from: config.id,
                    to: *id,
                    election_max: config.timing.election_max,
                };
                (
                    *id,
                    Caller::new(route, address.clone(), config.transport.clone()),
                )
            })
            .collect();
        tracing::info!(peer = config.id, group = %config.group, "the folder is new: asking the other first members");
        let mut waited: u32 = 0;
        loop {
            let told = ask(&mut others).await;
            let next = self
                .identity()
                .birth()
                .next(config.id, &config.members, &told);
            match next {
                Next::TakePart => {
                    self.parts.waiting.send_replace(None);
                    return Ok(());
                }
                Next::Note(first) => {
                    let noted = self.identity().note_birth(first);
                    noted.map_err(StartError::Identity)?;
                }
                Next::Stranger { known_to } => {
                    let id = config.id;
                    return Err(StartError::Stranger { id, known_to });
                }
                Next::Wait(waiting) => {
                    let is_new = self.waiting().as_ref() != Some(&waiting);
                    if is_new || waited.is_multiple_of(REPEAT_EVERY) {
                        tracing::warn!(peer = config.id, "{waiting}");
                    }
                    waited = if is_new { 1 } else { waited + 1 };
                    self.parts.waiting.send_replace(Some(waiting));
                    tokio::time::sleep(ASK_EVERY).await;
                }
            }
        }
    }

    /// A first member without others notes itself alone, so that it is known for ever that nobody else could tell whether
    /// it lost its folder.
    fn note_lone_birth(&self) -> Result<(), StartError> {
        let config = &self.parts.config;
        let mut identity = self.identity();
        let is_new = identity.birth().first.is_empty() && !identity.holds_data();
        if is_new && config.members.contains_key(&config.id) {
            let number = identity.birth().number;
            let noted = identity.note_birth(BTreeMap::from([(config.id, number)]));
            noted.map_err(StartError::Identity)?;
        }
        Ok(())
    }

    /// What others are told.
    pub(crate) fn told(&self, takes_part: bool) -> Told {
        Told {
            birth: self.identity().birth().clone(),
            takes_part,
            members: self.parts.config.members.clone(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.parts.config
    }

    pub(crate) fn log_folder(config: &Config) -> std::path::PathBuf {
        config.folder.join(log::NAME)
    }

    pub(crate) fn identity(&self) -> MutexGuard<'_, IdentityFile> {
        let identity = self.parts.identity.lock();
        identity.expect("nothing that holds the identity panics")
    }
}

/// Whether `folder` is marked as that of a peer.
pub fn holds_a_peer(folder: &std::path::Path) -> bool {
    IdentityFile::exists(folder)
}

async fn ask(others: &mut BTreeMap<u64, Caller>) -> BTreeMap<u64, Option<Told>> {
    let asked = others.iter_mut().map(|(id, caller)| async move {
        let told = caller.ask_birth(ANSWER_WITHIN).await;
        let told = told.inspect_err(|error| {
            tracing::debug!(peer = id, error, "no answer about the birth of the group")
        });
        (*id, told.ok())
    });
    join_all(asked).await.into_iter().collect()
}
