//! The clusters, as they are recorded and as this peer sees them: every peer looks for itself, so the peers may differ
//! for a moment.

use std::collections::BTreeMap;

use crate::decision::zones;
use crate::http::clusters::{names, view};
use crate::http::explain::of_failover;
use crate::http::pace::Pace;
use crate::http::views::recovery::{kind, took_ms};
use crate::http::views::{ClusterView, InstanceView};
use crate::model::ClusterName;
use crate::server::Peer;
use crate::state::RecoveryRecord;

use super::{Labels, Page};

const ROLES: [&str; 3] = ["primary", "standby", "none"];

/// Tells one cluster after the other, with everybody else's work between them.
pub(super) async fn tell(page: &mut Page, peer: &Peer) {
    let names = peer.consensus.read(|state| names(state));
    let mut pace = Pace::begin();
    let mut heard = vec![];
    for name in &names {
        heard.extend(peer.look_on(name, |state, view, _| zones::heard(state, view)));
        if let Some(view) = view(peer, name) {
            record(page, &view);
            members(page, &view);
            forecast(page, peer, name);
            recoveries(page, peer, name);
        }
        pace.part().await;
    }
    let lost = zones::lost(&heard).into_iter();
    page.gauges(
        "zone_lost_clusters",
        "How many clusters hear none of their instances in a zone that most of them have lost; no value of the others",
        lost.map(|it| (vec![("zone", it.zone.to_string())], it.clusters as u64)),
    );
    turns(page, peer);
}

/// How many clusters are given a new primary; known to the leader alone.
fn turns(page: &mut Page, peer: &Peer) {
    let (under_way, waiting, limit) = peer.turns.counts();
    page.gauge(
        "recoveries_under_way",
        "How many clusters are given a new primary now, as the leader sees it; 0 elsewhere",
        under_way as u64,
    );
    page.gauge(
        "recoveries_waiting",
        "How many clusters wait for their turn, as the leader sees it; 0 elsewhere",
        waiting as u64,
    );
    page.gauge(
        "recoveries_limit",
        "How many clusters this peer would give a new primary at once",
        limit as u64,
    );
}

fn of(view: &ClusterView) -> Labels {
    vec![("cluster", view.name.clone())]
}

fn of_member(view: &ClusterView, member: &InstanceView) -> Labels {
    let mut labels = of(view);
    labels.push(("member", member.name.clone()));
    labels.push(("zone", member.zone.clone()));
    labels
}

fn record(page: &mut Page, view: &ClusterView) {
    let mut one = |name: &str, help: &str, value: u64| {
        page.gauges(name, help, [(of(view), value)]);
    };
    one(
        "cluster_has_primary",
        "1 while a primary is recorded and no handover is under way",
        u64::from(view.phase == "serving"),
    );
    let primaries = view.instances.iter().filter(|it| it.role == "primary");
    one(
        "cluster_primaries_observed",
        "Members that this peer sees running as a primary; must never exceed 1 for long",
        primaries.count() as u64,
    );
    one(
        "cluster_epoch",
        "Grows with every change of primary",
        view.epoch,
    );
    one(
        "cluster_standby_acks",
        "How many standbys a commit waits for",
        view.standby_acks as u64,
    );
    one(
        "cluster_paused",
        "1 while it, or every cluster, is paused: nothing is begun by itself",
        u64::from(view.pause.is_some()),
    );
    let mut problems = BTreeMap::<&str, u64>::new();
    for finding in &view.findings {
        *problems.entry(&finding.code).or_default() += 1;
    }
    let problems = problems.into_iter().map(|(code, count)| {
        let mut labels = of(view);
        labels.push(("code", code.to_owned()));
        (labels, count)
    });
    page.gauges(
        "problems",
        "How many findings of a code stand; no value if none does",
        problems,
    );
}

/// What would happen if the host of the primary died now.
fn forecast(page: &mut Page, peer: &Peer, name: &ClusterName) {
    let Some(said) = of_failover(peer, name) else {
        return;
    };
    let of = || vec![("cluster", name.to_string())];
    page.gauges(
        "cluster_failover_possible",
        "1 if somebody would take the primary's place if its host died now",
        [(of(), u64::from(said.to.is_some()))],
    );
    let candidate = said.to.iter().map(|to| {
        let mut labels = of();
        labels.push(("member", to.clone()));
        (labels, 1)
    });
    page.gauges(
        "cluster_failover_candidate",
        "1 for the member that would",
        candidate,
    );
    page.gauges(
        "cluster_failover_loss_bytes",
        "WAL that would be lost of what was acknowledged, by the last reports; no value if that cannot be told",
        said.loss_bytes.map(|bytes| (of(), bytes)),
    );
    page.seconds(
        "cluster_failover_lease_wait_seconds",
        "How long leases would be waited for at most; no value without agents, where there are none",
        said.lease_wait_ms.map(|ms| (of(), ms)),
    );
}

