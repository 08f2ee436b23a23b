//! A client of the database: how it finds its session, keeps it or not, and records what it does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::config::Host;

use crate::clock;
use crate::history::{Answerer, ClientLog, Operation, Pending, SessionAge};
use crate::session::{self, Session, Target};

use super::sql::{Trouble, TroubleKind};
use super::{Pace, WorkloadError};

/// A client that rediscovers does so after so many operations even if nothing goes wrong.
const REDISCOVER_AFTER: u32 = 20;
/// A client that keeps its session gives it up after so many failures in a row.
const PATIENCE: u32 = 10;
pub(super) const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);
pub(super) const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// What a client does with its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// It stays on the session while that is open, whatever it answers: the worst for a deposed primary.
    Keep,
    /// It looks for the primary again after any failure, and every now and then.
    Rediscover,
    /// It opens a session for every operation.
    Fresh,
}

impl Habit {
    /// Half of the clients of a workload keep, half rediscover.
    pub fn of(number: usize) -> Habit {
        if number.is_multiple_of(2) {
            Habit::Keep
        } else {
            Habit::Rediscover
        }
    }
}

/// The names of nodes by the addresses that servers know of themselves.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<String, Arc<str>>);

impl Names {
    /// The names of these targets.
    pub fn new(targets: &[Target]) -> Names {
        let mut names = BTreeMap::new();
        for target in targets {
            let hosts = target.config.get_hosts().iter();
            let addresses = target.config.get_hostaddrs().iter();
            let hosts = hosts.filter_map(|host| match host {
                Host::Tcp(host) => Some(host.clone()),
                Host::Unix(_) => None,
            });
            for host in hosts.chain(addresses.map(ToString::to_string)) {
                for port in target.config.get_ports() {
                    names.insert(format!("{host}:{port}"), Arc::clone(&target.node));
                }
            }
        }
        Names(names)
    }

    /// The name for an address; the address itself if it is nobody's.
    pub fn of(&self, address: &str) -> String {
        let name = self.0.get(address).map(|name| name.to_string());
        name.unwrap_or_else(|| address.to_owned())
    }
}

/// Where a client looks for a session.
#[derive(Debug, Clone)]
pub enum Way {
    /// Whoever accepts writes, in this order, as libpq does with several hosts and
    /// `target_session_attrs=read-write`.
    Primary(Vec<Target>),
    /// This one, whatever it is.
    Node(Box<Target>),
}

/// One client.
#[derive(Debug)]
pub struct Client {
    way: Way,
    habit: Habit,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    node: Arc<str>,
    session: Session,
    used: u32,
    failed: u32,
}

/// What an operation found, and who answered it; none of what the client knows itself.
pub type Done = (Operation, Option<Answerer>);

impl Client {
    /// Nothing is opened yet.
    pub fn new(way: Way, habit: Habit) -> Client {
        Client {
            way,
            habit,
            open: None,
        }
    }

    /// Until told to stop: invokes what `next` says, performs it and records its end. What cannot be read
    /// had no effect; what may have been written is unknown.
    ///
    /// # Errors
    /// The history cannot be written.
    pub async fn work(
        mut self,
        mut log: ClientLog,
        pace: Pace,
        mut next: impl FnMut() -> Operation,
        perform: impl AsyncFn(&Session, &Operation) -> Result<Done, Trouble>,
    ) -> Result<(), WorkloadError> {
        let mut beats = pace.beats();
        while beats.next().await {
            let operation = next();
            let pending = log.invoke(operation.clone())?;
            self.one(pending, &operation, &perform).await?;
        }
        Ok(())
    }

    /// Invokes what `next` says, again and again, until one is acknowledged.
    ///
    /// # Errors
    /// None is within 30 s, or the history cannot be written.
    pub async fn insist(
        &mut self,
        log: &mut ClientLog,
        what: &'static str,
        mut next: impl FnMut() -> Operation,
        perform: &impl AsyncFn(&Session, &Operation) -> Result<Done, Trouble>,
    ) -> Result<(), WorkloadError> {
        let began = clock::now();
        while clock::now().since(began) < FOUND_WITHIN {
            let operation = next();
            let pending = log.invoke(operation.clone())?;
            if self.one(pending, &operation, perform).await? {
                return Ok(());
            }
            sleep(BETWEEN_ROUNDS).await;
        }
        let last = "see the log".to_owned();
        Err(WorkloadError::Late { what, last })
    }

