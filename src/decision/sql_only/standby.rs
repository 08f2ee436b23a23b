//! A standby while nothing changes the primary: whether it receives, whom a change left behind, and who may have a branch of
//! its own.

use std::time::Duration;

use crate::broken;
use crate::model::sql_only::end_of;
use crate::model::{InstanceFacts, InstanceId, Lineage, Opinion, Role, SqlView, WalPosition};
use crate::recovery::sql_only::SqlAction;
use crate::recovery::sql_only::feeding::follows;
use crate::state::{Observed, SqlChange, SqlState};

use super::analyze::is_beside;
use super::upkeep::act;
use super::{PROMOTION_SHOWS_WITHIN, SqlFinding, SqlPlan};

/// A standby in the middle of a cascade may be away for so long before those behind it are pointed at the primary: as long as
/// `pg_ctl` waits for a server to stop or to start before it says that it failed. Nobody loses more than freshness meanwhile:
/// what is behind another standby counts for no commit.
const MIDDLE_RESTARTS_WITHIN: Duration = Duration::from_secs(60);

/// A standby that was started, or that lost its source, has tried that again and again by then: twice as long as PostgreSQL
/// pauses between two attempts (`wal_retrieve_retry_interval`, 5 s).
const SOURCE_TRIED_FOR: Duration = Duration::from_secs(10);

pub(super) fn standby(
    plan: &mut SqlPlan,
    state: &SqlState,
    view: &SqlView,
    (id, facts): (&InstanceId, &InstanceFacts),
) {
    let cluster = &state.cluster;
    if facts.role == Role::Primary {
        // Any other one that is on a younger branch was promoted by somebody else.
        if facts.timeline < Some(cluster.lineage.current) || cluster.told.contains_key(id) {
            plan.findings.push(SqlFinding::DeposedPrimary {
                instance: id.clone(),
                is_quiet: facts.read_only_default,
            });
            if !facts.read_only_default {
                act(plan, state, view, id, SqlAction::Fence);
            }
        }
        return;
    }
    match branch(state, view, (id, facts)) {
        Branch::None => {}
        Branch::Over => {
            let instance = id.clone();
            plan.proposals.push(SqlChange::Observe {
                order: state.order(),
                observed: Observed::Standby { instance },
            });
            return;
        }
        // It is left as it is until that is known.
        Branch::Undecided => return,
        Branch::Own => {
            plan.findings.push(SqlFinding::DivergedStandby {
                instance: id.clone(),
                at: None,
            });
            return;
        }
    }
    if facts.status.io_thread_running {
        return;
    }
    let serves = |it: &InstanceFacts| it.role == Role::Primary;
    let primary = cluster.primary.as_ref();
    let primary = primary.filter(|id| view.fresh(id).is_some_and(serves));
    let to = primary.and_then(|id| cluster.members.get(id));
    let mut why = None;
    if let Some(source) = restarts(state, view, facts) {
        let within = MIDDLE_RESTARTS_WITHIN.as_secs();
        why = Some(format!(
            "{source}, which it follows, is away; it follows the primary if that is not back within {within} s"
        ));
    } else if let (Some(to), true) = (to, is_left_behind(state, view, (id, facts))) {
        match end_of(facts) {
            Some(end)
                if end.timeline == cluster.lineage.current && facts.role == Role::Detached =>
            {
                act(plan, state, view, id, SqlAction::Restore);
            }
            Some(end) if cluster.lineage.contains(end) => {
                let to = to.address.clone();
                act(plan, state, view, id, SqlAction::Repoint { to });
            }
            Some(end) => why = Some(not_led_on(&cluster.lineage, end)),
            None => why = Some("where its WAL ends cannot be known over SQL".to_owned()),
        }
    }
    plan.findings.push(SqlFinding::StandbyNotReplicating {
        instance: id.clone(),
        why,
    });
    if let Some(at) = end_of(facts).filter(|end| is_beside(&cluster.lineage, *end)) {
        plan.findings.push(SqlFinding::DivergedStandby {
            instance: id.clone(),
            at: Some(at),
        });
    }
}

