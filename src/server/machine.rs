//! The recorded state as the state machine that Raft replicates.

use raft::{MAX_SNAPSHOT_BYTES, RecordError, StateMachine};

use crate::state::{Answer, Entry, State};

impl StateMachine for State {
    type Command = Entry;
    type Reply = Answer;

    fn apply(&mut self, _index: u64, entry: Entry) -> Answer {
        self.apply_entry(entry)
    }

    fn encode(&self) -> Vec<u8> {
        raft::seal(self).expect("every part of the state has an encoded form")
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        raft::unseal(bytes, MAX_SNAPSHOT_BYTES)
    }
}
