//! One look at a cluster: what is recorded, what is seen, what operators said, and what follows from it all.

use crate::clock;
use crate::decision::{self, Plan};
use crate::model::{ClusterName, View};
use crate::state::{ClusterState, Directives};

use super::Peer;

impl Peer {
    /// The readings of one cluster now.
    fn view(&self, said: &Directives, state: &ClusterState) -> View {
        let cluster = &state.cluster;
        let lapse_at = self.leases.lapse_at(cluster);
        let peers = self.voters().len();
        let now = clock::monotonic();
        let awake = (now, self.vigil.since(now));
        View {
            stop_is_over: self.leases.stop_is_over(cluster, now),
            directives: said.in_force(&cluster.name, clock::wall_millis()),
            ..self.board.view(&cluster.name, awake, lapse_at, peers)
        }
    }

    /// Looks at one recorded cluster together with this peer's view of it and what follows from both.
    pub fn look<R>(
        &self,
        cluster: &ClusterName,
        look: impl FnOnce(&ClusterState, &View, &Plan) -> R,
    ) -> Option<R> {
        self.consensus.read(|state| {
            let said = &state.directives;
            let state = state.clusters.get(cluster)?;
            // The view is built after the record is held: see `lease::renew`.
            let view = self.view(said, state);
            let plan = decision::decide(state, &view);
            Some(look(state, &view, &plan))
        })
    }
}