/// Why a standby whose WAL ends there is not led to the primary.
fn not_led_on(lineage: &Lineage, end: WalPosition) -> String {
    match is_beside(lineage, end) {
        true => "it has WAL that is not the primary's".to_owned(),
        false => format!(
            "it is at {end}, and where the primary left that timeline is not known, so that it may be beside its history; \
             point it at the primary yourself, or copy it anew from there"
        ),
    }
}

/// Whether a standby has, or may have, a branch of its own.
enum Branch {
    /// It never had.
    None,
    /// It was told to become the primary, and may open one still.
    Undecided,
    /// It may have had, and has not.
    Over,
    /// It has or may have, and no number tells it from that of the primary.
    Own,
}

fn branch(state: &SqlState, view: &SqlView, (id, facts): (&InstanceId, &InstanceFacts)) -> Branch {
    let cluster = &state.cluster;
    let told = cluster.told.get(id);
    if told.is_none() && !cluster.strays.contains(id) {
        return Branch::None;
    }
    if cluster.copies.is_empty() || broken!(SqlBranch) {
        // One copy is not told from the next: whoever streams from the primary is taken for its standby.
        let is_fed = cluster
            .primary
            .as_ref()
            .is_some_and(|primary| follows(cluster, view, facts, primary));
        return if is_fed { Branch::Over } else { Branch::None };
    }
    let end = end_of(facts);
    let has_stayed = |told: &WalPosition| end.is_some_and(|end| end.timeline <= told.timeline);
    if !told.is_some_and(has_stayed) || cluster.strays.contains(id) {
        return Branch::Own;
    }
    let since = view.instances.get(id).and_then(|it| it.same_since);
    match since.is_some_and(|since| view.now.since(since) >= PROMOTION_SHOWS_WITHIN) {
        true => Branch::Over,
        false => Branch::Undecided,
    }
}

/// The standby that it follows and that may only be restarting: nobody answers there, and not for long.
fn restarts<'a>(
    state: &'a SqlState,
    view: &SqlView,
    facts: &InstanceFacts,
) -> Option<&'a InstanceId> {
    let cluster = &state.cluster;
    let source = cluster.at(&facts.source.as_ref()?.address)?;
    // Whoever fed it on the timeline of the primary, and is not the primary, was a standby.
    let end = end_of(facts)?;
    let is_middle =
        cluster.primary.as_ref() != Some(source) && end.timeline == cluster.lineage.current;
    let since = view.instances.get(source)?.gone_since?;
    (is_middle && view.now.since(since) < MIDDLE_RESTARTS_WITHIN).then_some(source)
}

