//! One cluster: its instances in aligned columns, and in sentences what is wrong and what is waited for.

use std::fmt::Write;

use super::{bytes, columns, seconds, table};
use crate::http::views::{ClusterView, InstanceView};

/// Whether agents look after it; a peer of an older version does not say.
pub(super) fn has_agents(view: &ClusterView) -> bool {
    matches!(view.fence.as_str(), "" | "agents")
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
    let mut rows = vec![match has_agents(view) {
        true => columns([
            "INSTANCE", "ZONE", "ROLE", "STATE", "TL", "LSN", "LAG", "LEASE", "SEEN", "COUNTS",
        ]),
        false => columns([
            "INSTANCE", "ROLE", "STATE", "TL", "LSN", "LAG", "SEEN", "COUNTS", "ADDRESS",
        ]),
    }];
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
    if !has_agents(view) {
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
pub(super) fn health(view: &ClusterView) -> String {
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
    let timeline = instance.timeline.map_or_else(dash, |tl| tl.to_string());
    let lsn = instance.lsn.clone().unwrap_or_else(dash);
    // Of who is away nobody knows how far the others have come since.
    let lag = instance.lag_bytes.filter(|_| instance.role != "none");
    let lag = lag.map_or_else(dash, bytes);
    let lease = match instance.lease_remaining_ms.map(seconds) {
        Some(left) if instance.role == "none" => format!("<= {left}"),
        Some(left) => left,
        None => dash(),
    };
    let seen = instance.age_ms.map_or_else(dash, seconds);
    let counts = match instance.standing.as_str() {
        "voter" => "yes",
        "observer" => "no",
        _ => "not yet",
    };
    let (name, counts) = (instance.name.clone(), counts.to_owned());
    match has_agents(view) {
        true => {
            let zone = instance.zone.clone();
            vec![
                name, zone, role, state, timeline, lsn, lag, lease, seen, counts,
            ]
        }
        // The address is the last: it may be long.
        false => vec![
            name,
            role,
            state,
            timeline,
            lsn,
            lag,
            seen,
            counts,
            address(instance),
        ],
    }
}

/// Where it answers: without agents that is all by which people know a server.
fn address(instance: &InstanceView) -> String {
    let InstanceView { host, port, .. } = instance;
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
