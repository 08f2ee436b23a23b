//! PostgreSQL anywhere: sessions that are kept between calls, and what is read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::sleep;

use super::call::Call;
use super::catalogue::Version;
use super::connect;
use super::failure::has_ended;
use super::login::Login;
use super::session::Session;
use super::snapshot::Snapshot;
use super::synchronous;
use crate::clock;
use crate::model::{
    Address, InstanceFacts, Position, PositionOrder, ReplicaFacts, ReplicationStatus, SyncPolicy,
    SyncState, Timestamp, WalPosition,
};
use crate::provider::operation::Epochs;
use crate::provider::{
    Capabilities, DatabaseProvider, Extent, Gtid, Operation, Outcome, ProviderError, Result,
};

/// How often a condition is looked at again. A look takes a millisecond, and people and recoveries wait for it.
pub(super) const AGAIN: Duration = Duration::from_millis(20);

/// PostgreSQL, for every instance of one cluster.
#[derive(Debug)]
pub struct Postgres {
    login: Login,
    pub(super) epochs: Epochs,
    known: Mutex<BTreeMap<Address, Known>>,
}

/// What is kept of an instance between calls.
#[derive(Debug, Default)]
struct Known {
    /// Whoever asks next takes it; another who asks meanwhile opens one of its own.
    session: Option<Session>,
    /// When it was last seen to have applied everything.
    caught_up_at: Option<Timestamp>,
}

impl Postgres {
    /// Signs in like this everywhere. Nothing is opened yet.
    pub fn new(login: Login) -> Postgres {
        Postgres {
            login,
            epochs: Epochs::default(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Address, Known>> {
        self.known.lock().expect("no holder of the sessions panics")
    }

    fn take(&self, of: &Address) -> Option<Session> {
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

    /// A session of its own.
    pub(super) async fn open(&self, call: &Call, of: &Address) -> Result<Session> {
        connect::open(call, &self.login, of).await
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
    async fn looked(&self, call: &Call, of: &Address) -> Result<(Snapshot, Vec<ReplicaFacts>)> {
        if let Some(kept) = self.take(of) {
            let look = Snapshot::look(&kept, call).await;
            if let Some((kept, found)) = unless_ended(kept, look)? {
                self.keep(of, kept);
                return Ok(found);
            }
        }
        let session = self.open(call, of).await?;
        let found = Snapshot::look(&session, call).await?;
        self.keep(of, session);
        Ok(found)
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

fn sync_state(seen: &Snapshot) -> SyncState {
    let text = &seen.synchronous_standby_names;
    SyncState {
        policy: synchronous::parse(text),
        text: text.clone(),
        commits_wait: matches!(seen.synchronous_commit.as_str(), "on" | "remote_apply"),
        waiting: seen.waiting,
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
        let (seen, replicas) = call.run(self.looked(&call, of)).await?;
        self.note(of, &seen);
        let version = seen.version.split(' ').next().unwrap_or_default();
        Ok(InstanceFacts {
            address: of.clone(),
            own_port: seen.own_port,
            started: seen.started,
            system: seen.system,
            version: version.to_owned(),
            role: seen.role(),
            timeline: seen.timeline,
            status: seen.status(self.caught_up_for(of)),
            source: seen.source(),
            replicas,
            read_only_default: seen.read_only_default,
            sync: sync_state(&seen),
            can_be_rewound: seen.can_be_rewound,
            receiver_timeout: seen.receiver_timeout,
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

    fn compare(&self, a: &Position, b: &Position) -> PositionOrder {
        let (Position::Wal(a), Position::Wal(b)) = (a, b) else {
            return PositionOrder::Incomparable;
        };
        if a.timeline != b.timeline {
            return PositionOrder::Incomparable;
        }
        match a.lsn.cmp(&b.lsn) {
            std::cmp::Ordering::Equal => PositionOrder::Equal,
            std::cmp::Ordering::Greater => PositionOrder::Ahead,
            std::cmp::Ordering::Less => PositionOrder::Behind,
        }
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
                behind = is_behind(wanted, reached.as_ref())?;
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
        Ok(sync_state(&seen))
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
}

/// How many bytes are missing, 0 if none; none if its timeline cannot be seen. One on an older timeline has all of it to
/// come. Errors: `Diverged` on a younger one, because over SQL its history cannot be read.
fn is_behind(wanted: WalPosition, reached: Option<&Position>) -> Result<Option<u64>> {
    let Some(Position::Wal(reached)) = reached else {
        return Ok(None);
    };
    if reached.timeline > wanted.timeline {
        return Err(ProviderError::Diverged {
            found: reached.timeline,
            wanted,
        });
    }
    let missing = wanted.lsn.0.saturating_sub(reached.lsn.0);
    Ok(Some(match reached.timeline == wanted.timeline {
        true => missing,
        // It could be past the place where the timelines part.
        false => missing.max(1),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Lsn, Timeline};

    #[test]
    fn a_position_on_another_timeline_is_not_reached() {
        let at = |timeline, lsn| WalPosition {
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
        };
        let check = |reached, expected| {
            let found = is_behind(at(2, 100), Some(&Position::Wal(reached)));
            assert_eq!(found.ok(), expected, "{reached}");
        };
        check(at(2, 100), Some(Some(0)));
        check(at(2, 99), Some(Some(1)));
        check(at(1, 200), Some(Some(1)));
        check(at(1, 10), Some(Some(90)));
        check(at(3, 200), None);
        assert_eq!(is_behind(at(2, 100), None).unwrap(), None);
    }
}
