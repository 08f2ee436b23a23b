//! The peers themselves: which ids were ever given, and who is invited. Who is a member now, Raft says.
//!
//! An id is given once. A peer that was removed, or that lost its folder, comes back under another one: a peer that
//! forgot its votes may elect a second leader. So the highest id that was ever given is kept for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::PeerId;

/// SHA-256 of a secret.
pub type Digest = [u8; 32];

/// What is recorded of the peers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Peers {
    /// No id up to this one is ever given again.
    highest: u64,
    /// Those who were invited, also after they came, until they are removed.
    invitations: BTreeMap<PeerId, Invitation>,
}

/// A place in the group that one newcomer may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Where it will answer: `host:port`.
    pub address: String,
    /// Of the one-time secret that it shows.
    pub secret: Digest,
    /// By the wall clock of the leader, in milliseconds since 1970.
    pub expires_at: u64,
    /// What the one who took it had drawn; none if nobody did.
    pub taken_by: Option<[u8; 16]>,
}

/// One entry of the log about the peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersCommand {
    /// The proposing leader's wall clock, in milliseconds since 1970. Ends invitations, nothing else.
    pub at: u64,
    /// What changes.
    pub change: PeersChange,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeersChange {
    /// Give out the next id, to whoever shows the secret. Takes the place of an invitation of the same address that
    /// nobody took.
    Invite {
        /// Where the newcomer will answer.
        address: String,
        /// Of its secret.
        secret: Digest,
        /// The highest id among the present members: the first members were not invited.
        at_least: u64,
        /// When it ends, by the leader's wall clock.
        expires_at: u64,
    },
    /// Somebody shows a secret.
    Take {
        /// Of the secret.
        secret: Digest,
        /// Drawn and kept by the one who shows it: it gets the same answer again, another one does not.
        nonce: [u8; 16],
    },
    /// A peer is to be removed: its id is never given again.
    Leave {
        /// Which.
        peer: PeerId,
    },
}

/// Why a change of the peers is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PeersRefusal {
    /// No invitation has this secret.
    #[error("there is no such invitation; it may have been withdrawn or replaced")]
    Unknown,
    /// Another newcomer has shown it before.
    #[error("the invitation was used by another one")]
    Taken,
    /// It was shown too late.
    #[error("the invitation has ended")]
    Ended,
    /// The highest number was given.
    #[error("no number is left for another peer")]
    NoNumber,
}

/// The most invitations that are open at once: far more than any group has peers.
pub const OPEN: usize = 100;

/// Far more ids than are given between two saved states of one group.
const UNKNOWN_IDS: u64 = 1_000;

impl Peers {
    /// Ids may have been given since, and invitations taken.
    pub(super) fn begin_anew(&mut self) {
        self.highest = self.highest.saturating_add(UNKNOWN_IDS);
        self.invitations.clear();
    }

    /// Applies one command; the id that it is about.
    pub fn apply(&mut self, command: PeersCommand) -> Result<PeerId, PeersRefusal> {
        let PeersCommand { at, change } = command;
        match change {
            PeersChange::Invite {
                address,
                secret,
                at_least,
                expires_at,
            } => {
                let highest = self.highest.max(at_least).checked_add(1);
                self.highest = highest.ok_or(PeersRefusal::NoNumber)?;
                self.invitations.retain(|_, it| {
                    let is_open = at <= it.expires_at && it.address != address;
                    it.taken_by.is_some() || is_open
                });
                let invitation = Invitation {
                    address,
                    secret,
                    expires_at,
                    taken_by: None,
                };
                self.invitations.insert(PeerId(self.highest), invitation);
                Ok(PeerId(self.highest))
            }
            PeersChange::Take { secret, nonce } => {
                let mut invited = self.invitations.iter_mut();
                let (peer, invitation) = invited
                    .find(|(_, it)| it.secret == secret)
                    .ok_or(PeersRefusal::Unknown)?;
                match invitation.taken_by {
                    Some(taker) if taker == nonce => return Ok(*peer),
                    Some(_) => return Err(PeersRefusal::Taken),
                    None if at > invitation.expires_at => return Err(PeersRefusal::Ended),
                    None => invitation.taken_by = Some(nonce),
                }
                Ok(*peer)
            }
            PeersChange::Leave { peer } => {
                self.highest = self.highest.max(peer.0);
                self.invitations.remove(&peer);
                Ok(peer)
            }
        }
    }

