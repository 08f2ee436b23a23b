//! What an agent stops without being told: whatever could accept writes without a live lease.

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
    if local.lease.is_some() {
        return None;
    }
    let is_standby = match (&local.session, &local.data) {
        (Some(session), _) => session.in_recovery,
        (None, Data::Cluster { standby_signal, .. }) => *standby_signal,
        (None, Data::Empty | Data::Foreign { .. }) => false,
    };
    if !is_standby {
        return Some("it runs as a primary without a live lease");
    }
    local
        .promotion_asked
        .then_some("it is being promoted without a live lease")
}
