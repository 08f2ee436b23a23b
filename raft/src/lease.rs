//! The leader's lease: for how long no other peer can lead.
//!
//! A voter that has heard a leader refuses its vote to others for [`election_max`](crate::Timing::election_max). So a
//! leader that a majority answered knows, from the moment at which it *sent* what they answered, that until that time
//! has passed nobody else is elected. It counts on an eighth less, for clocks that run at different speeds.
//!
//! What could break that, and what is done about it:
//! * *A machine that was suspended*: its monotonic clock stood still and the lease looks alive. [`Wakefulness`].
//! * *A voter that restarted* has forgotten what it granted. [`Silence`]; for how long it is silent its folder says, because
//!   the timing that it starts with may be shorter than the one that it granted a lease in. [`Granted`].
//! * *A handover*: its votes are given in spite of a lease. The old leader refuses leases from the moment it begins,
//!   for the rest of its term (openraft's `transfer_to`). A vote request of that handover that arrives late, under a
//!   later leader, lacks that leader's first entry, which a majority has before that leader's first lease is
//!   confirmed: too few can vote for it.
//!
//! A hypervisor that stops a whole machine without a word to its clocks is not noticed. Therefore, and because a
//! lease says nothing of the time at which an answer arrives, nothing that decides may rest on one: that asks
//! [`confirm_leadership`](crate::Consensus::confirm_leadership).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use openraft::{
    Instant as _, ServerState, async_runtime::WatchReceiver,
    raft::linearizable_read::LinearizerOption, type_config::alias::InstantOf,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    ConfirmError, Consensus, RecordError, StateMachine, Timing,
    consensus::{confirm_error, stopped},
    durable_file, record,
    types::TypeConfig,
};

pub(crate) type Instant = InstantOf<TypeConfig>;

/// Nobody else leads for `remaining`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderLease {
    /// The term this peer leads in.
    pub term: u64,
    /// How long the lease still lasts by this machine's clock, unless it is renewed.
    pub remaining: Duration,
}

impl Timing {
    /// How long a leader's lease lasts after it sent what a majority answered.
    pub fn lease(&self) -> Duration {
        self.election_max - self.election_max / 8
    }
}

impl<S: StateMachine> Consensus<S> {
    /// The lease that this peer holds as a leader, as far as it knows without asking anybody. For display; see
    /// [`confirm_lease`](Self::confirm_lease).
    pub fn lease(&self) -> Option<LeaderLease> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        if metrics.running_state.is_err() || metrics.state != ServerState::Leader {
            return None;
        }
        let whole = self.timing().lease();
        let is_alone = metrics
            .membership_config
            .voter_ids()
            .eq(std::iter::once(self.id()));
        let remaining = if is_alone {
            whole
        } else {
            let acked = metrics.last_quorum_acked?.into_inner();
            let remaining = whole.checked_sub(acked.elapsed())?;
            // Looked at after the clock was read: a sleep in between counts.
            if !self.parts().wakefulness.was_awake_since(acked) {
                return None;
            }
            remaining
        };
        (!remaining.is_zero()).then_some(LeaderLease {
            term: metrics.current_term,
            remaining,
        })
    }

    /// Makes sure that this peer leads and holds a lease, and that the state has caught up with all that was
    /// committed before: what [`read`](Self::read) then gives is what any other peer could have answered at the time
    /// of the call. Asks nobody; waits at most as long as the lease lasts.
    ///
    /// To be sure that an answer left before another peer leads, call it again once the answer is made.
    ///
    /// # Errors
    /// [`ConfirmError`]; `Unconfirmed` also for a new leader whose first entry is not committed yet.
    pub async fn confirm_lease(&self) -> Result<LeaderLease, ConfirmError> {
        let whole = self.timing().lease();
        let option = || LinearizerOption::new(Some(whole), false).with_wait_timeout(Duration::ZERO);
        let confirmed = timeout(whole, async {
            // openraft looks at the lease itself, and refuses it during a handover.
            let linearizer = self.raft().get_read_linearizer(option()).await;
            let linearizer = linearizer.map_err(|error| confirm_error(self.id(), error))?;
            let before = self.lease().ok_or(ConfirmError::Unconfirmed)?;
            let ready = linearizer.try_await_ready(self.raft(), Some(before.remaining));
            let ready = ready.await.map_err(|fatal| stopped(&fatal))?;
            ready.map_err(|_| ConfirmError::Unconfirmed)?;
            // A handover may have begun meanwhile.
            let again = self.raft().get_read_linearizer(option()).await;
            // The state was waited for above; what counts here is that it is not refused.
            let _ = again.map_err(|error| confirm_error(self.id(), error))?;
            let now = self.lease().filter(|lease| lease.term == before.term);
            now.ok_or(ConfirmError::Unconfirmed)
        });
        confirmed.await.map_err(|_| ConfirmError::Unconfirmed)?
    }
}