    /// Whether somebody who shows this secret, and drew this number, has a place, as far as it does not depend on time.
    pub fn would_admit(&self, secret: &Digest, nonce: &[u8; 16]) -> Result<(), PeersRefusal> {
        let mut invitations = self.invitations.values();
        let invitation = invitations.find(|it| it.secret == *secret);
        match invitation.ok_or(PeersRefusal::Unknown)?.taken_by {
            Some(taker) if taker != *nonce => Err(PeersRefusal::Taken),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether one more peer may be invited, to answer at `address`: an open invitation of the same address is replaced.
    /// For whoever proposes one. Applying it asks nothing, so that a build with another number has the same state.
    pub fn has_room(&self, at: u64, address: &str) -> bool {
        let open = self
            .invitations
            .values()
            .filter(|it| it.taken_by.is_none() && at <= it.expires_at && it.address != address);
        open.count() < OPEN
    }

    /// Every invitation that counts at `at`, in milliseconds since 1970, by the number it gives: those that nobody took in
    /// time are left out. Who took one may be a member by now.
    pub fn invitations(&self, at: u64) -> impl Iterator<Item = (PeerId, &Invitation)> {
        let counts = move |it: &Invitation| it.taken_by.is_some() || at <= it.expires_at;
        let all = self.invitations.iter().map(|(id, it)| (*id, it));
        all.filter(move |(_, it)| counts(it))
    }

    /// The invitation of a peer.
    pub fn invitation(&self, peer: PeerId) -> Option<&Invitation> {
        self.invitations.get(&peer)
    }

    /// Whether `peer` was removed, or its invitation has ended: it is none of `members`, those that a majority is known to
    /// have, and its id was given before.
    pub fn is_gone(&self, peer: PeerId, members: &BTreeMap<u64, String>) -> bool {
        peer.0 <= self.highest
            && !members.contains_key(&peer.0)
            && !self.invitations.contains_key(&peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(peers: &mut Peers, at: u64, address: &str, secret: u8) -> PeerId {
        let change = PeersChange::Invite {
            address: address.to_owned(),
            secret: [secret; 32],
            at_least: 3,
            expires_at: at + 100,
        };
        peers.apply(PeersCommand { at, change }).unwrap()
    }

    fn take(peers: &mut Peers, at: u64, secret: u8, nonce: u8) -> Result<PeerId, PeersRefusal> {
        let (secret, nonce) = ([secret; 32], [nonce; 16]);
        let change = PeersChange::Take { secret, nonce };
        peers.apply(PeersCommand { at, change })
    }

    fn leave(peers: &mut Peers, peer: u64) {
        let peer = PeerId(peer);
        let change = PeersChange::Leave { peer };
        peers.apply(PeersCommand { at: 0, change }).unwrap();
    }

    #[test]
    fn an_id_is_given_once() {
        let mut peers = Peers::default();
        // One of the first members left before anybody was invited.
        leave(&mut peers, 5);
        assert_eq!(invite(&mut peers, 0, "a:1", 1), PeerId(6));
        leave(&mut peers, 6);
        assert_eq!(invite(&mut peers, 0, "a:1", 2), PeerId(7));
        assert_eq!(take(&mut peers, 0, 1, 1), Err(PeersRefusal::Unknown));
    }

    #[test]
    fn an_invitation_is_taken_once_and_in_time() {
        let mut peers = Peers::default();
        let id = invite(&mut peers, 1000, "a:1", 1);
        assert_eq!(take(&mut peers, 1101, 1, 9), Err(PeersRefusal::Ended));
        assert_eq!(take(&mut peers, 1100, 1, 9), Ok(id));
        // The same newcomer asks again, however late; another one is refused.
        assert_eq!(take(&mut peers, 9000, 1, 9), Ok(id));
        assert_eq!(take(&mut peers, 1100, 1, 8), Err(PeersRefusal::Taken));
        // A second invitation of an address replaces one that nobody took, and none that somebody did.
        let second = invite(&mut peers, 1100, "a:1", 2);
        let third = invite(&mut peers, 1100, "a:1", 3);
        assert!(peers.invitation(id).is_some() && peers.invitation(second).is_none());
        assert_eq!(take(&mut peers, 1100, 2, 7), Err(PeersRefusal::Unknown));
        assert_eq!(take(&mut peers, 1100, 3, 7), Ok(third));
    }

    #[test]
    fn invitations_that_are_taken_replaced_or_over_leave_room() {
        let mut peers = Peers::default();
        for number in 0..OPEN {
            assert!(peers.has_room(0, "new:1"), "{number}");
            invite(&mut peers, 0, &format!("a:{number}"), number as u8);
        }
        assert!(!peers.has_room(0, "new:1"));
        assert!(peers.has_room(0, "a:7"));
        assert!(peers.has_room(101, "new:1"));
        assert_eq!(peers.invitations(100).count(), OPEN);
        take(&mut peers, 0, 7, 1).unwrap();
        assert_eq!(peers.invitations(101).count(), 1);
        assert!(peers.has_room(0, "new:1"));
    }

    #[test]
    fn only_who_was_removed_is_gone() {
        let mut peers = Peers::default();
        let members = |ids: &[u64]| ids.iter().map(|id| (*id, String::new())).collect();
        assert!(!peers.is_gone(PeerId(1), &members(&[])));
        let invited = invite(&mut peers, 0, "a:1", 1);
        assert!(!peers.is_gone(invited, &members(&[1, 2, 3])));
        // Recorded to leave, yet still a member for those who have not heard of more.
        leave(&mut peers, 2);
        assert!(!peers.is_gone(PeerId(2), &members(&[1, 2, 3])));
        assert!(peers.is_gone(PeerId(2), &members(&[1, 3])));
        // Of a later time than what this peer has applied.
        assert!(!peers.is_gone(PeerId(9), &members(&[1, 3])));
    }

    #[test]
    fn a_stranger_is_told_so_without_a_change() {
        let mut peers = Peers::default();
        let id = invite(&mut peers, 0, "a:1", 1);
        let ask = |peers: &Peers, secret, nonce| peers.would_admit(&[secret; 32], &[nonce; 16]);
        assert_eq!(ask(&peers, 2, 9), Err(PeersRefusal::Unknown));
        assert_eq!(ask(&peers, 1, 9), Ok(()));
        assert_eq!(take(&mut peers, 0, 1, 9), Ok(id));
        assert_eq!(ask(&peers, 1, 9), Ok(()));
        assert_eq!(ask(&peers, 1, 8), Err(PeersRefusal::Taken));
    }
}
