//! Who was let in: the tokens of people and their programs, and the invitations of agents and tools. Nothing of a secret
//! is recorded but its hash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{AccessRole, ClusterName, InstanceId, SecretHash, TokenRecord};

/// The most tokens, and the most invitations, that there may be: far more than anybody overlooks, and a few hundred KiB
/// of a snapshot.
pub const KEPT: usize = 1_000;

/// What is recorded of access.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Access {
    tokens: BTreeMap<SecretHash, TokenRecord>,
    /// By their secrets.
    invitations: BTreeMap<SecretHash, GuestInvitation>,
}

/// A certificate that one newcomer may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestInvitation {
    /// Who the newcomer will be.
    pub guest: Guest,
    /// By the wall clock of the leader, in milliseconds since 1970.
    pub expires_at: u64,
    /// What the one who took it had drawn; none if nobody did.
    pub taken_by: Option<[u8; 16]>,
}

/// Who a newcomer will be that is no peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Guest {
    /// The agent of an instance.
    Agent {
        /// Its cluster.
        cluster: ClusterName,
        /// The instance.
        instance: InstanceId,
    },
    /// A program of the user.
    Tool {
        /// What it may do in the whole installation.
        role: AccessRole,
        /// Its name.
        name: String,
    },
}

/// One entry of the log about access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessCommand {
    /// The proposing leader's wall clock, in milliseconds since 1970. Ends invitations and forgets expired tokens.
    pub at: u64,
    /// What changes.
    pub change: AccessChange,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessChange {
    /// A token is valid from now on.
    AddToken(TokenRecord),
    /// The token of this name is not valid any more.
    RevokeToken {
        /// Its name.
        name: String,
    },
    /// Whoever shows the secret first may have a certificate.
    Invite {
        /// Of the secret.
        secret: SecretHash,
        /// Who it will be.
        guest: Guest,
        /// When it ends, by the leader's wall clock.
        expires_at: u64,
    },
    /// Somebody shows a secret.
    Take {
        /// Of the secret.
        secret: SecretHash,
        /// Drawn and kept by the one who shows it: it gets the same answer again, another one does not.
        nonce: [u8; 16],
    },
}

/// Why a change of access is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AccessRefusal {
    /// Another token has the name.
    #[error("a token of that name is valid; revoke it first, or choose another name")]
    Exists,
    /// There is no such token or invitation.
    #[error(
        "there is no such token or invitation; it may have been revoked or replaced, or have ended"
    )]
    Unknown,
    /// Another newcomer has shown the secret before.
    #[error("the invitation was used by another one")]
    Taken,
    /// It was shown too late.
    #[error("the invitation has ended")]
    Ended,
    /// There are too many.
    #[error("there are too many; revoke some first")]
    Full,
}

impl Access {
    /// Invitations may have been taken since.
    pub(super) fn begin_anew(&mut self) {
        self.invitations.clear();
    }

    /// Applies one command.
    pub fn apply(&mut self, command: AccessCommand) -> Result<(), AccessRefusal> {
        let AccessCommand { at, change } = command;
        match change {
            AccessChange::AddToken(record) => {
                self.tokens.retain(|_, it| at < it.expires_at);
                match () {
                    () if self.tokens.values().any(|it| it.name == record.name) => {
                        Err(AccessRefusal::Exists)
                    }
                    () if self.tokens.len() >= KEPT => Err(AccessRefusal::Full),
                    () => {
                        self.tokens.insert(record.hash, record);
                        Ok(())
                    }
                }
            }
            AccessChange::RevokeToken { name } => {
                let before = self.tokens.len();
                self.tokens.retain(|_, it| it.name != name);
                match self.tokens.len() < before {
                    true => Ok(()),
                    false => Err(AccessRefusal::Unknown),
                }
            }
            AccessChange::Invite {
                secret,
                guest,
                expires_at,
            } => {
                // One invitation of a guest at a time: the last one counts.
                self.invitations
                    .retain(|_, it| at <= it.expires_at && it.guest != guest);
                if self.invitations.len() >= KEPT {
                    return Err(AccessRefusal::Full);
                }
                let invitation = GuestInvitation {
                    guest,
                    expires_at,
                    taken_by: None,
                };
                self.invitations.insert(secret, invitation);
                Ok(())
            }
            AccessChange::Take { secret, nonce } => {
                let found = self.invitations.get_mut(&secret);
                let invitation = found.ok_or(AccessRefusal::Unknown)?;
                if at > invitation.expires_at {
                    return Err(AccessRefusal::Ended);
                }
                match invitation.taken_by {
                    Some(taker) if taker != nonce => Err(AccessRefusal::Taken),
                    Some(_) | None => {
                        invitation.taken_by = Some(nonce);
                        Ok(())
                    }
                }
            }
        }
    }

