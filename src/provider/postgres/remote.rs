//! PostgreSQL anywhere: sessions that are kept between calls, and what is read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::sleep;

use super::call::Call;
use super::catalogue::Version;
use super::connect;
use super::copies;
use super::failure::has_ended;
use super::login::Login;
use super::replicas::Others;
use super::session::Session;
use super::snapshot::Snapshot;
use super::weak;
use crate::clock;
use crate::model::{
    Address, CopyMark, Epoch, InstanceFacts, Position, PositionOrder, ReplicationStatus,
    SyncPolicy, SyncState, Timestamp,
};
use crate::provider::operation::Epochs;
use crate::provider::positions;
use crate::provider::{
    Capabilities, DatabaseProvider, Extent, Gtid, Operation, Outcome, ProviderError, Result,
};

/// How often a condition is looked at again. A look takes a millisecond, and people and recoveries wait for it.
pub(super) const AGAIN: Duration = Duration::from_millis(20);

/// PostgreSQL, for every instance of one cluster.
#[derive(Debug)]
pub struct Postgres {
    login: Login,
    /// Whether which copy of its data an instance holds is asked for with every look.
    marks: bool,
    pub(super) epochs: Epochs,
    known: Mutex<BTreeMap<Address, Known>>,
}

/// What it is, and who receives from it.
type Look = (Snapshot, Others);

/// What is kept of an instance between calls.
#[derive(Debug, Default)]
struct Known {
    /// Whoever asks next takes it; another who asks meanwhile opens one of its own.
    session: Option<Session>,
    /// When it was last seen to have applied everything.
    caught_up_at: Option<Timestamp>,
    /// In which epoch a revocation had come so far that only its pause was left.
    revoking: Option<Epoch>,
}

impl Postgres {
    /// Signs in like this everywhere. Nothing is opened yet.
    pub fn new(login: Login) -> Postgres {
        Postgres {
            login,
            marks: true,
            epochs: Epochs::default(),
            known: Mutex::default(),
        }
    }

    /// What its sessions are called.
    pub(super) fn application_name(&self) -> &str {
        &self.login.application_name
    }

