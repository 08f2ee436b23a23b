//! "If the primary died now": answered by playing it out. The view is that of a moment after its death; what the leader decides
//! on it is recorded in a copy of the record by the same state machine, and whoever it has revoked is seen to be, until
//! somebody is elected or something is waited for. So it cannot say anything else than what would be decided on the same looks.
//! That the servers do what they are asked to is assumed; what is known to be missing for it is named.

use std::collections::BTreeMap;

use crate::decision::Programs;
use crate::decision::explain::{Candidate, Explanation};
use crate::model::sql_only::{LOOKS_APART, Look, Outcome, end_of};
use crate::model::{Held, InstanceFacts, InstanceId, Order, Role, SqlView, Timestamp, WalPosition};
use crate::recovery::sql_only::feeding::{feeder, is_cascade};
use crate::recovery::sql_only::{SqlAction, SqlEvidence, SqlPhase, SqlProof, SqlReason, reach};
use crate::state::{Entry, History, SqlChange, SqlCommand, SqlState, State};

use super::switchover::{self, SqlObstacle};
use super::{SqlPlan, decide};

/// Begun, revoked, elected: each takes a turn of the leader, and one that only repoints is given up before.
const TURNS: usize = 6;

/// If the primary died now.
pub fn failover(state: &SqlState, view: &SqlView, programs: &Programs) -> Explanation<SqlReason> {
    let cluster = &state.cluster;
    let primary = cluster.primary.as_ref();
    let after = match primary {
        Some(primary) => without(state, view, primary),
        None => view.clone(),
    };
    let asked = held(state, &after, programs);
    let elected = match &asked {
        Some(held @ Held::Hook { failed: true, .. }) => {
            elected(state, &after).and(Err(SqlReason::Held(held.clone())))
        }
        Some(_) | None => elected(state, &after),
    };
    let (outcome, is_proven) = match elected {
        Ok(Elected {
            instance,
            is_proven,
        }) => (Ok(instance), is_proven),
        Err(reason) => (Err(reason), false),
    };
    let candidates = candidates(state, view, |id| {
        (outcome.as_ref().ok() != Some(id)).then(|| match &outcome {
            Ok(better) => why_not(state, view, id, better),
            Err(reason) => {
                let own = reach::why_incomparable(cluster, id, view);
                own.unwrap_or_else(|| reason.to_string())
            }
        })
    });
    let of_elected = candidates.iter().find(|it| it.obstacle.is_none());
    let loss_bytes = match is_proven {
        true => Some(0),
        false => of_elected.and_then(|it| it.behind_bytes),
    };
    Explanation {
        outcome,
        loss_bytes,
        lease_wait: None,
        programs: match asked {
            Some(Held::Hook { failed: false, .. }) => programs.guards().collect(),
            Some(_) | None => vec![],
        },
        lacks: lacks(state, view),
        candidates,
    }
}

/// If somebody asked for a switchover now, to nobody by name.
pub fn switchover(state: &SqlState, view: &SqlView) -> Explanation<SqlObstacle> {
    let outcome = switchover::choose(state, view);
    let candidates = candidates(state, view, |id| {
        match (&outcome, switchover::obstacle(state, view, id)) {
            (Ok(chosen), _) if chosen == id => None,
            (_, Some(obstacle)) => Some(obstacle.to_string()),
            (Ok(chosen), None) => Some(format!(
                "{chosen} comes before it; it can be named with --to {id}"
            )),
            (Err(why), None) => Some(why.to_string()),
        }
    });
    Explanation {
        loss_bytes: outcome.is_ok().then_some(0),
        lease_wait: None,
        programs: vec![],
        lacks: lacks(state, view),
        candidates,
        outcome,
    }
}

/// Everybody but the primary, each with what is in the way.
fn candidates(
    state: &SqlState,
    view: &SqlView,
    obstacle: impl Fn(&InstanceId) -> Option<String>,
) -> Vec<Candidate> {
    let cluster = &state.cluster;
    let primary = cluster.primary.as_ref();
    // Where the WAL of one ends that is not seen any more, nobody knows.
    let end = primary.and_then(|id| view.fresh(id)).and_then(end_of);
    let behind = |at: WalPosition| {
        let end = end.filter(|end| end.timeline == at.timeline)?;
        Some(end.lsn.0.saturating_sub(at.lsn.0))
    };
    let others = cluster.members.keys().filter(|id| primary != Some(*id));
    let candidate = |id: &InstanceId| {
        let at = view.fresh(id).and_then(end_of);
        Candidate {
            instance: id.clone(),
            at,
            behind_bytes: at.and_then(behind),
            rule: None,
            obstacle: obstacle(id),
        }
    };
    others.map(candidate).collect()
}

/// Why this one is not elected where `better` is.
fn why_not(state: &SqlState, view: &SqlView, id: &InstanceId, better: &InstanceId) -> String {
    let cluster = &state.cluster;
    if let Some(why) = reach::why_incomparable(cluster, id, view) {
        return why;
    }
    let end = |id: &InstanceId| view.fresh(id).and_then(end_of);
    match end(better) {
        Some(best) if end(id) < Some(best) => format!("it holds less than {best}"),
        Some(_) | None => {
            let is_behind = view.fresh(id).is_some_and(|it| is_cascade(cluster, it));
            match is_behind && !cluster.rule.voters().contains(id) {
                true => "it streams from another standby, and goes on to".to_owned(),
                false => format!("{better} comes before it among equals"),
            }
        }
    }
}

