//! The requests to end that a `dev up` heeds: Ctrl-C, SIGTERM, and the end of its terminal (SIGHUP). Once listened
//! for, none of them ends the process by itself: whoever started nodes takes them down.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::DevError;

/// Listens from [`Ending::listen`] on.
pub(super) struct Ending {
    runtime: Runtime,
    signals: [Signal; 3],
    /// Whether one came.
    pub is_asked: bool,
}

impl Ending {
    pub(super) fn listen() -> Result<Ending, DevError> {
        let failed =
            |error: std::io::Error| DevError::failed(format!("listen for signals: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let signals = {
            let _inside = runtime.enter();
            let on = |kind| signal(kind).map_err(failed);
            [
                on(SignalKind::interrupt())?,
                on(SignalKind::terminate())?,
                on(SignalKind::hangup())?,
            ]
        };
        Ok(Ending {
            runtime,
            signals,
            is_asked: false,
        })
    }

    /// Waits so long, or until the end is asked for; says whether it is.
    pub(super) fn comes_within(&mut self, time: Duration) -> bool {
        let [interrupt, terminate, hangup] = &mut self.signals;
        let came = self.runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                _ = hangup.recv() => true,
                () = tokio::time::sleep(time) => false,
            }
        });
        self.is_asked |= came;
        self.is_asked
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn the_end_of_the_terminal_is_a_request_to_end() {
        for asked in [Signal::HUP, Signal::TERM, Signal::INT] {
            let mut ending = Ending::listen().unwrap();
            assert!(!ending.comes_within(Duration::ZERO));
            kill_process(getpid(), asked).unwrap();
            assert!(ending.comes_within(Duration::from_secs(10)), "{asked:?}");
            assert!(ending.is_asked);
        }
    }
}
