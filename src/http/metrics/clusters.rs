//! The clusters, as they are recorded and as this peer sees them: every peer looks for itself, so the peers may differ
//! for a moment.

use std::collections::BTreeMap;

use crate::http::clusters::view;
use crate::http::views::{ClusterView, InstanceView, RecoveryView, recovery_view};
use crate::model::ClusterName;
use crate::server::Peer;

use super::{Labels, Page};

const ROLES: [&str; 3] = ["primary", "standby", "none"];

/// One cluster, and what happened to it.
struct Told {
    view: ClusterView,
    /// Recoveries since its creation.
    recoveries: u64,
    /// The last of each kind that ended.
    last: BTreeMap<String, RecoveryView>,
}

pub(super) fn tell(page: &mut Page, peer: &Peer) {
    let names: Vec<_> = peer
        .consensus
        .read(|state| state.clusters.keys().cloned().collect());
    let clusters: Vec<_> = names.iter().filter_map(|name| look(peer, name)).collect();
    record(page, &clusters);
    members(page, &clusters);
    recoveries(page, &clusters);
}

fn look(peer: &Peer, name: &ClusterName) -> Option<Told> {
    let view = view(peer, name)?;
    let (recoveries, last) = peer.consensus.read(|state| {
        let records = || state.clusters.get(name).map(|it| it.history.records());
        let ended = records().into_iter().flatten().map(recovery_view);
        let ended = ended.filter(|it| it.outcome.is_some());
        // The later one stays.
        let last = ended.map(|it| (it.kind.clone(), it)).collect();
        let newest = records().and_then(|mut it| it.next_back());
        (newest.map_or(0, |it| it.id), last)
    });
    Some(Told {
        view,
        recoveries,
        last,
    })
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

fn record(page: &mut Page, clusters: &[Told]) {
    let mut each = |name: &str, help: &str, value: fn(&ClusterView) -> u64| {
        let values = clusters.iter().map(|it| (of(&it.view), value(&it.view)));
        page.gauges(name, help, values);
    };
    each(
        "cluster_has_primary",
        "1 while a primary is recorded and no handover is under way",
        |view| u64::from(view.phase == "serving"),
    );
    each(
        "cluster_primaries_observed",
        "Members that this peer sees running as a primary; must never exceed 1 for long",
        |view| {
            let members = view.instances.iter();
            members.filter(|it| it.role == "primary").count() as u64
        },
    );
    each(
        "cluster_epoch",
        "Grows with every change of primary",
        |view| view.epoch,
    );
    each(
        "cluster_standby_acks",
        "How many standbys a commit waits for",
        |view| view.standby_acks as u64,
    );
    let findings = clusters.iter().flat_map(|it| {
        let codes = it.view.findings.iter().map(|finding| {
            let mut labels = of(&it.view);
            labels.push(("code", finding.code.clone()));
            (labels, 1)
        });
        codes.collect::<Vec<_>>()
    });
    page.gauges(
        "cluster_finding",
        "1 for each finding that stands",
        findings,
    );
}

fn members(page: &mut Page, clusters: &[Told]) {
    let all = || {
        let members = clusters.iter().flat_map(|it| {
            let view = &it.view;
            view.instances.iter().map(move |member| (view, member))
        });
        members.map(|(view, member)| (of_member(view, member), member))
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

fn recoveries(page: &mut Page, clusters: &[Told]) {
    page.counters(
        "recoveries",
        "Creations, handovers and rejoins since the cluster was created",
        clusters.iter().map(|it| (of(&it.view), it.recoveries)),
    );
    let last = clusters.iter().flat_map(|it| {
        let kinds = it.last.values().filter_map(|recovery| {
            let mut labels = of(&it.view);
            labels.push(("kind", recovery.kind.clone()));
            Some((labels, recovery.took_ms?))
        });
        kinds.collect::<Vec<_>>()
    });
    page.seconds(
        "last_recovery_duration_seconds",
        "What the last recovery of a kind that ended took, from its beginning to its promotion or end",
        last,
    );
}