    /// The same, where nobody needs to know which copy of its data an instance holds.
    #[must_use]
    pub fn without_marks(self) -> Postgres {
        let marks = false;
        Postgres { marks, ..self }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Address, Known>> {
        self.known.lock().expect("no holder of the sessions panics")
    }

    pub(super) fn take(&self, of: &Address) -> Option<Session> {
        let kept = self.known().get_mut(of)?.session.take();
        kept.filter(|session| !session.is_closed())
    }

    pub(super) fn keep(&self, of: &Address, session: Session) {
        self.of(of, |known| known.session = Some(session));
    }

    fn of(&self, of: &Address, change: impl FnOnce(&mut Known)) {
        let mut all = self.known();
        match all.get_mut(of) {
            Some(known) => change(known),
            None => change(all.entry(of.clone()).or_default()),
        }
    }

    /// Notes that of a revocation only the pause is left.
    pub(super) fn note_revoking(&self, of: &Address, epoch: Epoch) {
        self.of(of, |known| known.revoking = Some(epoch));
    }

    /// Whether a revocation in this epoch had come so far.
    pub(super) fn was_revoking(&self, of: &Address, epoch: Epoch) -> bool {
        let known = self.known();
        known
            .get(of)
            .is_some_and(|known| known.revoking == Some(epoch))
    }

    /// A session of its own.
    pub(super) async fn open(&self, call: &Call, of: &Address) -> Result<Session> {
        // Apart, because it is large, rare, and a part of every call: what is kept for each instance would hold room for it.
        Box::pin(connect::open(call, &self.login, of)).await
    }

    /// A session and what it sees, with which every call begins: a kept one that has ended unnoticed shows itself
    /// before anything is changed, and a new one takes its place.
    pub(super) async fn seen(&self, call: &Call, of: &Address) -> Result<(Session, Snapshot)> {
        if let Some(kept) = self.take(of) {
            let read = Snapshot::read(&kept, call).await;
            if let Some((kept, seen)) = unless_ended(kept, read)? {
                self.note(of, &seen);
                return Ok((kept, seen));
            }
        }
        let session = self.open(call, of).await?;
        let seen = Snapshot::read(&session, call).await?;
        self.note(of, &seen);
        Ok((session, seen))
    }

    /// The same as it is seen time after time, and who receives from it.
    async fn looked(&self, call: &Call, of: &Address) -> Result<(Look, Option<CopyMark>)> {
        let mut found = None;
        if let Some(kept) = self.take(of) {
            let look = Snapshot::look(&kept, call).await;
            found = unless_ended(kept, look)?;
        }
        let (session, look) = match found {
            Some(found) => found,
            None => {
                let session = self.open(call, of).await?;
                let look = Snapshot::look(&session, call).await?;
                (session, look)
            }
        };
        let copy = match self.marks {
            true => copies::mark(&session, call).await?,
            false => None,
        };
        self.keep(of, session);
        Ok((look, copy))
    }

    fn note(&self, of: &Address, seen: &Snapshot) {
        if seen.is_caught_up() {
            let now = clock::monotonic();
            self.of(of, |known| known.caught_up_at = Some(now));
        }
    }

    /// How long ago it was last seen to have applied everything.
    fn caught_up_for(&self, of: &Address) -> Option<Duration> {
        let at = self.known().get(of)?.caught_up_at?;
        Some(clock::monotonic().since(at))
    }

    /// What is seen now, for a read.
    async fn read(
        &self,
        operation: &'static str,
        of: &Address,
        within: Duration,
    ) -> Result<Snapshot> {
        let call = Call::begin(operation, within);
        let work = async {
            let (session, seen) = self.seen(&call, of).await?;
            self.keep(of, session);
            Ok(seen)
        };
        call.run(work).await
    }

    /// Looks through this session until `is_so`, up to the deadline of the call that this is a part of.
    pub(super) async fn until(
        &self,
        call: &Call,
        session: &Session,
        mut is_so: impl FnMut(&Snapshot) -> Result<bool>,
    ) -> Result<Snapshot> {
        loop {
            let seen = Snapshot::read(session, call).await?;
            if is_so(&seen)? {
                return Ok(seen);
            }
            if call.remaining() < AGAIN {
                return Err(call.late());
            }
            sleep(AGAIN).await;
        }
    }
}

/// What was read through a kept session; none if that had ended.
fn unless_ended<T>(kept: Session, read: Result<T>) -> Result<Option<(Session, T)>> {
    match read {
        Ok(seen) => Ok(Some((kept, seen))),
        Err(error) if !has_ended(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

impl DatabaseProvider for Postgres {
    fn provider_name(&self) -> &'static str {
        "postgresql"
    }

    async fn get_replication_status(
        &self,
        of: &Address,
        within: Duration,
    ) -> Result<ReplicationStatus> {
        let seen = self.read("get replication status", of, within).await?;
        Ok(seen.status(self.caught_up_for(of)))
    }

    async fn is_replica_running(&self, of: &Address, within: Duration) -> Result<bool> {
        let seen = self.read("ask whether it replicates", of, within).await?;
        Ok(seen.status(None).replica_running)
    }

    async fn is_read_only(&self, of: &Address, within: Duration) -> Result<bool> {
        let seen = self.read("ask whether it is read-only", of, within).await?;
        Ok(seen.read_only_default)
    }

    fn capabilities(&self, server_version: &str) -> Result<Capabilities> {
        Version::parse(server_version).map(Version::capabilities)
    }

    async fn discover(&self, of: &Address, within: Duration) -> Result<InstanceFacts> {
        let observed_at = clock::monotonic();
        let call = Call::begin("discover", within);
        let ((seen, others), copy) = call.run(self.looked(&call, of)).await?;
        self.note(of, &seen);
        let version = seen.version.split(' ').next().unwrap_or_default();
        Ok(InstanceFacts {
            address: of.clone(),
            own_port: seen.own_port,
            started: seen.started,
            copy,
            system: seen.system,
            version: version.to_owned(),
            role: seen.role(),
            timeline: seen.timeline,
            status: seen.status(self.caught_up_for(of)),
            source: seen.source(),
            replicas: others.replicas,
            unused_slots: others.unused_slots,
            read_only_default: seen.read_only_default,
            sync: weak::sync_state(&seen),
            can_be_rewound: seen.can_be_rewound,
            receiver_timeout: seen.receiver_timeout,
            log: seen.log,
            observed_at,
        })
    }

    async fn hung_up(&self, of: &Address) {
        let of_kept = |known: &Known| known.session.as_ref()?.end_of_lasting();
        let kept = self.known().get(of).and_then(of_kept);
        match kept {
            Some(end) => end.cancelled().await,
            None => std::future::pending().await,
        }
    }

    async fn probe_write(&self, of: &Address, within: Duration) -> Result<()> {
        self.commit_something(of, within).await
    }

    fn compare(&self, a: &Position, b: &Position) -> PositionOrder {
        positions::compare(a, b)
    }

    async fn wait_position(
        &self,
        of: &Address,
        extent: Extent,
        to: &Position,
        within: Duration,
    ) -> Result<Position> {
        let Position::Wal(wanted) = *to else {
            let why = "the position is of another engine".to_owned();
            return Err(ProviderError::Precondition(why));
        };
        let call = Call::begin("wait for a position", within);
        let mut behind = None;
        let mut reached = None;
        let work = async {
            let (session, _) = self.seen(&call, of).await?;
            self.until(&call, &session, |seen| {
                reached = match extent {
                    Extent::Received if seen.in_recovery => seen.received_at(),
                    Extent::Received | Extent::Applied => seen.applied_at(),
                };
                behind = positions::is_behind(wanted, reached.as_ref())?;
                Ok(behind == Some(0))
            })
            .await?;
            self.keep(of, session);
            Ok(())
        };
        match (call.run(work).await, behind) {
            (Ok(()), _) => Ok(reached.unwrap_or(Position::Wal(wanted))),
            (Err(ProviderError::Timeout { .. }), Some(behind_bytes)) => {
                Err(ProviderError::NotCaughtUp { behind_bytes })
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn gtid(&self, _of: &Address, _question: &Gtid, _within: Duration) -> Result<String> {
        Err(ProviderError::Unsupported {
            operation: "a set of transaction identifiers",
            why: Some("PostgreSQL counts bytes of its log; ask for positions"),
        })
    }

    async fn get_sync(&self, of: &Address, within: Duration) -> Result<SyncState> {
        let seen = self.read("get what commits wait for", of, within).await?;
        Ok(weak::sync_state(&seen))
    }

    async fn set_read_only(&self, by: &Operation, of: &Address, on: bool) -> Result<()> {
        self.change_read_only(by, of, on).await
    }

    async fn start_replication(&self, by: &Operation, of: &Address) -> Result<()> {
        self.resume(by, of).await
    }

    async fn stop_replication(&self, by: &Operation, of: &Address) -> Result<()> {
        self.pause(by, of).await
    }

    async fn promote(&self, by: &Operation, of: &Address) -> Result<Position> {
        self.make_primary(by, of).await
    }

    async fn demote(&self, by: &Operation, of: &Address, to: &Address) -> Result<()> {
        self.make_standby(by, of, to).await
    }

    async fn fence(&self, by: &Operation, of: &Address) -> Result<Outcome> {
        self.ask_for_quiet(by, of).await
    }

    async fn reparent(&self, by: &Operation, of: &Address, to: &Address) -> Result<()> {
        self.point_at(by, of, to).await
    }

    async fn detach(&self, by: &Operation, of: &Address) -> Result<()> {
        self.point_nowhere(by, of).await
    }

    async fn revoke(&self, by: &Operation, of: &Address) -> Result<Option<Position>> {
        self.take_back(by, of).await
    }

    async fn reattach(&self, by: &Operation, of: &Address) -> Result<()> {
        self.point_back(by, of).await
    }

    async fn set_sync(&self, by: &Operation, of: &Address, policy: &SyncPolicy) -> Result<()> {
        self.change_sync(by, of, policy).await
    }

    async fn prove_sync(&self, of: &Address, policy: &SyncPolicy, within: Duration) -> Result<()> {
        self.acknowledge(of, policy, within).await
    }
}
