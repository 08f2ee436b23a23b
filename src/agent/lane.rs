//! Blocking work that may hang, one thread at a time for each kind of it.
//!
//! A read or write on a disk that hangs cannot be called back, and its thread stays until the disk answers. So
//! work of one kind shares a lane: what comes next waits for what is in it, although nobody else may wait for
//! that any more, and it waits without a thread. Once what is in it is late, whoever comes fails at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::observe::blocking;

/// Why there is no result. The words follow those of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Hung {
    /// It did not end in time. It goes on by itself, and keeps the lane until it ends.
    #[error("did not answer for {} ms", .0.as_millis())]
    Late(Duration),
    /// What was begun before has not ended; this was not begun.
    #[error("has not answered what was begun before")]
    Before,
}

/// Where work of one kind is done.
#[derive(Debug, Clone)]
pub struct Lane {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// When the work in the lane is late, or was.
    late_at: Arc<Mutex<Instant>>,
}

impl Default for Lane {
    fn default() -> Lane {
        Lane {
            turn: Arc::default(),
            late_at: Arc::new(Mutex::new(Instant::now())),
        }
    }
}

impl Lane {
    /// Does the work on a thread of its own once the lane is free. Dropping the future leaves work that has
    /// begun to itself. Errors: [`Hung`].
    pub async fn run<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hung> {
        let deadline = Instant::now() + within;
        let turn = Arc::clone(&self.turn);
        let turn = match Arc::clone(&turn).try_lock_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let until = deadline.min(*self.late_at());
                let waited = timeout_at(until, turn.lock_owned()).await;
                waited.map_err(|_| Hung::Before)?
            }
        };
        *self.late_at() = deadline;
        let work = move || {
            let _turn = turn;
            work()
        };
        let done = timeout_at(deadline, blocking(work)).await;
        done.map_err(|_| Hung::Late(within))
    }

    /// Whether work is in the lane that should have ended.
    pub fn hangs(&self) -> bool {
        self.turn.try_lock().is_err() && Instant::now() >= *self.late_at()
    }

    fn late_at(&self) -> MutexGuard<'_, Instant> {
        self.late_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn nothing_is_begun_behind_work_that_hangs() {
        let lane = Lane::default();
        let (release, hangs) = sync_channel::<()>(1);
        let hung = lane.run(SHORT, move || hangs.recv().is_ok()).await;
        assert_eq!(hung, Err(Hung::Late(SHORT)));
        assert!(lane.hangs());
        for _ in 0..1_000 {
            // Whatever time it has, and without a thread.
            assert_eq!(lane.run(LONG, || ()).await, Err(Hung::Before));
        }
        release.send(()).unwrap();
        while lane.run(SHORT, || ()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!lane.hangs());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_ended_before_the_next_begins() {
        let lane = Lane::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (release, hangs) = sync_channel::<()>(1);
        let (entered, is_in) = sync_channel::<()>(1);
        let noted = Arc::clone(&order);
        let first = lane.run(LONG, move || {
            entered.send(()).unwrap();
            hangs.recv().unwrap();
            noted.lock().unwrap().push(1);
        });
        let dropped = tokio::time::timeout(SHORT, first).await;
        assert!(dropped.is_err() && !lane.hangs());
        is_in.recv().unwrap();
        let noted = Arc::clone(&order);
        let second = lane.run(LONG, move || noted.lock().unwrap().push(2));
        let (done, ()) = tokio::join!(second, async { release.send(()).unwrap() });
        assert_eq!(done, Ok(()));
        assert_eq!(*order.lock().unwrap(), [1, 2]);
    }
}
