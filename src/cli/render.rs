//! Text for people: aligned columns, sentences below.

mod cluster;

use std::fmt::Write;

use crate::http::views::{ClusterView, InstanceView, PeerView, ProblemView, RecoveryView};

pub use cluster::cluster;
use cluster::has_agents;

/// How the first cluster comes to be.
pub(super) const FIRST_CLUSTER: &str = "primacy cluster create --help tells of those with agents; primacy cluster adopt HOST takes one without";

/// Every cluster with its instances, what is wrong, and what is waited for.
pub(super) fn clusters(clusters: &[ClusterView], peers: &[PeerView]) -> String {
    let mut text = String::new();
    if clusters.is_empty() {
        let _ = writeln!(text, "no clusters yet: {FIRST_CLUSTER}");
    }
    let of_peers: Vec<_> = peers.iter().flat_map(|peer| &peer.warnings).collect();
    for view in clusters {
        text.push_str(&cluster(view));
        for warning in view.warnings.iter().filter(|it| !of_peers.contains(it)) {
            let _ = writeln!(text, "WARN  {warning}");
        }
    }
    // Who is only invited is missed by nobody.
    let peers: Vec<_> = peers.iter().filter(|peer| peer.is_member()).collect();
    if peers.is_empty() {
        return text;
    }
    let away: Vec<_> = peers.iter().filter(|peer| !peer.reachable).collect();
    let reachable = peers.len() - away.len();
    let leader = peers.iter().find(|peer| peer.role == "leader");
    let leads = leader.map_or("no leader".to_owned(), |leader| {
        format!("leader {}, term {}", leader.id, leader.term.unwrap_or(0))
    });
    let _ = writeln!(text, "peers {reachable}/{} ({leads})", peers.len());
    for peer in away {
        let _ = writeln!(
            text,
            "WARN  peer {} at {} does not answer",
            peer.id, peer.address
        );
    }
    for warning in of_peers {
        let _ = writeln!(text, "WARN  {warning}");
    }
    text
}

/// What peer `from` last saw, below a line that says what that means.
pub(super) fn stale(from: &str, seen: &[ClusterView], mut peers: Vec<PeerView>) -> String {
    peers.retain(PeerView::is_member);
    let all = peers.len();
    let answer = peers.iter().filter(|peer| peer.reachable).count();
    let so = match 2 * answer > all {
        true => "none leads: no failover until one is elected".to_owned(),
        false => {
            let with = seen.iter().filter(|it| has_agents(it)).count();
            let lease = match seen.is_empty() || with > 0 {
                true => ", and the primary stops when its lease ends",
                false => "",
            };
            let without = match with < seen.len() {
                true => "; databases without agents go on as they are",
                false => "",
            };
            format!("a majority is missing: no failover{lease}{without}")
        }
    };
    // Whoever believes that it leads could not prove it.
    for peer in peers.iter_mut().filter(|peer| peer.role == "leader") {
        peer.role = "unconfirmed".to_owned();
    }
    let view = clusters(seen, &peers);
    format!("WARN  stale, from peer {from}; {answer} of {all} peers answer, {so}\n{view}")
}

/// Each problem in a line, and below it what follows.
pub(super) fn problems(problems: &[ProblemView]) -> String {
    if problems.is_empty() {
        return "no problems\n".to_owned();
    }
    let mut text = String::new();
    for ProblemView { cluster, finding } in problems {
        let cluster = cluster.as_deref().unwrap_or("many clusters");
        let since = finding.since.as_deref();
        let since = since.map_or(String::new(), |since| format!(" since {since}"));
        let (code, words) = (&finding.code, &finding.text);
        let _ = writeln!(text, "{cluster}  {code}{since}: {words}");
        let _ = writeln!(text, "      {}", finding.remedy);
    }
    text
}

