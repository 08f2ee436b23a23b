//! Text for people: aligned columns, sentences below.

use std::fmt::Write;

use crate::http::views::{ClusterView, InstanceView, PeerView, ProblemView, RecoveryView};

/// Every cluster with its instances, what is wrong, and what is waited for.
pub(super) fn clusters(clusters: &[ClusterView], peers: &[PeerView]) -> String {
    let mut text = String::new();
    if clusters.is_empty() {
        text.push_str("no clusters yet\n");
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
            let has_agents = |it: &&ClusterView| it.fence == "agents";
            let with = seen.iter().filter(has_agents).count();
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

/// One cluster.
pub fn cluster(view: &ClusterView) -> String {
    let health = health(view);
    let strict = if view.reads == "strict" {
        ", reads strict"
    } else {
        ""
    };
    let identity = view.system_identifier.as_deref().unwrap_or("-");
    let mut text = format!(
        "{}   {health}   sys {identity}   epoch {}   {}{strict}\n",
        view.name, view.epoch, view.durability
    );
    let mut rows = vec![columns([
        "INSTANCE", "ZONE", "ROLE", "STATE", "TL", "LSN", "LAG", "LEASE", "SEEN", "COUNTS",
    ])];
    rows.extend(view.instances.iter().map(|instance| row(view, instance)));
    text.push_str(&table(&rows));
    for instance in &view.instances {
        if let Some(until) = &instance.planned_stop_until {
            let name = &instance.name;
            let _ = writeln!(
                text,
                "NOTE  {name}: its agent was stopped on purpose, its lease lasts until {until}"
            );
        }
    }
    if let Some(pause) = &view.pause {
        let what = if pause.everywhere {
            "every cluster"
        } else {
            &view.name
        };
        let _ = writeln!(
            text,
            "PAUSE {what} until {} by {}: {}",
            pause.until, pause.owner, pause.reason
        );
    }
    if let Some(asked) = &view.switchover {
        let _ = writeln!(
            text,
            "NOTE  switchover from {} to {}, {}, asked for by {}: {}",
            asked.from, asked.to, asked.phase, asked.owner, asked.reason
        );
    }
    if let Some(asked) = &view.durability_change {
        let _ = writeln!(
            text,
            "NOTE  durability {} to {}, {}, asked for by {}: {}",
            view.durability, asked.to, asked.phase, asked.owner, asked.reason
        );
        // A peer of an older version says neither.
        if !asked.waits_for.is_empty() {
            let (waits_for, command) = (&asked.waits_for, &asked.taken_back_by);
            let _ = writeln!(
                text,
                "WAIT  durability: {waits_for}; taken back by `{command}`"
            );
        }
    }
    if let Some(blocked) = &view.blocked {
        let _ = writeln!(
            text,
            "BLOCK another failover is kept off until {}, unless that of epoch {} is acknowledged (primacy ack)",
            blocked.until, blocked.epoch
        );
    }
    if view.priority != 0 {
        let _ = writeln!(text, "NOTE  priority {}", view.priority);
    }
    for instance in &view.instances {
        text.push_str(&said(instance));
    }
    // With agents it is what everybody expects.
    if !matches!(view.fence.as_str(), "" | "agents") {
        let _ = writeln!(text, "NOTE  fence: {}; {}", view.fence, view.guarantee);
    }
    // The pause has its own line.
    for finding in view.findings.iter().filter(|it| it.code != PAUSED) {
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

/// The finding that automation is switched off: nothing is wrong.
const PAUSED: &str = "Paused";

/// What operators said of an instance.
fn said(instance: &InstanceView) -> String {
    let name = &instance.name;
    let mut text = String::new();
    if let Some(hold) = &instance.downtime {
        let _ = writeln!(
            text,
            "DOWN  {name} in downtime until {} by {}: {}",
            hold.until, hold.owner, hold.reason
        );
    }
    if !matches!(instance.promotion_rule.as_str(), "" | "neutral") {
        let until = instance.promotion_rule_until.as_ref();
        let until = until.map_or(String::new(), |until| format!(" until {until}"));
        let rule = &instance.promotion_rule;
        let _ = writeln!(text, "RULE  {name}: {rule}{until}");
    }
    text
}

/// In a word or two: whether the cluster serves, and what a handover is at.
fn health(view: &ClusterView) -> String {
    let is_primary = |instance: &&InstanceView| view.primary.as_ref() == Some(&instance.name);
    let primary = view.instances.iter().find(is_primary);
    match (view.phase.as_str(), primary) {
        ("serving", _) if view.findings.iter().all(|it| it.code == PAUSED) => "HEALTHY".to_owned(),
        ("serving", Some(primary)) if primary.role == "primary" => "DEGRADED".to_owned(),
        ("serving", Some(primary)) => format!("PRIMARY {}", primary.state.to_uppercase()),
        (phase, _) => phase.replace('_', " ").to_uppercase(),
    }
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
        // Of who is away nobody knows how far the others have come since.
        instance
            .lag_bytes
            .filter(|_| instance.role != "none")
            .map_or_else(dash, bytes),
        match instance.lease_remaining_ms.map(seconds) {
            Some(left) if instance.role == "none" => format!("<= {left}"),
            Some(left) => left,
            None => dash(),
        },
        instance.age_ms.map_or_else(dash, seconds),
        match instance.standing.as_str() {
            "voter" => "yes".to_owned(),
            "observer" => "no".to_owned(),
            _ => "not yet".to_owned(),
        },
    ]
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
