//! What an agent stops without being told: whatever could accept writes without a live lease.

use crate::broken;

use super::local::{Data, Local};

/// Why everything must be stopped at once; none if all is well.
pub fn must_stop(local: &Local) -> Option<&'static str> {
    if !local.is_running {
        return None;
    }
    if !local.has_postmaster {
        // Backends live on for seconds without their postmaster, and acknowledge.
        return Some("its postmaster ended");
    }
    if local.lease.is_some() || broken!(LeaseEnd) {
        return None;
    }
    if let Data::Offered(_) = &local.data {
        // It ran before anybody looked after it, and nobody else is primary before it was taken in.
        return None;
    }
    let is_standby = match (&local.session, &local.data) {
        (Some(session), _) => session.in_recovery,
        (None, Data::Cluster { standby_signal, .. }) => *standby_signal,
        (None, Data::Empty | Data::Foreign { .. } | Data::Offered(_)) => false,
    };
    if !is_standby {
        return Some("it runs as a primary without a live lease");
    }
    (local.promotion_asked && !broken!(PromotionFence))
        .then_some("it is being promoted without a live lease")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::local::example::running_standby;
    use crate::model::Epoch;

    #[test]
    fn only_a_lease_lets_a_primary_run() {
        let standby = running_standby();
        assert_eq!(must_stop(&standby), None);
        let mut primary = standby.clone();
        primary.session.as_mut().unwrap().in_recovery = false;
        assert!(must_stop(&primary).is_some());
        primary.lease = Some(Epoch(1));
        assert_eq!(must_stop(&primary), None);
        primary.has_postmaster = false;
        assert!(
            must_stop(&primary).is_some(),
            "backends outlive their postmaster"
        );
        let mut silent = standby.clone();
        silent.session = None;
        assert_eq!(must_stop(&silent), None, "a standby that starts");
        if let Data::Cluster { standby_signal, .. } = &mut silent.data {
            *standby_signal = false;
        }
        assert!(must_stop(&silent).is_some(), "a primary that starts");
        let mut promoting = standby;
        promoting.promotion_asked = true;
        assert!(must_stop(&promoting).is_some());
    }
}