/// Whether a change of primary left it without a source: it was revoked, or it follows one that is gone or deposed.
fn is_left_behind(
    state: &SqlState,
    view: &SqlView,
    (id, facts): (&InstanceId, &InstanceFacts),
) -> bool {
    if facts.role == Role::Detached {
        return true;
    }
    let Some(source) = &facts.source else {
        return false;
    };
    let cluster = &state.cluster;
    let Some(source) = cluster.at(&source.address) else {
        // Another name of a server, so that nobody knows whether that one is gone. Whoever receives from the primary, from
        // wherever, crosses to its timeline at once.
        let is_before = end_of(facts).is_some_and(|end| end.timeline < cluster.lineage.current);
        let since = view.instances.get(id).and_then(|it| it.same_since);
        return is_before && since.is_some_and(|it| view.now.since(it) >= SOURCE_TRIED_FOR);
    };
    let is_primary = |it: &InstanceFacts| it.role == Role::Primary;
    let is_over =
        view.opinion(source) == Opinion::Gone || view.fresh(source).is_some_and(is_primary);
    cluster.primary.as_ref() != Some(source) && is_over
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example::{self, id};
    use crate::model::sql_only::{Look, Outcome};
    use crate::model::{Address, Lsn, Position, SourceFacts, SqlCluster, Timeline, Timestamp};
    use crate::state::History;

    fn state(cluster: SqlCluster) -> SqlState {
        SqlState {
            cluster,
            adopted_at: 0,
            number: 1,
            handover: None,
            quieted: None,
            history: History::default(),
        }
    }

    fn source(address: Address) -> SourceFacts {
        SourceFacts {
            address,
            application_name: "s2".to_owned(),
            user: String::new(),
            slot: None,
        }
    }

    /// What is done about `s2`, which follows a server of this name, has received nothing for so long, and ends there, beside
    /// `s1`, which took the place of `p` at 7 of timeline 1.
    fn done_about(host: &str, silent_for: Duration, end: WalPosition) -> Vec<SqlAction> {
        let mut cluster = example::sql_cluster(&["s1", "p", "s2"]);
        cluster.lineage.current = Timeline(2);
        cluster.lineage.left_at.insert(Timeline(1), Lsn(7));
        let address = |host: &str| Address {
            host: host.to_owned(),
            port: 5432,
        };
        let begin = Timestamp(1_000_000);
        let now = begin.after(silent_for);
        let mut view = SqlView {
            now,
            ..SqlView::default()
        };
        let mut standby = example::facts("s2");
        standby.role = Role::Standby;
        standby.status.received = Some(Position::Wal(end));
        standby.source = Some(source(address(host)));
        let mut primary = example::facts("s1");
        primary.timeline = Some(Timeline(2));
        for (name, facts) in [("s1", &primary), ("s2", &standby)] {
            let seen = view.instances.entry(id(name)).or_default();
            for at in [begin, begin, now] {
                let outcome = Outcome::Facts(facts.clone().into());
                seen.note(Look { at, outcome });
            }
        }
        let mut plan = SqlPlan::default();
        let state = state(cluster);
        super::standby(&mut plan, &state, &view, (&id("s2"), &standby));
        let code = plan.findings.first().map(SqlFinding::code);
        assert_eq!(code, Some("StandbyNotReplicating"));
        plan.steps.into_iter().map(|it| it.action).collect()
    }

    #[test]
    fn one_that_a_change_left_behind_under_another_name_of_the_old_primary_is_led_on() {
        let check = |host, silent_for, end, is_led: bool| {
            let done = done_about(host, silent_for, end);
            let to = Address {
                host: "s1".to_owned(),
                port: 5432,
            };
            let expected = is_led.then_some(SqlAction::Repoint { to });
            assert_eq!(done, Vec::from_iter(expected), "{host} {end}");
        };
        let at = example::at;
        check("p.internal", SOURCE_TRIED_FOR, at(1, 7), true);
        // It may only not have found the primary yet, or not have replayed what it has.
        let soon = SOURCE_TRIED_FOR - Duration::from_millis(1);
        check("p.internal", soon, at(1, 7), false);
        check("p.internal", SOURCE_TRIED_FOR, at(2, 9), false);
        // What it has beside the primary's history would be lost.
        check("p.internal", SOURCE_TRIED_FOR, at(1, 8), false);
        // Of a recorded one its own look says whether it is gone.
        check("p", SOURCE_TRIED_FOR, at(1, 7), false);
    }

    /// Whether `s2`, which follows `s1` and ends on this timeline, is given time while nobody has answered at `s1` for so long.
    fn is_given_time(timeline: u32, source_of: &str, gone_for: Duration) -> bool {
        let state = state(example::sql_cluster(&["p", "s1", "s2"]));
        let begin = Timestamp(1_000_000);
        let mut view = SqlView {
            now: begin.after(gone_for),
            ..SqlView::default()
        };
        let seen = view.instances.entry(id(source_of)).or_default();
        seen.note(Look {
            at: begin,
            outcome: Outcome::Gone(String::new()),
        });
        let mut facts = example::facts("s2");
        facts.role = Role::Standby;
        facts.status.received = Some(Position::Wal(example::at(timeline, 7)));
        facts.source = Some(source(
            state.cluster.members[&id(source_of)].address.clone(),
        ));
        restarts(&state, &view, &facts).is_some()
    }

    #[test]
    fn a_standby_in_the_middle_is_given_the_time_of_a_restart() {
        let short = Duration::from_secs(59);
        assert!(is_given_time(1, "s1", short));
        assert!(!is_given_time(1, "s1", MIDDLE_RESTARTS_WITHIN));
        assert!(!is_given_time(1, "p", short), "the primary is no middle");
        assert!(!is_given_time(0, "s1", short), "left behind by a change");
    }
}
