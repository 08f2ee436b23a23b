//! What a newcomer and a peer say to each other, and who may join before the group is born.

use std::collections::BTreeMap;

use primacy::model::SecretHash;
use primacy::security::Secret;
use primacy::security::enrolment::{AuthorityText, Enrol, Enrolled, Wish};
use primacy::security::invited::{FirstPeer, Invited};
use primacy::security::newcomer::{Admitted, Asking, Place};

use crate::{check, sealed};

#[test]
fn newcomers_keep_their_bytes() {
    let asking = Asking {
        enrol: Enrol {
            secret: Secret::from_bytes([0x5E; 32]),
            wish: Wish::Peer,
            request: vec![1, 2, 3],
        },
        nonce: [0x0A; 16],
    };
    let bytes = raft::seal(&asking).unwrap();
    let read: Asking = raft::unseal(&bytes, raft::MAX_COMMAND_BYTES).unwrap();
    // Without `Debug`: it holds a secret.
    assert!(read == asking);
    let admitted = Admitted {
        enrolled: Enrolled {
            chain: vec![vec![4], vec![5, 6]],
            authorities: vec![vec![7]],
            authority: Some(AuthorityText("pem".to_owned())),
        },
        place: Some(Place {
            id: 4,
            group: "g".to_owned(),
            beginning: 9,
            members: BTreeMap::from([(1, "a:1".to_owned())]),
            is_first: true,
        }),
    };
    let invited = Invited {
        peers: BTreeMap::from([(
            2,
            FirstPeer {
                secret: SecretHash([0x0B; 32]),
                taken_by: Some([0x0C; 16]),
            },
        )]),
        expires_at: 1_790_000_000_000,
    };
    check(
        "newcomers.txt",
        &[
            ("asking", bytes),
            ("admitted", sealed(&admitted)),
            ("invited", sealed(&invited)),
        ],
    );
}
