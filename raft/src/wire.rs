//! The calls between peers: their names, limits and headers.
//!
//! A call is `POST /raft/v1/<name>` over HTTP/1.1, with one record as its body and one record as its answer. Headers
//! say which protocol, which group, from whom and to whom, and a call that is not for this peer is refused before
//! its body is read: an address can be handed to another peer while its old owner's name is still in use. They say at
//! what pace, too: a leader's lease is only as good as the patience of those who could elect another.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    GroupId,
    birth::{BirthQuestion, Told},
    types::{SnapshotMeta, TypeConfig, Vote},
};

/// Most bytes of an encoded command.
pub const MAX_COMMAND_BYTES: usize = 48 * 1024;
/// Most bytes of a snapshot, with the state in it.
pub const MAX_SNAPSHOT_BYTES: usize = 64 * 1024 * 1024;
/// All calls between peers are below this path.
pub const PATH_PREFIX: &str = "/raft/v1/";

/// Most bytes of a log entry: a command and what the log adds to it.
pub(crate) const MAX_ENTRY_BYTES: usize = MAX_COMMAND_BYTES + 1024;
/// Most entries in one append.
pub(crate) const MAX_APPEND_ENTRIES: u64 = 64;
/// Most bytes of an answer.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_APPEND_BYTES: usize = 4 * 1024 * 1024;
const MAX_SMALL_BYTES: usize = 64 * 1024;
const _: () =
    assert!(MAX_APPEND_ENTRIES as usize * MAX_ENTRY_BYTES + MAX_SMALL_BYTES <= MAX_APPEND_BYTES);

/// Raised when a call changes its meaning; peers of different protocols do not talk.
const PROTOCOL: u64 = 3;

/// The calls, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Append,
    Vote,
    PreVote,
    Snapshot,
    Transfer,
    Birth,
}

impl Call {
    const ALL: [Self; 6] = [
        Self::Append,
        Self::Vote,
        Self::PreVote,
        Self::Snapshot,
        Self::Transfer,
        Self::Birth,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Vote => "vote",
            Self::PreVote => "pre-vote",
            Self::Snapshot => "snapshot",
            Self::Transfer => "transfer",
            Self::Birth => "birth",
        }
    }

    pub(crate) fn at(path: &str) -> Option<Self> {
        let name = path.strip_prefix(PATH_PREFIX)?;
        Self::ALL.into_iter().find(|call| call.name() == name)
    }

    /// Most bytes of its body.
    pub(crate) fn limit(self) -> usize {
        match self {
            Self::Append => MAX_APPEND_BYTES,
            Self::Snapshot => MAX_SNAPSHOT_BYTES + MAX_SMALL_BYTES,
            Self::Vote | Self::PreVote | Self::Transfer | Self::Birth => MAX_SMALL_BYTES,
        }
    }
}

/// A question with its answer.
pub(crate) trait Question: Serialize + DeserializeOwned + Send {
    type Answer: Serialize + DeserializeOwned;
}

impl Question for AppendEntriesRequest<TypeConfig> {
    type Answer = AppendEntriesResponse<TypeConfig>;
}

impl Question for VoteRequest<TypeConfig> {
    type Answer = VoteResponse<TypeConfig>;
}

impl Question for TransferLeaderRequest<TypeConfig> {
    type Answer = TransferLeaderResponse<TypeConfig>;
}

/// A whole snapshot from the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotRequest {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) image: Bytes,
}

impl Question for SnapshotRequest {
    type Answer = SnapshotResponse<TypeConfig>;
}

impl Question for BirthQuestion {
    type Answer = Told;
}

/// Who calls whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) group: GroupId,
    /// Of the caller's group.
    pub(crate) beginning: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Of the caller's timing.
    pub(crate) election_max: Duration,
}

/// What a peer answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub(crate) group: GroupId,
    pub(crate) beginning: u64,
    pub(crate) id: u64,
    pub(crate) election_max: Duration,
}

const PROTOCOL_HEADER: HeaderName = HeaderName::from_static("raft-protocol");
const GROUP_HEADER: HeaderName = HeaderName::from_static("raft-group");
const BEGINNING_HEADER: HeaderName = HeaderName::from_static("raft-beginning");
const FROM_HEADER: HeaderName = HeaderName::from_static("raft-from");
const TO_HEADER: HeaderName = HeaderName::from_static("raft-to");
/// In milliseconds.
const ELECTION_MAX_HEADER: HeaderName = HeaderName::from_static("raft-election-max");