/// After a restart a voter does not know whether it granted a lease before. It neither votes nor stands for election
/// until any that it granted has ended.
#[derive(Debug)]
pub(crate) struct Silence {
    until: Option<Instant>,
}

impl Silence {
    /// Of a peer that starts now; one whose folder was empty has granted nothing.
    pub(crate) fn new(granted: Granted, has_data: bool) -> Self {
        Self {
            until: has_data.then(|| Instant::now() + granted.longest()),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

/// The name in the folder of what [`Granted`] notes.
pub(crate) const NAME: &str = "granted";
/// Most bytes of that.
pub(crate) const LIMIT: usize = 1024;
/// The timings that peers had before there was such a note.
const KNOWN: [Timing; 2] = [Timing::lan(), Timing::wan()];

/// The longest lease that this peer may have granted and that may still run. In its folder, because the timing of a
/// group can be changed peer by peer: a leader of the old timing counts on what it was granted in that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Granted {
    /// In milliseconds.
    longest: u64,
}

impl Granted {
    /// The lease that a peer of this timing grants.
    pub(crate) fn of(timing: Timing) -> Self {
        let millis = timing.election_max.as_millis();
        Self {
            longest: u64::try_from(millis).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn longest(self) -> Duration {
        Duration::from_millis(self.longest)
    }

    /// Of a peer that starts now; durable on return. It must not take part before. What is noted in `folder` stays if
    /// it is longer: also a peer that stops while it is silent must not forget. Blocks for two flushes if `timing` is
    /// longer than what is noted.
    ///
    /// # Errors
    /// Those of the filesystem; [`io::ErrorKind::InvalidData`] if the note is damaged.
    pub(crate) fn note(folder: &Path, timing: Timing, has_data: bool) -> io::Result<Self> {
        let found = match durable_file::read(folder, NAME)? {
            Some(bytes) => Some(record::unseal::<Self>(&bytes, LIMIT).map_err(damaged)?),
            None => None,
        };
        let own = Self::of(timing);
        let granted = match (has_data, found) {
            (false, _) => own,
            (true, Some(before)) => own.max(before),
            (true, None) => KNOWN.map(Self::of).into_iter().fold(own, Ord::max),
        };
        if found != Some(granted) {
            granted.write(folder)?;
        }
        Ok(granted)
    }

    /// Call it when the silence is over: of what was granted before the start nothing runs any more. If that cannot be
    /// noted, the next start is silent for longer than it must.
    pub(crate) async fn forget(folder: PathBuf, timing: Timing) {
        let written = spawn_blocking(move || Self::of(timing).write(&folder)).await;
        if let Err(error) = written.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
            tracing::warn!(%error, "cannot note that longer leases have ended: the next start takes longer");
        }
    }

    fn write(self, folder: &Path) -> io::Result<()> {
        let record = record::seal(&self).map_err(io::Error::other)?;
        durable_file::replace(folder, NAME, &record)
    }
}

fn damaged(error: RecordError) -> io::Error {
    let text = format!(
        "`{NAME}` is damaged: {error}; remove it, and this peer is silent for the longest lease that there is"
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// How much longer than the monotonic clock the boot clock may seem to have run because the two are read one after
/// the other. Less than what the lease leaves for clocks that differ.
const READ_APART: Duration = Duration::from_millis(20);

/// Notices that the machine was suspended: then the boot clock went on and the monotonic clock did not.
#[derive(Debug)]
pub(crate) struct Wakefulness(Mutex<Seen>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The time suspended since boot; a little more, if the reader was interrupted.
    asleep: Duration,
    /// When a suspension was last noticed.
    woke: Option<Instant>,
}

impl Wakefulness {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Seen {
            asleep: asleep(),
            woke: None,
        }))
    }

    /// Whether the machine was not suspended since `then`.
    fn was_awake_since(&self, then: Instant) -> bool {
        let mut seen = self.0.lock().expect("nothing that holds it panics");
        seen.look(asleep(), Instant::now());
        seen.woke.is_none_or(|woke| then > woke)
    }
}

impl Seen {
    fn look(&mut self, asleep: Duration, now: Instant) {
        if asleep > self.asleep + READ_APART {
            self.woke = Some(now);
            self.asleep = asleep;
        } else {
            // Every reading is too long or right, so the least is the best.
            self.asleep = self.asleep.min(asleep);
        }
    }
}

/// The time that this machine was suspended since boot, or more: the boot clock is read last.
fn asleep() -> Duration {
    let awake = clock_gettime(ClockId::Monotonic);
    let all = clock_gettime(ClockId::Boottime);
    let all = Duration::try_from(all).unwrap_or_default();
    all.saturating_sub(Duration::try_from(awake).unwrap_or_default())
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
