//! Text for people: aligned columns, sentences below.

use std::fmt::Write;

use crate::http::views::{ClusterView, InstanceView, PeerView, RecoveryView};

/// Every cluster with its instances, what is wrong, and what is waited for.
pub(super) fn clusters(clusters: &[ClusterView], peers: &[PeerView]) -> String {
    let mut text = String::new();
    if clusters.is_empty() {
        text.push_str("no clusters yet\n");
    }
    for view in clusters {
        text.push_str(&cluster(view));
    }
    let reachable = peers.iter().filter(|peer| peer.reachable).count();
    let leader = peers.iter().find(|peer| peer.role == "leader");
    let leads = leader.map_or("no leader".to_owned(), |leader| {
        format!("leader {}, term {}", leader.id, leader.term.unwrap_or(0))
    });
    let _ = writeln!(text, "peers {reachable}/{} ({leads})", peers.len());
    for warning in peers.iter().flat_map(|peer| &peer.warnings) {
        let _ = writeln!(text, "WARN  {warning}");
    }
    text
}

/// One cluster.
pub fn cluster(view: &ClusterView) -> String {
    let health = if view.findings.is_empty() && view.phase == "serving" {
        "HEALTHY".to_owned()
    } else {
        view.phase.to_uppercase()
    };
    let identity = view.system_identifier.as_deref().unwrap_or("-");
    let mut text = format!(
        "{}   {health}   sys {identity}   epoch {}   {}\n",
        view.name, view.epoch, view.durability
    );
    let mut rows = vec![columns([
        "INSTANCE", "ZONE", "ROLE", "STATE", "TL", "LSN", "LAG", "LEASE", "SEEN", "COUNTS",
    ])];
    rows.extend(view.instances.iter().map(|instance| row(view, instance)));
    text.push_str(&table(&rows));
    for finding in &view.findings {
        let _ = writeln!(text, "WARN  {}: {}", finding.code, finding.text);
    }
    for wait in &view.waiting {
        let who = wait.instance.as_deref().unwrap_or("recovery");
        let _ = writeln!(text, "WAIT  {who}: {} ({})", wait.text, wait.code);
    }
    for step in &view.under_way {
        let _ = writeln!(text, "NOW   {} {}", step.action, step.instance);
    }
    text
}

fn row(view: &ClusterView, instance: &InstanceView) -> Vec<String> {
    let dash = || "-".to_owned();
    let role = match (&view.primary, instance.role.as_str()) {
        (_, "primary") => "PRIMARY".to_owned(),
        (Some(primary), other) if *primary == instance.name => format!("{other} (primary)"),
        (_, other) => other.to_owned(),
    };
    let state = match &instance.rejoin {
        Some(phase) => format!("{} ({phase})", instance.state),
        None => instance.state.clone(),
    };
    vec![
        instance.name.clone(),
        instance.zone.clone(),
        role,
        state,
        instance.timeline.map_or_else(dash, |tl| tl.to_string()),
        instance.lsn.clone().unwrap_or_else(dash),
        instance.lag_bytes.map_or_else(dash, bytes),
        instance
            .lease_remaining_ms
            .map_or_else(dash, |ms| format!("{:.1} s", ms as f64 / 1000.0)),
        instance
            .age_ms
            .map_or_else(dash, |ms| format!("{:.1} s", ms as f64 / 1000.0)),
        match instance.standing.as_str() {
            "voter" => "yes".to_owned(),
            _ => "not yet".to_owned(),
        },
    ]
}

/// The peers.
pub(super) fn peers(peers: &[PeerView]) -> String {
    let dash = || "-".to_owned();
    let mut rows = vec![columns([
        "PEER", "ADDRESS", "ZONE", "ROLE", "TERM", "LAST LOG", "APPLIED",
    ])];
    rows.extend(peers.iter().map(|peer| {
        vec![
            peer.id.to_string(),
            peer.address.clone(),
            peer.zone.clone().unwrap_or_else(dash),
            if peer.reachable {
                peer.role.clone()
            } else {
                "unreachable".to_owned()
            },
            peer.term.map_or_else(dash, |term| term.to_string()),
            peer.last_log_index.map_or_else(dash, |i| i.to_string()),
            peer.applied_index.map_or_else(dash, |i| i.to_string()),
        ]
    }));
    table(&rows)
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
            recovery
                .outcome
                .clone()
                .unwrap_or_else(|| "under way".to_owned()),
        ]
    }));
    table(&rows)
}

/// A connection string that finds the primary by itself.
pub(super) fn dsn(view: &ClusterView) -> String {
    let hosts: Vec<_> = view
        .instances
        .iter()
        .map(|instance| format!("{}:{}", instance.host, instance.port))
        .collect();
    format!(
        "postgresql://{}/?target_session_attrs=read-write&connect_timeout=2",
        hosts.join(",")
    )
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

fn table(rows: &[Vec<String>]) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![columns(["A", "LONG"]), columns(["longer", "b"])];
        assert_eq!(table(&rows), "A       LONG\nlonger  b\n");
        assert_eq!(bytes(1536), "1.5 kB");
    }

    #[test]
    fn a_creation_shows_its_first_primary_alone() {
        let recovery = |kind: &str, from: Option<&str>, to: Option<&str>| RecoveryView {
            id: 1,
            kind: kind.to_owned(),
            epoch: 1,
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            cause: "why".to_owned(),
            began_at: None,
            took_ms: None,
            outcome: None,
            entries: vec![],
        };
        let text = history(&[
            recovery("creation", None, Some("a")),
            recovery("handover", Some("a"), Some("b")),
            recovery("rejoin", Some("a"), None),
        ]);
        let expected = "\
WHEN  KIND      FROM -> TO  EPOCH  TOOK  WHY  OUTCOME
-     creation  a           1      -     why  under way
-     handover  a -> b      1      -     why  under way
-     rejoin    a           1      -     why  under way
";
        assert_eq!(text, expected);
    }
}
