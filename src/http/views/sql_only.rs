//! One cluster without agents, in the same words as one with them; and what adopting one would make of it.

use serde::{Deserialize, Serialize};

use crate::decision::discovery::Unfound;
use crate::decision::sql_only::adoption::guarantee;
use crate::decision::sql_only::{SqlFinding, SqlPlan, not_told_apart};
use crate::model::sql_only::{Outcome, end_of};
use crate::model::{FenceDemand, InstanceFacts, InstanceId, Role, SqlView, SyncRule};
use crate::recovery::sql_only::SqlStep;
use crate::server::sql_only::Adoption;
use crate::state::SqlState;

use super::cluster::{ClusterView, StepView, WaitView};
use super::directive::{block_of, pause_of, said_of};
use super::finding::sql_finding_view;
use super::instance::{FAILURE_SHOWN_FOR, InstanceView, millis};

/// A cluster that there is, as it would be recorded or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptionView {
    /// Its name.
    pub name: String,
    /// Whether it is recorded now.
    pub recorded: bool,
    /// PostgreSQL's `system_identifier`.
    pub system_identifier: String,
    /// `courtesy`, or `required`: without agents nothing is failed over.
    pub fence: String,
    /// `async`, `quorum k` or `unclear`.
    pub durability: String,
    /// What a failover would and would not guarantee.
    pub guarantee: String,
    /// Why nothing would be failed over as it is now, whatever dies; none if something could be.
    pub hindrance: Option<String>,
    /// The name of the primary.
    pub primary: String,
    /// Its instances.
    pub instances: Vec<AdoptedView>,
    /// Who receives and could not be found, each with the next step.
    pub unfound: Vec<String>,
    /// What instances lack.
    pub lacks: Vec<LackView>,
}

/// One instance that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedView {
    /// Its name.
    pub name: String,
    /// Where it answers, `host:port`.
    pub address: String,
    /// `primary`, `standby` or `detached`.
    pub role: String,
    /// Whom it follows, `host:port`; none on a primary.
    pub source: Option<String>,
    /// Under which name it streams.
    pub application_name: Option<String>,
    /// The server's version.
    pub version: String,
    /// Its timeline.
    pub timeline: Option<u32>,
}

/// Something that an instance lacks for being looked after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LackView {
    /// Which instance, `host:port`.
    pub address: String,
    /// What does not work without it.
    pub what: String,
    /// What to run or to write.
    pub mend: String,
    /// Whether a failover fails without it; else it is only slower or dearer.
    pub needed: bool,
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Standby => "standby",
        Role::Detached => "detached",
    }
}

/// What adopting it would make of it, or made of it.
pub(in crate::http) fn adoption_view(
    name: String,
    adoption: &Adoption,
    recorded: bool,
) -> AdoptionView {
    let adopted = &adoption.adopted;
    let members = adopted.members.iter();
    let instances = members.filter_map(|(id, member)| {
        let facts = adoption.topology.instances.get(&member.address)?;
        Some(AdoptedView {
            name: id.to_string(),
            address: member.address.to_string(),
            role: role(facts.role).to_owned(),
            source: facts.source.as_ref().map(|it| it.address.to_string()),
            application_name: member.application_name.clone(),
            version: facts.version.clone(),
            timeline: facts.timeline.map(|it| it.0),
        })
    });
    let lacks = adoption.lacks.iter();
    AdoptionView {
        name,
        recorded,
        system_identifier: adopted.system.to_string(),
        fence: adopted.fence.name().to_owned(),
        durability: adopted.rule.to_string(),
        guarantee: adoption.guarantee.clone(),
        hindrance: adoption.hindrance.clone(),
        primary: adopted.primary.to_string(),
        instances: instances.collect(),
        unfound: adoption.unfound().iter().map(Unfound::to_string).collect(),
        lacks: lacks
            .map(|(address, what, mend, needed)| LackView {
                address: address.to_string(),
                what: what.clone(),
                mend: mend.clone(),
                needed: *needed,
            })
            .collect(),
    }
}

/// Said of every cluster without agents.
const LATE: &str =
    "without agents a statement that a deposed leader sent late cannot be refused by a server";

/// Whose copies of the data cannot be told apart, and what mends it.
fn copies_not_told_apart(state: &SqlState) -> Option<String> {
    let names: Vec<_> = not_told_apart(state)
        .into_iter()
        .map(InstanceId::as_str)
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}: one copy of the data cannot be told from the next, so that it counts for nothing after a restart until it has \
             streamed as far as its primary was; grant the role of the peers EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean), as primacy \
             grants prints it",
            names.join(", ")
        )
    })
}

/// What a failover does and does not guarantee, as it is now.
fn guaranteed(state: &SqlState, view: &SqlView) -> String {
    let cluster = &state.cluster;
    // What was seen last counts, also of one that is gone: whose commits did not wait is not undone by its death.
    let former = state.handover.as_ref().and_then(|it| it.from.as_ref());
    let of = cluster.primary.as_ref().or(former);
    let facts = of.and_then(|id| view.instances.get(id)?.facts.as_ref());
    let sync = facts.map(|(_, it)| &it.sync);
    let said = guarantee(cluster.fence, &cluster.rule, cluster.members.len(), sync);
    match cluster.fence {
        FenceDemand::Courtesy => format!("{said}; {LATE}"),
        FenceDemand::Required => said,
    }
}

/// The same with how an old primary is fenced.
pub(in crate::http) fn guarantee_over_sql(state: &SqlState, view: &SqlView) -> String {
    let fence = state.cluster.fence.name();
    format!("fence: {fence}; {}", guaranteed(state, view))
}