/// The peers.
pub(super) fn peers(peers: &[PeerView]) -> String {
    let dash = || "-".to_owned();
    let mut rows = vec![columns([
        "PEER", "ADDRESS", "ZONE", "ROLE", "LEASE", "VOTE", "BEHIND", "TERM", "LAST LOG", "APPLIED",
    ])];
    rows.extend(peers.iter().map(|peer| {
        vec![
            peer.id.to_string(),
            peer.address.clone(),
            peer.zone.clone().unwrap_or_else(dash),
            match (peer.reachable, &peer.invited_until) {
                (false, Some(until)) => format!("{} until {until}", peer.role),
                (false, None) if peer.is_member() => "unreachable".to_owned(),
                (_, _) => peer.role.clone(),
            },
            // Who believes that it leads and holds none may have been replaced.
            match peer.lease_remaining_ms.map(seconds) {
                Some(left) => left,
                None if peer.role == "leader" => "none".to_owned(),
                None => dash(),
            },
            if peer.vote { "yes" } else { "no" }.to_owned(),
            peer.behind.map_or_else(dash, |entries| entries.to_string()),
            peer.term.map_or_else(dash, |term| term.to_string()),
            peer.last_log_index.map_or_else(dash, |i| i.to_string()),
            peer.applied_index.map_or_else(dash, |i| i.to_string()),
        ]
    }));
    let mut text = table(&rows);
    if let Some(group) = peers.iter().find_map(|peer| peer.group.as_ref()) {
        let _ = writeln!(text, "group {group}");
    }
    for warning in peers.iter().flat_map(|peer| &peer.warnings) {
        let _ = writeln!(text, "WARN  {warning}");
    }
    text
}

/// The recoveries of a cluster.
pub(super) fn history(history: &[RecoveryView]) -> String {
    let dash = || "-".to_owned();
    let mut rows = vec![columns([
        "WHEN",
        "KIND",
        "FROM -> TO",
        "EPOCH",
        "TOOK",
        "WHY",
        "OUTCOME",
    ])];
    rows.extend(history.iter().map(|recovery| {
        vec![
            recovery.began_at.clone().unwrap_or_else(dash),
            recovery.kind.clone(),
            match (&recovery.from, &recovery.to) {
                (Some(from), Some(to)) => format!("{from} -> {to}"),
                (Some(only), None) | (None, Some(only)) => only.clone(),
                (None, None) => dash(),
            },
            recovery.epoch.to_string(),
            recovery.took_ms.map_or_else(dash, |ms| format!("{ms} ms")),
            recovery.cause.clone(),
            outcome(recovery),
        ]
    }));
    table(&rows)
}

/// How it ended, and what it lost as far as that is known today.
fn outcome(recovery: &RecoveryView) -> String {
    let ended = recovery.outcome.as_deref().unwrap_or("under way");
    match &recovery.verdict {
        Some(verdict) => format!("{ended}; {verdict}"),
        None => ended.to_owned(),
    }
}

/// A connection string that finds the primary by itself.
pub(super) fn dsn(view: &ClusterView) -> String {
    let is_recorded = |it: &InstanceView| view.primary.as_ref() == Some(&it.name);
    // A client takes the first that lets it write: one that was deposed and runs as a primary again may do so, too.
    let place = |it: &&InstanceView| match (is_recorded(it), it.role.as_str()) {
        (true, _) => 0,
        (false, "primary") => 2,
        (false, _) => 1,
    };
    let mut instances: Vec<_> = view.instances.iter().collect();
    instances.sort_by_key(place);
    let host = |host: &str| match host.contains(':') {
        true => format!("[{host}]"),
        false => host.replace('/', "%2F"),
    };
    let hosts = instances.iter();
    let hosts: Vec<_> = hosts
        .map(|it| format!("{}:{}", host(&it.host), it.port))
        .collect();
    format!(
        "postgresql://{}/?target_session_attrs=read-write&connect_timeout=2",
        hosts.join(",")
    )
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} kB", count as f64 / 1024.0),
        _ => format!("{:.1} MB", count as f64 / 1_048_576.0),
    }
}

fn columns<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(line, "{cell:<width$}  ", width = width(column));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
