//! Is a standby that streams far behind? A failover to it would take that long to replay, and in an async cluster lose
//! what it has not received.

use std::time::Duration;

use crate::model::{Database, InstanceId, View};
use crate::state::ClusterState;

use super::super::Finding;

/// A standby that has not applied for so long what it received is behind: orchestrator's
/// `ReasonableReplicationLagSeconds`.
pub const LAG_LIMIT: Duration = Duration::from_secs(10);
/// So are those that lack so many bytes of WAL: sixteen segments.
pub const LAG_LIMIT_BYTES: u64 = 256 * 1024 * 1024;

pub(super) fn analyze(state: &ClusterState, view: &View) -> Vec<Finding> {
    let cluster = &state.cluster;
    let Some((primary, report)) = super::serving(state, view) else {
        return vec![];
    };
    let Database::Primary { position: end, .. } = report.database else {
        return vec![];
    };
    let streams = |id: &&InstanceId| *id != primary && view.streams(cluster, id);
    let standbys = cluster.members.keys().filter(streams);
    let behind = standbys.filter_map(|id| {
        let report = view.fresh(id)?;
        let Database::Standby {
            flushed, replayed, ..
        } = report.database
        else {
            return None;
        };
        if flushed.timeline != end.timeline {
            return None;
        }
        // Readings of different moments may show a standby ahead: that is no lag.
        let not_received = end.lsn.0.saturating_sub(flushed.lsn.0);
        let not_applied = flushed.lsn.0.saturating_sub(replayed.0);
        let is_late = report.lag.is_some_and(|lag| lag >= LAG_LIMIT);
        let is_behind = not_received + not_applied >= LAG_LIMIT_BYTES;
        (is_late || is_behind).then(|| Finding::StandbyBehindBeyondLimit {
            instance: id.clone(),
            not_received,
            not_applied,
            lag: report.lag,
        })
    });
    behind.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{at, cluster, primary, standby, view};
    use crate::model::{Durability, Lsn, WalPosition};
    use crate::state::example::at_rest;

    #[test]
    fn seconds_or_bytes_beyond_the_limit_are_told() {
        const FAR: u64 = 10 * LAG_LIMIT_BYTES;
        let check = |flushed, applied, lag: Option<u64>, expected: Option<&str>| {
            let cluster = cluster(&["a", "b"], Durability::Async);
            let mut a = primary(&cluster, "a");
            if let Database::Primary { position, .. } = &mut a.database {
                *position = at(2, FAR);
            }
            let position: WalPosition = at(2, flushed);
            let mut b = standby(&cluster, "b", position);
            if let Database::Standby { replayed, .. } = &mut b.database {
                *replayed = Lsn(applied);
            }
            b.lag = lag.map(Duration::from_secs);
            let found = analyze(&at_rest(cluster), &view([("a", a), ("b", b)]));
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(found, expected);
        };
        check(FAR, FAR, Some(0), None);
        check(FAR, FAR - 1, Some(9), None);
        check(
            FAR,
            FAR - 1,
            Some(10),
            Some("the standby b is behind: 0 bytes of WAL not received, 1 not applied, 10 s late"),
        );
        check(
            FAR - LAG_LIMIT_BYTES + 1,
            FAR - LAG_LIMIT_BYTES + 1,
            None,
            None,
        );
        check(
            FAR - 5,
            FAR - LAG_LIMIT_BYTES,
            None,
            Some("the standby b is behind: 5 bytes of WAL not received, 268435451 not applied"),
        );
    }
}
