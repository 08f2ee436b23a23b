//! All that may be recorded fits into one snapshot: a larger one would stop every peer.

use std::collections::BTreeSet;

use crate::model::{
    AccessRole, Address, ClusterName, Durability, InstanceId, Scope, SecretHash, TokenRecord, Zone,
};
use crate::state::command::NewMember;
use crate::state::history::IN_TOTAL;
use crate::state::{Change, Command, NewCluster, State, access};

use super::clusters::HOST_LIMIT;
use super::creation::{CLUSTERS, MEMBERS};
use super::tokens;

/// Left to each cluster for what grows by itself: promises, rejoins, and a dozen bytes for each timeline that it had.
const LEFT: usize = 10_000;

/// The longest name that tells `number`.
fn name(number: usize) -> String {
    format!("{number:0>32}")
}

#[test]
fn all_that_may_be_recorded_fits_into_a_snapshot() {
    let address = || Address {
        host: "h".repeat(HOST_LIMIT),
        port: 65_535,
    };
    let member = || NewMember {
        address: address(),
        health: address(),
        zone: Zone::new(&name(0)).unwrap(),
    };
    let id = |number| InstanceId::new(&name(number)).unwrap();
    let mut state = State::default();
    let new = NewCluster {
        durability: Durability::Async,
        reads: crate::model::Reads::Strict,
        members: (0..MEMBERS).map(|it| (id(it), member())).collect(),
        first: id(0),
    };
    let created = state.apply(Command {
        cluster: ClusterName::new(&name(0)).unwrap(),
        at: 7,
        change: Change::Create(new),
    });
    created.unwrap();
    let cluster = raft::seal(&state).unwrap().len();

    let clusters = (0..tokens::CLUSTERS).map(|it| ClusterName::new(&name(it)).unwrap());
    let token = TokenRecord {
        name: name(0),
        hash: SecretHash([7; 32]),
        role: AccessRole::Viewer,
        scope: Scope::Clusters(clusters.collect::<BTreeSet<_>>()),
        created_at: u64::MAX,
        expires_at: u64::MAX,
    };
    let token = raft::seal(&token).unwrap().len() + 32;
    // Names, a hash, a number that was drawn, and moments.
    let invitation = 512;
    // Of changes that are remembered by their keys.
    let remembered = 1_000_000;
    let all =
        CLUSTERS * (cluster + LEFT) + IN_TOTAL + access::KEPT * (token + invitation) + remembered;
    assert!(
        all <= raft::MAX_SNAPSHOT_BYTES,
        "{all} bytes: {cluster} of a cluster, {token} of a token"
    );
}
