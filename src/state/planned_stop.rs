//! The record of a planned stop: a longer lease is in the log before an agent may hold it.

use std::time::Duration;

use crate::broken;
use crate::model::{InstanceId, Order, PlannedStop};
use crate::recovery::Rejection;

use super::{ClusterState, Reply};

impl ClusterState {
    /// `order` is the one under which the lease of `instance` is renewed. Each stop has an order of its own, so
    /// that what is said of an earlier one never ends a later one.
    pub(super) fn plan_stop(
        &mut self,
        instance: InstanceId,
        order: Order,
        length: Duration,
        at: u64,
    ) -> Reply {
        if self.lease_order(&instance) != Some(order) {
            return Err(Rejection::Stale);
        }
        if !self.is_established() {
            return Err(Rejection::WrongPhase);
        }
        if length > PlannedStop::LONGEST {
            return Err(Rejection::Invalid("the lease is too long".to_owned()));
        }
        self.number += 1;
        let planned = PlannedStop {
            instance,
            order: self.order(),
            length,
            at,
        };
        if !broken!(RecordedStop) {
            self.cluster.planned_stop = Some(planned);
        }
        Ok(self.order())
    }

    pub(super) fn end_stop(&mut self, order: Order) -> Reply {
        let ended = self.cluster.planned_stop.take_if(|it| it.order == order);
        ended.map(|_| self.order()).ok_or(Rejection::Stale)
    }
}
