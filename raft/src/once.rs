//! Exactly once: a command that is proposed again takes effect once.
//!
//! A proposal that timed out may have been applied, and may still be. Whoever proposes it again under the same [`Key`]
//! gets the reply of the first time. What was applied is remembered in the state itself, so every peer agrees on it and
//! snapshots carry it.
//!
//! The memory is bounded by the log: a command is remembered for [`WINDOW`] indexes. Each command says how far its
//! proposer had applied the log when it proposed it first. One that comes more than [`WINDOW`] indexes later is refused:
//! whether it was applied before is no longer known, and applying it would guess.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Deref,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{MAX_SNAPSHOT_BYTES, RecordError, StateMachine, record};

/// For so many log indexes an applied command is remembered. At some 60 bytes each the memory stays below a megabyte; a
/// retry comes within seconds, and while the group has no leader the log does not grow.
pub const WINDOW: u64 = 8192;

/// Names one change for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Who proposes; drawn at random.
    pub client: [u8; 16],
    /// Which of its changes.
    pub serial: u64,
}

/// A command that takes effect once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered<C> {
    /// The same whenever it is proposed.
    pub key: Key,
    /// A digest of what is asked for, the same whenever it is proposed: another one under the same key is refused.
    pub about: u64,
    /// The index that its proposer had applied when it proposed it first.
    pub since: u64,
    /// What changes.
    pub command: C,
}

/// What the proposer of a [`Numbered`] command learns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Once<R> {
    /// The reply of the one time that the command was applied.
    Applied(R),
    /// Not applied now; whether it was earlier is no longer known.
    Expired,
    /// Not applied: the key was used for something else.
    Reused,
}

/// A state machine whose commands take effect once each. Reads go straight to the machine within.
#[derive(Debug, Clone)]
pub struct Deduplicated<S: StateMachine> {
    state: S,
    applied: BTreeMap<Key, Memory<S::Reply>>,
    /// The same keys by index, the oldest first.
    order: VecDeque<(u64, Key)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Memory<R> {
    about: u64,
    reply: R,
}

/// What a snapshot holds.
#[derive(Serialize, Deserialize)]
struct Image<R> {
    state: Bytes,
    /// In the order of the log.
    applied: Vec<(u64, Key, Memory<R>)>,
}

impl<S: StateMachine + Default> Default for Deduplicated<S> {
    fn default() -> Self {
        Self {
            state: S::default(),
            applied: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<S: StateMachine> Deref for Deduplicated<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.state
    }
}

impl<S: StateMachine> Deduplicated<S> {
    /// Changes the state other than by a command: only for a group that begins anew.
    pub fn change(&mut self, change: impl FnOnce(&mut S)) {
        change(&mut self.state);
    }

    fn forget_before(&mut self, index: u64) {
        while let Some((at, key)) = self.order.front().copied()
            && at < index
        {
            self.order.pop_front();
            self.applied.remove(&key);
        }
    }
}

impl<S: StateMachine> StateMachine for Deduplicated<S> {
    type Command = Numbered<S::Command>;
    type Reply = Once<S::Reply>;

    fn apply(&mut self, index: u64, numbered: Self::Command) -> Self::Reply {
        let Numbered {
            key,
            about,
            since,
            command,
        } = numbered;
        // What was applied at `since + 1` or later is remembered up to this index.
        self.forget_before(index.saturating_sub(WINDOW));
        if let Some(before) = self.applied.get(&key) {
            return match before.about == about {
                true => Once::Applied(before.reply.clone()),
                false => Once::Reused,
            };
        }
        // Nobody has seen what is not there yet: who says so remembers nothing.
        if since >= index || index > since.saturating_add(WINDOW) {
            return Once::Expired;
        }
        let reply = self.state.apply(index, command);
        let memory = Memory {
            about,
            reply: reply.clone(),
        };
        self.applied.insert(key, memory);
        self.order.push_back((index, key));
        Once::Applied(reply)
    }

    fn encode(&self) -> Vec<u8> {
        let applied = self.order.iter().filter_map(|(at, key)| {
            let memory = self.applied.get(key)?;
            Some((*at, *key, memory.clone()))
        });
        let image = Image {
            state: self.state.encode().into(),
            applied: applied.collect(),
        };
        record::seal(&image).expect("a reply that was encoded has an encoded form")
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let image: Image<S::Reply> = record::unseal(bytes, MAX_SNAPSHOT_BYTES)?;
        let mut machine = Self {
            state: S::decode(&image.state)?,
            applied: BTreeMap::new(),
            order: VecDeque::new(),
        };
        for (at, key, memory) in image.applied {
            machine.order.push_back((at, key));
            machine.applied.insert(key, memory);
        }
        Ok(machine)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Counts what it is given; replies with the sum.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub(crate) struct Sum(pub(crate) u64);

    impl StateMachine for Sum {
        type Command = u64;
        type Reply = u64;

        fn apply(&mut self, _index: u64, command: u64) -> u64 {
            self.0 += command;
            self.0
        }

        fn encode(&self) -> Vec<u8> {
            record::seal(&self.0).unwrap()
        }

        fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
            Ok(Self(record::unseal(bytes, MAX_SNAPSHOT_BYTES)?))
        }
    }

    pub(crate) fn numbered(serial: u64, about: u64, since: u64) -> Numbered<u64> {
        let client = [7; 16];
        Numbered {
            key: Key { client, serial },
            about,
            since,
            command: 1,
        }
    }

    #[test]
    fn a_repetition_gets_the_first_reply_and_changes_nothing() {
        let mut machine = Deduplicated::<Sum>::default();
        assert_eq!(machine.apply(5, numbered(1, 9, 4)), Once::Applied(1));
        assert_eq!(machine.apply(6, numbered(2, 9, 4)), Once::Applied(2));
        assert_eq!(machine.apply(7, numbered(1, 9, 4)), Once::Applied(1));
        assert_eq!(machine.apply(8, numbered(1, 8, 4)), Once::Reused);
        assert_eq!(machine.0, 2);

        // A peer that starts from a snapshot agrees.
        let mut other = Deduplicated::<Sum>::decode(&machine.encode()).unwrap();
        assert_eq!(other.apply(9, numbered(2, 9, 4)), Once::Applied(2));
        assert_eq!(*other, Sum(2));
    }

    #[test]
    fn what_is_forgotten_is_refused_and_never_applied_again() {
        let mut machine = Deduplicated::<Sum>::default();
        assert_eq!(machine.apply(5, numbered(1, 0, 4)), Once::Applied(1));
        // The last index at which it is remembered, and the first at which it is not.
        let last = 5 + WINDOW;
        assert_eq!(
            machine.clone().apply(last, numbered(1, 0, 4)),
            Once::Applied(1)
        );
        assert_eq!(machine.apply(last + 1, numbered(1, 0, 4)), Once::Expired);
        assert_eq!(machine.0, 1);
        // A late one that was never applied is refused too: nobody can tell.
        assert_eq!(machine.apply(last + 2, numbered(2, 0, 4)), Once::Expired);
        assert_eq!(
            machine.apply(last + 3, numbered(2, 0, last)),
            Once::Applied(2)
        );
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut machine = Deduplicated::<Sum>::default();
        for index in 1..3 * WINDOW {
            machine.apply(index, numbered(index, 0, index - 1));
        }
        assert_eq!(machine.applied.len() as u64, WINDOW + 1);
        assert_eq!(machine.order.len(), machine.applied.len());
    }
}