/// Why a call is not for this peer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misrouted {
    #[error("header {0} is missing or unreadable")]
    Header(HeaderName),
    #[error("this peer speaks protocol {PROTOCOL}, not {0}")]
    Protocol(u64),
    #[error("this peer belongs to group {0}")]
    Group(GroupId),
    #[error(
        "this peer is of another beginning of the group, which was begun anew from a saved state; empty the folder of \
         the peer that belongs to it no more, and let it join with a new token"
    )]
    Beginning,
    #[error("this is peer {0}")]
    Recipient(u64),
    #[error(
        "this peer waits up to {own} ms for a leader, the caller {callers} ms; give all peers of the group the same timing"
    )]
    Timing { own: u128, callers: u128 },
}

impl Route {
    pub(crate) fn headers(&self) -> HeaderMap {
        let group = HeaderValue::from_str(&self.group.to_string()).expect("a uuid is plain text");
        HeaderMap::from_iter([
            (PROTOCOL_HEADER, PROTOCOL.into()),
            (GROUP_HEADER, group),
            (BEGINNING_HEADER, self.beginning.into()),
            (FROM_HEADER, self.from.into()),
            (TO_HEADER, self.to.into()),
            (
                ELECTION_MAX_HEADER,
                u64::try_from(self.election_max.as_millis())
                    .unwrap_or(u64::MAX)
                    .into(),
            ),
        ])
    }

    /// Who calls `addressee`.
    pub(crate) fn check(headers: &HeaderMap, addressee: Addressee) -> Result<u64, Misrouted> {
        let Addressee {
            group,
            beginning,
            id,
            election_max,
        } = addressee;
        let protocol = read(headers, PROTOCOL_HEADER)?;
        if protocol != PROTOCOL {
            return Err(Misrouted::Protocol(protocol));
        }
        if read::<GroupId>(headers, GROUP_HEADER)? != group {
            return Err(Misrouted::Group(group));
        }
        if read::<u64>(headers, BEGINNING_HEADER)? != beginning {
            return Err(Misrouted::Beginning);
        }
        if read::<u64>(headers, TO_HEADER)? != id {
            return Err(Misrouted::Recipient(id));
        }
        let callers = read::<u64>(headers, ELECTION_MAX_HEADER)?.into();
        let own = election_max.as_millis();
        if callers != own {
            return Err(Misrouted::Timing { own, callers });
        }
        read(headers, FROM_HEADER)
    }
}

fn read<T: std::str::FromStr>(headers: &HeaderMap, name: HeaderName) -> Result<T, Misrouted> {
    let value = headers
        .get(&name)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    value.ok_or(Misrouted::Header(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId::from_bytes([7; 16]);

    #[test]
    fn a_call_is_found_by_its_path() {
        for call in Call::ALL {
            assert_eq!(
                Call::at(&format!("{PATH_PREFIX}{}", call.name())),
                Some(call)
            );
        }
        assert_eq!(Call::at("/raft/v2/append"), None);
        assert_eq!(Call::at("/raft/v1/"), None);
    }

    #[test]
    fn a_call_for_somebody_else_is_refused() {
        let check = |change: fn(&mut HeaderMap), expected| {
            let mut headers = Route {
                group: GROUP,
                beginning: 5,
                from: 1,
                to: 2,
                election_max: Duration::from_millis(400),
            }
            .headers();
            change(&mut headers);
            let addressee = Addressee {
                group: GROUP,
                beginning: 5,
                id: 2,
                election_max: Duration::from_millis(400),
            };
            assert_eq!(Route::check(&headers, addressee), expected);
        };
        let other_group = GroupId::from_bytes([8; 16]).to_string();
        assert_eq!(other_group, "08080808-0808-0808-0808-080808080808");
        check(|_| {}, Ok(1));
        check(
            |h| drop(h.insert(PROTOCOL_HEADER, 1.into())),
            Err(Misrouted::Protocol(1)),
        );
        check(
            |h| drop(h.remove(PROTOCOL_HEADER)),
            Err(Misrouted::Header(PROTOCOL_HEADER)),
        );
        check(
            |h| {
                drop(h.insert(
                    GROUP_HEADER,
                    HeaderValue::from_static("08080808-0808-0808-0808-080808080808"),
                ))
            },
            Err(Misrouted::Group(GROUP)),
        );
        check(
            |h| drop(h.insert(BEGINNING_HEADER, 0.into())),
            Err(Misrouted::Beginning),
        );
        check(
            |h| drop(h.insert(TO_HEADER, 3.into())),
            Err(Misrouted::Recipient(2)),
        );
        check(
            |h| drop(h.insert(ELECTION_MAX_HEADER, 2_000.into())),
            Err(Misrouted::Timing {
                own: 400,
                callers: 2_000,
            }),
        );
        check(
            |h| drop(h.remove(FROM_HEADER)),
            Err(Misrouted::Header(FROM_HEADER)),
        );
    }
}
