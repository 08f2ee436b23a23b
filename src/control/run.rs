//! Which process of an agent speaks. Two agents that were given one identity by mistake are told apart by it.

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::model::view::SILENT_AFTER;

/// One run of an agent's process: a random number, drawn at its start and never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run(pub u64);

impl Run {
    /// A number for this process.
    pub fn draw() -> Run {
        let mut bytes = [0; 8];
        getrandom(&mut bytes, GetRandomFlags::empty())
            .expect("the kernel refuses nobody a few random bytes");
        Run(u64::from_le_bytes(bytes))
    }
}

/// Who holds the open session of an instance at a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub run: Run,
    /// When its last frame came, on the peer's clock.
    pub heard_at: Timestamp,
}

impl Holder {
    /// Whether its session makes room for one that `newcomer` opens at `now`: for the same process, which
    /// connected anew, always; for another only after it was silent for as long as makes an agent silent in a
    /// view. The peer has listened without a gap since `awake_since`: what it slept through is no silence.
    pub fn makes_room(&self, newcomer: Run, now: Timestamp, awake_since: Timestamp) -> bool {
        self.run == newcomer || now.since(self.heard_at.max(awake_since)) > SILENT_AFTER
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_a_silent_agent_makes_room_for_another() {
        let heard_at = Timestamp(50_000);
        let holder = Holder {
            run: Run(1),
            heard_at,
        };
        let silent = heard_at.after(SILENT_AFTER + Duration::from_millis(1));
        let long_ago = Timestamp(0);
        for (newcomer, now, awake_since, makes_room) in [
            (1, heard_at, long_ago, true),
            (2, heard_at, long_ago, false),
            (2, heard_at.after(SILENT_AFTER), long_ago, false),
            (2, silent, long_ago, true),
            // The peer itself was frozen, and has not read yet what the holder said meanwhile.
            (2, silent, silent, false),
            (1, silent, silent, true),
        ] {
            let answer = holder.makes_room(Run(newcomer), now, awake_since);
            assert_eq!(answer, makes_room, "{newcomer} at {now:?}");
        }
    }

    #[test]
    fn every_run_is_another() {
        assert_ne!(Run::draw(), Run::draw());
    }
}
