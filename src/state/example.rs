//! A small value for the tests of the pure modules.

use std::collections::BTreeMap;

use super::{ClusterState, History};
use crate::model::Cluster;
use crate::model::example::order;

/// The record of a cluster in which nothing is under way.
pub fn at_rest(cluster: Cluster) -> ClusterState {
    ClusterState {
        cluster,
        number: 5,
        elected: order(1, 2),
        handover: None,
        rejoins: BTreeMap::new(),
        history: History::default(),
    }
}
