//! One look at a cluster: what is recorded, what is seen, what operators said, and what follows from it all.

use crate::clock;
use crate::decision::{self, Plan, Programs};
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
        let wall = clock::wall_millis();
        let asked = cluster.switchover.as_ref();
        View {
            switchover_is_late: asked.is_some_and(|it| wall >= it.until),
            awaits_the_slow: {
                let word = cluster.forced.as_ref();
                word.is_some_and(|it| wall < it.patient_until)
            },
            stop_is_over: self.leases.stop_is_over(cluster, now),
            longer_leases_lapsed: self.leases.has_lapsed(cluster, now),
            directives: said.in_force(&cluster.name, wall),
            ..self.board.view(&cluster.name, awake, lapse_at, peers)
        }
    }

    /// Looks at one recorded cluster together with this peer's view of it and what follows from both.
    pub fn look<R>(
        &self,
        cluster: &ClusterName,
        look: impl FnOnce(&ClusterState, &View, &Plan) -> R,
    ) -> Option<R> {
        self.look_on(cluster, |state, view, programs| {
            let plan = decision::decide(state, view).with(state, view, programs);
            let plan = plan.in_turn(self.turns.of(cluster));
            look(state, view, &plan)
        })
    }

    /// The same with what is known of the user's programs, and nothing decided.
    pub fn look_on<R>(
        &self,
        cluster: &ClusterName,
        look: impl FnOnce(&ClusterState, &View, &Programs) -> R,
    ) -> Option<R> {
        self.consensus.read(|state| {
            let said = &state.directives;
            let programs = self.programs(state, cluster);
            let state = state.clusters.get(cluster)?;
            // The view is built after the record is held: see `lease::renew`.
            let view = self.view(said, state);
            Some(look(state, &view, &programs))
        })
    }
}