    /// The token with this hash, also one that has expired.
    pub fn token(&self, hash: &SecretHash) -> Option<&TokenRecord> {
        self.tokens.get(hash)
    }

    /// Every token, by name.
    pub fn tokens(&self) -> Vec<&TokenRecord> {
        let mut all: Vec<_> = self.tokens.values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The invitation with this secret.
    pub fn invitation(&self, secret: &SecretHash) -> Option<&GuestInvitation> {
        self.invitations.get(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;

    fn apply(access: &mut Access, at: u64, change: AccessChange) -> Result<(), AccessRefusal> {
        access.apply(AccessCommand { at, change })
    }

    fn token(name: &str, hash: u8, expires_at: u64) -> AccessChange {
        AccessChange::AddToken(TokenRecord {
            name: name.to_owned(),
            hash: SecretHash([hash; 32]),
            role: AccessRole::Viewer,
            scope: Scope::Everything,
            created_at: 0,
            expires_at,
        })
    }

    #[test]
    fn a_token_is_valid_until_it_is_revoked_and_its_name_is_one_of_its_kind() {
        let mut access = Access::default();
        apply(&mut access, 0, token("ci", 1, 100)).unwrap();
        let again = apply(&mut access, 99, token("ci", 2, 200));
        assert_eq!(again, Err(AccessRefusal::Exists));
        // Expired, so that its name is free.
        apply(&mut access, 100, token("ci", 2, 200)).unwrap();
        assert!(access.token(&SecretHash([1; 32])).is_none());
        assert_eq!(access.tokens().len(), 1);
        let revoke = |name: &str| AccessChange::RevokeToken {
            name: name.to_owned(),
        };
        let unknown = apply(&mut access, 0, revoke("cd"));
        assert_eq!(unknown, Err(AccessRefusal::Unknown));
        apply(&mut access, 0, revoke("ci")).unwrap();
        assert!(access.token(&SecretHash([2; 32])).is_none());
    }

    #[test]
    fn a_guest_is_taken_in_once_and_in_time() {
        let mut access = Access::default();
        let guest = Guest::Agent {
            cluster: ClusterName::new("demo").unwrap(),
            instance: InstanceId::new("a").unwrap(),
        };
        let invite = |secret| AccessChange::Invite {
            secret: SecretHash([secret; 32]),
            guest: guest.clone(),
            expires_at: 100,
        };
        let take = |secret, nonce| AccessChange::Take {
            secret: SecretHash([secret; 32]),
            nonce: [nonce; 16],
        };
        apply(&mut access, 0, invite(1)).unwrap();
        assert_eq!(
            apply(&mut access, 101, take(1, 9)),
            Err(AccessRefusal::Ended)
        );
        assert_eq!(
            apply(&mut access, 0, take(2, 9)),
            Err(AccessRefusal::Unknown)
        );
        apply(&mut access, 100, take(1, 9)).unwrap();
        apply(&mut access, 100, take(1, 9)).unwrap();
        assert_eq!(
            apply(&mut access, 100, take(1, 8)),
            Err(AccessRefusal::Taken)
        );
        // Invited anew, the first invitation is of no more use.
        apply(&mut access, 100, invite(3)).unwrap();
        assert_eq!(
            apply(&mut access, 100, take(1, 9)),
            Err(AccessRefusal::Unknown)
        );
    }
}