fn members(page: &mut Page, view: &ClusterView) {
    let all = || {
        let members = view.instances.iter();
        members.map(|member| (of_member(view, member), member))
    };
    let roles = all().flat_map(|(labels, member)| {
        ROLES.map(|role| {
            let mut labels = labels.clone();
            labels.push(("role", role.to_owned()));
            (labels, u64::from(member.role == role))
        })
    });
    page.gauges(
        "member_role",
        "1 for what a member is, as this peer sees it",
        roles,
    );
    page.gauges(
        "member_connected",
        "1 while its agent is connected to this peer",
        all().map(|(labels, it)| (labels, u64::from(it.connected))),
    );
    page.gauges(
        "member_counts",
        "1 if its promise counts, 0 while it recovers",
        all().map(|(labels, it)| (labels, u64::from(it.standing == "voter"))),
    );
    page.gauges(
        "member_in_downtime",
        "1 while it is in downtime: no recovery of it is begun by itself",
        all().map(|(labels, it)| (labels, u64::from(it.downtime.is_some()))),
    );
    page.gauges(
        "member_lag_bytes",
        "What it lacks of the primary's flushed WAL; no value if that is not known",
        all().filter_map(|(labels, it)| Some((labels, it.lag_bytes?))),
    );
    page.seconds(
        "member_report_age_seconds",
        "The age of its last report; no value if this peer never heard it",
        all().filter_map(|(labels, it)| Some((labels, it.age_ms?))),
    );
    page.seconds(
        "lease_remaining_seconds",
        "How long its lease as the primary still lasts by its last report; no value if it holds none",
        all().filter_map(|(labels, it)| Some((labels, it.lease_remaining_ms?))),
    );
}

fn recoveries(page: &mut Page, peer: &Peer, name: &ClusterName) {
    let of_cluster = || vec![("cluster", name.to_string())];
    let (count, last) = peer.consensus.read(|state| {
        let Some(state) = state.clusters.get(name) else {
            return (0, vec![]);
        };
        let newest_first = || state.history.records().rev();
        let last = last_ended(newest_first()).into_iter().filter_map(|ended| {
            let mut labels = of_cluster();
            labels.push(("kind", kind(ended.kind).to_owned()));
            Some((labels, took_ms(ended)?))
        });
        let newest = newest_first().next();
        (newest.map_or(0, |it| it.id), last.collect())
    });
    page.counters(
        "recoveries",
        "Creations, handovers, rejoins and runs of programs since the cluster was created",
        [(of_cluster(), count)],
    );
    page.seconds(
        "last_recovery_duration_seconds",
        "What the last recovery of a kind that ended took, from its beginning to its promotion or end",
        last,
    );
}

/// The last of each kind that ended: of a long history no more is told, so no more is made.
fn last_ended<'a>(
    newest_first: impl Iterator<Item = &'a RecoveryRecord>,
) -> Vec<&'a RecoveryRecord> {
    let mut last: Vec<&RecoveryRecord> = vec![];
    for record in newest_first.filter(|it| it.outcome.is_some()) {
        if last.iter().all(|it| it.kind != record.kind) {
            last.push(record);
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;
    use crate::state::Kind;
    use crate::state::history::Entry;

    /// As many entries as a record keeps.
    fn ended(id: u64, kind: Kind) -> RecoveryRecord {
        let entry = |at| Entry {
            at,
            event: "noted".to_owned(),
            detail: String::new(),
        };
        RecoveryRecord {
            id,
            kind,
            epoch: Epoch(id),
            from: None,
            to: None,
            cause: String::new(),
            entries: (0..100).map(entry).collect(),
            outcome: Some("a primary serves".to_owned()),
        }
    }

    #[test]
    fn of_a_long_history_the_last_of_each_kind_is_made_and_no_other() {
        let mut records = vec![ended(1, Kind::Creation)];
        for id in 2..=200 {
            let kind = match id % 2 {
                0 => Kind::Handover,
                _ => Kind::Rejoin,
            };
            records.push(ended(id, kind));
        }
        // The last two run still.
        for running in &mut records[198..] {
            running.outcome = None;
        }
        let last = last_ended(records.iter().rev());
        let made: Vec<_> = last.iter().map(|it| (kind(it.kind), it.id)).collect();
        assert_eq!(made, [("handover", 198), ("rejoin", 197), ("creation", 1)]);
        assert_eq!(took_ms(last[0]), Some(99));
    }
}
