//! Starting PostgreSQL, on a disk that may hang meanwhile.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use super::Hands;
use crate::agent::chain;
use crate::gate::Admission;
use crate::host::{processes, server};

/// Gives a start up when nobody waits for it any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl Hands {
    /// Starts PostgreSQL and returns when the postmaster runs. A start that is late is given up: it ends before
    /// it runs anything, or kills what it ran, and until then [`Hands::start_hangs`]. Errors: in words.
    pub async fn start(&self, _by: &Admission, within: Duration) -> Result<(), String> {
        let (binaries, log) = (self.binaries.clone(), self.log());
        let data = self.data_path().to_owned();
        let mut place = self.place();
        let given_up = Arc::new(AtomicBool::new(false));
        let _waits = GiveUp(Arc::clone(&given_up));
        let start = move || {
            // Before anything runs in it, so that it is found under whatever name the folder gets.
            place.pin();
            let is_wanted = || !given_up.load(SeqCst);
            let pid = server::start(&binaries, &data, &log, is_wanted)?;
            if !is_wanted() {
                processes::signal(&place, pid, Signal::KILL);
            }
            Ok::<_, crate::host::Error>((pid, place))
        };
        let started = self.starting.run(within, start).await;
        let started = started.map_err(|hung| format!("the disk of the data folder {hung}"))?;
        let (pid, place) = started.map_err(|error| chain(&error))?;
        *self.newborn.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        *self.pinned() = place;
        Ok(())
    }

    /// Whether a start that was given up may still run something: nothing may be concluded from what runs.
    pub fn start_hangs(&self) -> bool {
        self.starting.hangs()
    }
}
