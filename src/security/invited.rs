//! The newcomers that the first peer of an installation has invited: the other first peers, before there is a group that
//! could record them. Kept beside the authority; each secret counts once.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{SecurityError, invalid};
use crate::host::durable;
use crate::model::SecretHash;

const FILE: &str = "invited";
/// Far more than the few first peers need.
const LIMIT: usize = 64 * 1024;

/// Who may join before the group is born.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Invited {
    /// By number.
    pub peers: BTreeMap<u64, FirstPeer>,
    /// In milliseconds since 1970.
    pub expires_at: u64,
}

/// One of the first peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstPeer {
    /// Of its secret.
    pub secret: SecretHash,
    /// What the one who took its place had drawn; none if nobody did.
    pub taken_by: Option<[u8; 16]>,
}

impl Invited {
    /// What is kept in `folder`; nobody if there is no such file.
    ///
    /// # Errors
    /// [`SecurityError::Read`], [`SecurityError::File`].
    pub fn read(folder: &Path) -> Result<Invited, SecurityError> {
        let path = folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Invited::default());
            }
            Err(source) => return Err(SecurityError::Read { path, source }),
        };
        raft::unseal(&bytes, LIMIT).map_err(|error| invalid(&path, error.to_string()))
    }

    /// Keeps it in `folder`, in place of what is there. Errors: [`SecurityError::Write`].
    pub fn keep(&self, folder: &Path) -> Result<(), SecurityError> {
        let record = raft::seal(self).expect("numbers and bytes have an encoded form");
        durable::write(&folder.join(FILE), &record).map_err(SecurityError::Write)
    }

    /// Gives the place of a secret to whoever drew `nonce`; none if it is no secret of a first peer. Errors: why not, in
    /// words.
    pub fn take(
        &mut self,
        secret: &SecretHash,
        nonce: [u8; 16],
        now: u64,
    ) -> Result<Option<u64>, String> {
        let mut peers = self.peers.iter_mut();
        let Some((id, peer)) = peers.find(|(_, peer)| peer.secret == *secret) else {
            return Ok(None);
        };
        match peer.taken_by {
            Some(taker) if taker != nonce => {
                return Err("the invitation was used by another one".to_owned());
            }
            Some(_) => {}
            None if now > self.expires_at => return Err("the invitation has ended".to_owned()),
            None => peer.taken_by = Some(nonce),
        }
        Ok(Some(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_place_is_taken_once_and_in_time() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Invited::read(folder.path()).unwrap(), Invited::default());
        let peer = |secret| FirstPeer {
            secret: SecretHash([secret; 32]),
            taken_by: None,
        };
        let mut invited = Invited {
            peers: BTreeMap::from([(2, peer(2)), (3, peer(3))]),
            expires_at: 100,
        };
        let secret = SecretHash([2; 32]);
        assert_eq!(invited.take(&SecretHash([9; 32]), [1; 16], 0), Ok(None));
        assert!(invited.take(&secret, [1; 16], 101).is_err());
        assert_eq!(invited.take(&secret, [1; 16], 100), Ok(Some(2)));
        invited.keep(folder.path()).unwrap();
        let mut invited = Invited::read(folder.path()).unwrap();
        assert_eq!(invited.take(&secret, [1; 16], 900), Ok(Some(2)));
        assert!(invited.take(&secret, [2; 16], 0).is_err());
    }
}
