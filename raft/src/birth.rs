//! How a group is born, as a function of values.
//!
//! A peer whose folder was emptied has forgotten its votes: if it took part under its old id, it could elect a leader
//! that lacks what it had acknowledged. An empty folder alone does not show whether it is new or emptied. So every
//! fresh peer draws a number, and nobody takes part before *every* first member has written down the numbers of all:
//!
//! 1. *blank*: the peer has its own number on disk and tells it to whoever asks;
//! 2. *noted*: it was told the number of every first member and has written them down;
//! 3. *taking part*: it was told by every first member that it noted the same numbers, or by one that takes part.
//!
//! From then on each of them remembers the number of every other. A folder that is emptied comes back with another
//! number, and a single first member that kept its disk calls it a stranger. Only when *all* first members have lost
//! their folders is a new group born under the old name.
//!
//! The price: the first start of a group needs all its first members at once. A folder that is emptied while the
//! group is being born can leave the others waiting for the old number; nothing was recorded yet, so all folders may
//! be emptied then.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// The numbers of the first members, by peer.
pub(crate) type Numbers = BTreeMap<u64, u64>;
/// Who the first members are, and where each of them answers.
pub(crate) type Members = BTreeMap<u64, String>;

/// What a folder remembers of the birth of its group.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Birth {
    /// Drawn when the folder was first used; no other folder has it.
    pub(crate) number: u64,
    /// The numbers of all first members; empty until they are known, and for ever on a peer that was added later.
    /// Never changed once written.
    pub(crate) first: Numbers,
}

/// Asks a peer how far it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BirthQuestion;

/// The answer to a [`BirthQuestion`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Told {
    /// What its folder remembers.
    pub(crate) birth: Birth,
    /// Whether it takes part: it votes and takes entries.
    pub(crate) takes_part: bool,
    /// The first members as its configuration lists them.
    pub(crate) members: Members,
}

/// What a first member does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write these numbers down, then ask again.
    Note(Numbers),
    /// Take part.
    TakePart,
    /// Ask again.
    Wait(Waiting),
    /// Never take part: this peer knows another folder under our id.
    Stranger { known_to: u64 },
}

/// Why a first member does not take part yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// These first members did not answer.
    Silent(Vec<u64>),
    /// These first members answered and have not written down the numbers of all; a moment later they have.
    Unready(Vec<u64>),
    /// These first members noted other numbers, or have others now: their folder was replaced during the birth, or
    /// their list of first members is another.
    Disagree(Vec<u64>),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peers, what) = match self {
            Self::Silent(peers) => (
                peers,
                "to answer: a group is born when all its first members are up",
            ),
            Self::Unready(peers) => (peers, "to know all first members"),
            Self::Disagree(peers) => (
                peers,
                "to agree on who the first members are: their list of peers differs, or a folder was replaced \
                 before the group was born; nothing is recorded yet, so correct the lists, or empty the folders \
                 of all first members",
            ),
        };
        let names: Vec<_> = peers.iter().map(u64::to_string).collect();
        write!(f, "waiting for peer {} {what}", names.join(", "))
    }
}

impl Birth {
    /// What peer `id` with this memory, to whom `members` are listed, does after the other first members told `told`;
    /// `None` did not answer.
    pub(crate) fn next(
        &self,
        id: u64,
        members: &Members,
        told: &BTreeMap<u64, Option<Told>>,
    ) -> Next {
        let answers = || {
            told.iter()
                .filter_map(|(peer, told)| Some((*peer, told.as_ref()?)))
        };
        let knows_another = |told: &Told| {
            let is_bound = told.takes_part || !told.birth.first.is_empty();
            is_bound && told.birth.first.get(&id) != Some(&self.number)
        };
        if let Some((known_to, _)) = answers().find(|(_, told)| knows_another(told)) {
            return Next::Stranger { known_to };
        }
        let has_noted = !self.first.is_empty();
        // Whoever took part with fewer than it noted would be a group of its own.
        if has_noted && !self.first.keys().eq(members.keys()) {
            return Next::Wait(Waiting::Disagree(vec![id]));
        }
        let is_ours = |told: &Told| told.takes_part && told.birth.first == self.first;
        if has_noted && answers().any(|(_, told)| is_ours(told)) {
            return Next::TakePart;
        }
        let select = |wanted: &dyn Fn(&Told) -> bool| -> Vec<u64> {
            let found = answers().filter(|(_, told)| wanted(told));
            found.map(|(peer, _)| peer).collect()
        };
        let silent: Vec<u64> = told
            .iter()
            .filter(|(_, told)| told.is_none())
            .map(|(peer, _)| *peer)
            .collect();
        if !silent.is_empty() {
            return Next::Wait(Waiting::Silent(silent));
        }
        let mut numbers = Numbers::from([(id, self.number)]);
        numbers.extend(answers().map(|(peer, told)| (peer, told.birth.number)));
        let first = if has_noted { &self.first } else { &numbers };
        // What a group is born with must be the same on all: the one that is faster writes it into the log.
        let differs = |told: &Told| {
            let is_noted = !told.birth.first.is_empty();
            told.members != *members || is_noted && told.birth.first != *first
        };
        let disagree = match select(&differs) {
            disagree if !disagree.is_empty() || numbers == *first => disagree,
            _ => {
                let is_new = |(peer, number): &(&u64, &u64)| first.get(peer) != Some(number);
                numbers
                    .iter()
                    .filter(is_new)
                    .map(|(peer, _)| *peer)
                    .collect()
            }
        };
        if !disagree.is_empty() {
            return Next::Wait(Waiting::Disagree(disagree));
        }
        if !has_noted {
            return Next::Note(numbers);
        }
        let unready = select(&|told| told.birth.first.is_empty());
        if unready.is_empty() {
            Next::TakePart
        } else {
            Next::Wait(Waiting::Unready(unready))
        }
    }
}

#[cfg(test)]
#[path = "birth_tests.rs"]
mod tests;