fn lacks(state: &SqlState, view: &SqlView) -> Vec<String> {
    let known = view.lacks.iter();
    let of_standbys = known
        .filter(|(id, _)| state.cluster.primary.as_ref() != Some(*id) && view.fresh(id).is_some());
    of_standbys
        .flat_map(|(id, lacks)| lacks.iter().map(move |what| format!("{id}: {what}")))
        .collect()
}

/// What programs say to a failover that would begin.
fn held(state: &SqlState, after: &SqlView, programs: &Programs) -> Option<Held> {
    let plan = decide(state, after).with(state, after, programs);
    plan.waiting.into_iter().find_map(|reason| match reason {
        SqlReason::Held(held @ Held::Hook { .. }) => Some(held),
        _ => None,
    })
}

/// Who takes the primary's place.
struct Elected {
    instance: InstanceId,
    /// Whether that loses nothing that was waited for.
    is_proven: bool,
}

/// Plays it out, from this view on.
fn elected(state: &SqlState, view: &SqlView) -> Result<Elected, SqlReason> {
    let name = &state.cluster.name;
    let before = state.cluster.primary.clone();
    let mut view = view.clone();
    let played = SqlState {
        cluster: state.cluster.clone(),
        adopted_at: state.adopted_at,
        number: state.number,
        handover: state.handover.clone(),
        quieted: state.quieted.clone(),
        history: History::default(),
    };
    let mut all = State {
        sql: BTreeMap::from([(name.clone(), played)]),
        ..State::default()
    };
    let record = |all: &mut State, change: SqlChange| {
        all.apply_entry(Entry::Sql(SqlCommand {
            cluster: name.clone(),
            at: 0,
            change,
        }));
    };
    let mut waiting = None;
    for _ in 0..TURNS {
        let now = &all.sql[name];
        if let Some(SqlPhase::Promoting {
            candidate, proof, ..
        }) = now.handover.as_ref().map(|it| &it.phase)
        {
            return Ok(Elected {
                instance: candidate.clone(),
                is_proven: matches!(proof, SqlProof::Quorum { .. }),
            });
        }
        // Somebody else made it one.
        if let Some(instance) = now
            .cluster
            .primary
            .clone()
            .filter(|_| now.cluster.primary != before)
        {
            return Ok(Elected {
                instance,
                is_proven: false,
            });
        }
        let SqlPlan {
            proposals,
            steps,
            waiting: reasons,
            ..
        } = decide(now, &view);
        waiting = reasons.into_iter().next();
        for change in proposals {
            record(&mut all, change);
        }
        for step in steps {
            if step.action == SqlAction::Revoke {
                let evidence = revoked(&mut view, step.instance);
                record(&mut all, recorded(step.order, evidence));
            }
        }
    }
    Err(waiting.unwrap_or(SqlReason::Asking))
}

fn recorded(order: Order, evidence: SqlEvidence) -> SqlChange {
    SqlChange::Record { order, evidence }
}

/// What would be seen a moment after the host of `primary` had died: a majority of peers finds nobody there, twice, and nobody
/// hears it.
fn without(state: &SqlState, view: &SqlView, primary: &InstanceId) -> SqlView {
    let (mut after, now) = (view.clone(), view.now);
    let first = Timestamp(now.0.saturating_sub(LOOKS_APART.as_millis() as u64));
    let seen = after.instances.entry(primary.clone()).or_default();
    for at in [first, now] {
        let outcome = Outcome::Gone("its host is taken for dead".to_owned());
        seen.note(Look { at, outcome });
    }
    let others = after.peers.saturating_sub(1);
    after.gone.insert(primary.clone(), (now, others));
    let others = state.cluster.members.keys();
    for id in others.filter(|id| *id != primary) {
        if let Some(facts) = view.fresh(id) {
            let mut facts = facts.clone();
            let fed_by = feeder(&state.cluster, view, &facts);
            if fed_by.is_none_or(|it| it == primary) {
                facts.status.io_thread_running = false;
                facts.status.receiver_silent_for_ms = None;
            }
            see(&mut after, id, facts);
        }
    }
    after
}

/// Has it receive nothing more, as it is seen after that.
fn revoked(view: &mut SqlView, instance: InstanceId) -> SqlEvidence {
    let mut position = None;
    if let Some(facts) = view.fresh(&instance) {
        let mut facts = facts.clone();
        facts.role = Role::Detached;
        facts.source = None;
        facts.status.io_thread_running = false;
        facts.status.receiver_silent_for_ms = None;
        facts.status.apply_paused = true;
        position = end_of(&facts);
        see(view, &instance, facts);
    }
    SqlEvidence::Revoked { instance, position }
}

fn see(view: &mut SqlView, instance: &InstanceId, facts: InstanceFacts) {
    let (at, outcome) = (view.now, Outcome::Facts(facts.into()));
    let seen = view.instances.entry(instance.clone()).or_default();
    seen.note(Look { at, outcome });
}

#[cfg(test)]
mod tests;