    /// Answers whether the operation is acknowledged.
    async fn one(
        &mut self,
        mut pending: Pending<'_>,
        operation: &Operation,
        perform: &impl AsyncFn(&Session, &Operation) -> Result<Done, Trouble>,
    ) -> Result<bool, WorkloadError> {
        let (open, age) = match self.session().await {
            Ok(found) => found,
            Err(why) => {
                pending.fail(why)?;
                return Ok(false);
            }
        };
        pending.over(age);
        let result = perform(&open.session, operation).await;
        open.used += 1;
        let node = || Answerer {
            node: open.node.to_string(),
            timeline: None,
        };
        match &result {
            Ok((found, answerer)) => {
                open.failed = 0;
                pending.answered_by(answerer.clone().unwrap_or_else(node));
                pending.ok(found.clone())?;
            }
            Err(trouble) => {
                let has_effect = trouble.kind == TroubleKind::Unknown && operation.is_write();
                pending.answered_by(node());
                if has_effect {
                    pending.info(&trouble.why)?;
                } else {
                    pending.fail(&trouble.why)?;
                }
            }
        }
        let is_done = result.is_ok();
        self.judge_session(result.err().map(|trouble| trouble.kind));
        Ok(is_done)
    }

    /// The session for the next operation.
    async fn session(&mut self) -> Result<(&mut Open, SessionAge), String> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.session.client.is_closed())
        {
            self.open = None;
        }
        let age = match self.open {
            Some(_) => SessionAge::Kept,
            None => SessionAge::Fresh,
        };
        let open = match self.open.take() {
            Some(open) => open,
            None => self.find().await?,
        };
        Ok((self.open.insert(open), age))
    }

    async fn find(&self) -> Result<Open, String> {
        let found = match &self.way {
            Way::Primary(targets) => session::primary(targets).await,
            Way::Node(target) => Session::open(target)
                .await
                .map(|session| (Arc::clone(&target.node), session)),
        };
        let (node, session) = found.map_err(|error| format!("{error:#}"))?;
        Ok(Open {
            node,
            session,
            used: 0,
            failed: 0,
        })
    }

    fn judge_session(&mut self, trouble: Option<TroubleKind>) {
        let Some(open) = &mut self.open else { return };
        let keeps = match (self.habit, trouble) {
            (_, Some(TroubleKind::Lost)) | (Habit::Fresh, _) => false,
            (_, None | Some(TroubleKind::Conflict)) => {
                self.habit == Habit::Keep || open.used < REDISCOVER_AFTER
            }
            (Habit::Rediscover, Some(TroubleKind::Refused | TroubleKind::Unknown)) => false,
            (Habit::Keep, Some(TroubleKind::Refused | TroubleKind::Unknown)) => {
                open.failed += 1;
                open.failed < PATIENCE
            }
        };
        if !keeps {
            self.open = None;
        }
    }
}

/// Tries `work` on the primary until it succeeds.
///
/// # Errors
/// It does not within 30 s.
pub async fn on_primary<T>(
    targets: &[Target],
    what: &'static str,
    work: impl AsyncFn(&str, &Session) -> Result<T, Trouble>,
) -> Result<T, WorkloadError> {
    let mut last = "nothing was tried".to_owned();
    let tried = timeout(FOUND_WITHIN, async {
        loop {
            match session::primary(targets).await {
                Err(error) => last = format!("{error:#}"),
                Ok((node, session)) => match work(&node, &session).await {
                    Ok(done) => return done,
                    Err(trouble) => last = trouble.why,
                },
            }
            sleep(BETWEEN_ROUNDS).await;
        }
    });
    match tried.await {
        Ok(done) => Ok(done),
        Err(_) => Err(WorkloadError::Late { what, last }),
    }
}
