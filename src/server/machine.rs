//! The recorded state as the state machine that Raft replicates.

use raft::{MAX_SNAPSHOT_BYTES, RecordError, StateMachine};

use crate::state::{Command, Reply, State};

impl StateMachine for State {
    type Command = Command;
    type Reply = Reply;

    fn apply(&mut self, _index: u64, command: Command) -> Reply {
        State::apply(self, command)
    }

    fn encode(&self) -> Vec<u8> {
        raft::seal(self).expect("every part of the state has an encoded form")
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        raft::unseal(bytes, MAX_SNAPSHOT_BYTES)
    }
}