/// Everything about one cluster without agents.
pub(in crate::http) fn sql_cluster_view(
    state: &SqlState,
    (view, plan): (&SqlView, &SqlPlan),
    (unfound, under_way): (&[Unfound], &[SqlStep]),
    mut warnings: Vec<String>,
    since: impl Fn(&SqlFinding) -> Option<u64>,
) -> ClusterView {
    let cluster = &state.cluster;
    let again = "of primacy cluster adopt, after primacy cluster forget";
    warnings.extend(unfound.iter().map(|it| format!("{it} {again}")));
    warnings.extend(copies_not_told_apart(state));
    let phase = match (&state.handover, &cluster.primary) {
        (Some(handover), _) => handover.phase(),
        (None, Some(_)) => "serving",
        (None, None) => "no_primary",
    };
    let primary = cluster.primary.as_ref();
    let members = cluster.members.keys();
    let held = view.directives.holds_failover(primary);
    ClusterView {
        name: cluster.name.to_string(),
        system_identifier: Some(cluster.system.to_string()),
        durability: cluster.rule.to_string(),
        reads: "fast".to_owned(),
        standby_acks: match &cluster.rule {
            SyncRule::Any { acks, .. } => usize::from(*acks),
            SyncRule::Async | SyncRule::Unclear { .. } => 0,
        },
        fence: cluster.fence.name().to_owned(),
        guarantee: guaranteed(state, view),
        epoch: cluster.epoch.0,
        timeline: cluster.lineage.current.0,
        primary: primary.map(ToString::to_string),
        primary_address: primary
            .and_then(|id| cluster.members.get(id))
            .map(|member| member.address.to_string()),
        phase: phase.to_owned(),
        pause: pause_of(&view.directives),
        block_seconds: view.directives.block_period.map(|it| it.as_secs()),
        blocked: block_of(&view.directives),
        priority: view.directives.priority.0,
        switchover: None,
        durability_change: None,
        instances: members.map(|id| instance(id, state, view)).collect(),
        findings: plan
            .findings
            .iter()
            .map(|finding| sql_finding_view(finding, since(finding), held.as_ref()))
            .collect(),
        waiting: plan
            .waiting
            .iter()
            .map(|reason| WaitView {
                instance: None,
                code: reason.code().to_owned(),
                text: reason.to_string(),
            })
            .collect(),
        under_way: under_way
            .iter()
            .map(|step| StepView {
                instance: step.instance.to_string(),
                action: step.action.name().to_owned(),
                order: step.order.to_string(),
            })
            .collect(),
        warnings,
    }
}

fn instance(id: &InstanceId, state: &SqlState, view: &SqlView) -> InstanceView {
    let cluster = &state.cluster;
    let member = &cluster.members[id];
    let seen = view.instances.get(id);
    let last = seen.and_then(|seen| seen.last.as_ref());
    let facts = view.fresh(id);
    let end = facts.and_then(end_of);
    let is_primary = cluster.primary.as_ref() == Some(id);
    let primary = cluster.primary.as_ref().and_then(|id| view.fresh(id));
    let lag = |primary: &InstanceFacts| {
        let (of, end) = (end_of(primary)?, end?);
        (of.timeline == end.timeline).then(|| of.lsn.0.saturating_sub(end.lsn.0))
    };
    let observed = match (facts, last.map(|look| &look.outcome)) {
        (Some(facts), _) => match (facts.role, facts.status.io_thread_running) {
            (Role::Primary, _) if facts.read_only_default => "read_only",
            (Role::Primary, _) => "running",
            (Role::Detached, _) => "detached",
            (Role::Standby, true) => "streaming",
            (Role::Standby, false) => "not_streaming",
        },
        (None, Some(Outcome::Refused(_))) => "refusing",
        (None, Some(Outcome::Gone(_))) => "gone",
        (None, Some(Outcome::Facts(_) | Outcome::Unclear(_))) => "unresponsive",
        (None, None) => "unknown",
    };
    let words = last.and_then(|look| match &look.outcome {
        Outcome::Facts(_) => None,
        Outcome::Refused(why) | Outcome::Gone(why) | Outcome::Unclear(why) => Some(why.clone()),
    });
    let failure = seen.and_then(|seen| seen.failure.as_ref());
    let failure = failure.filter(|it| view.now.since(it.at) <= FAILURE_SHOWN_FOR);
    let failure = failure.map(|it| format!("{} ({})", it.reason, it.order));
    let said = said_of(&view.directives, id);
    InstanceView {
        name: id.to_string(),
        zone: String::new(),
        host: member.address.host.clone(),
        port: member.address.port,
        health: String::new(),
        assignment: if is_primary { "primary" } else { "standby" }.to_owned(),
        role: match facts.map(|facts| facts.role) {
            Some(Role::Primary) => "primary",
            Some(Role::Standby | Role::Detached) => "standby",
            None => "none",
        }
        .to_owned(),
        state: observed.to_owned(),
        timeline: end.map(|end| end.timeline.0),
        lsn: end.map(|end| end.lsn.to_string()),
        lag_bytes: primary.filter(|_| !is_primary).and_then(lag),
        lease_remaining_ms: None,
        planned_stop_until: None,
        standing: match is_primary || cluster.rule.voters().contains(id) {
            true => "voter",
            false => "observer",
        }
        .to_owned(),
        incarnation: 0,
        downtime: said.downtime,
        promotion_rule: said.promotion_rule,
        promotion_rule_until: said.promotion_rule_until,
        rejoin: None,
        age_ms: last.map(|look| millis(view.now.since(look.at))),
        connected: facts.is_some(),
        failure: failure.or(words),
    }
}
