//! Whether a failover may be forced, and what is known of what that loses.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::{
    Database, Durability, InstanceId, Obstacle, Report, Standing, View, WalPosition,
};
use crate::recovery::proof::forced::may_serve_on;
use crate::recovery::proof::may_be_chosen;
use crate::recovery::{Handover, Promise, Reason};
use crate::state::ClusterState;

use super::Plan;
use super::switchover::position;

/// A standby that has applied all but this much of what it received has the rest in its last unfinished record: what it
/// applied is all that it has. A record is seldom longer.
const UNFINISHED: u64 = 64 << 10;

/// What a forced failover would lose, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Who would be the primary, by its promise or its last report.
    pub to: InstanceId,
    /// All that it is known to hold.
    pub at: WalPosition,
    /// Who was seen to have the most of those that do not take part: where its WAL ended, and how long ago that was.
    pub most: Option<(InstanceId, WalPosition, Duration)>,
    /// Of whom of them this leader never saw where its WAL ends.
    pub unseen: Vec<InstanceId>,
    /// Who may go on as the primary, and with whose help: nobody hears them, so nobody can tell.
    pub may_go_on: Option<(InstanceId, Vec<InstanceId>)>,
}

impl Loss {
    /// How many bytes of WAL were seen elsewhere and are not on the candidate; none if nobody can tell, because somebody was
    /// not seen, or on another timeline.
    pub fn bytes(&self) -> Option<u64> {
        let is_known = self.unseen.is_empty();
        self.further().filter(|_| is_known)
    }

    fn further(&self) -> Option<u64> {
        let (_, most, _) = self.most.as_ref()?;
        let same = most.timeline == self.at.timeline;
        same.then(|| most.lsn.0.saturating_sub(self.at.lsn.0))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss {
            to,
            at,
            most,
            unseen,
            may_go_on,
        } = self;
        write!(f, "{to} has all up to {at}; ")?;
        if let Some((who, end, age)) = most {
            match self.further() {
                Some(bytes) => write!(f, "{who} was seen at {end}, {bytes} bytes further")?,
                None => write!(f, "{who} was seen at {end}, on another timeline")?,
            }
            let age = age.as_secs();
            write!(
                f,
                ", {age} s ago, and what it acknowledged since is not known"
            )?;
        }
        let names: Vec<_> = unseen.iter().map(InstanceId::as_str).collect();
        match (names.is_empty(), most) {
            (true, Some(_)) => Ok(()),
            (true, None) => f.write_str("how much others had is not known"),
            (false, None) => write!(f, "how much {} had is not known", names.join(", ")),
            (false, Some(_)) => write!(f, "; how much {} had is not known", names.join(", ")),
        }?;
        let Some((old, helpers)) = may_go_on else {
            return Ok(());
        };
        let helpers: Vec<_> = helpers.iter().map(InstanceId::as_str).collect();
        write!(
            f,
            "; {old} may serve on with the help of {}, and what it acknowledges is lost too, unless it is off or they are",
            helpers.join(", ")
        )
    }
}

/// What forcing a failover would lose, or why it is not the thing to do: only where the ordinary one waits for a proof
/// that those who can be asked cannot give, or where more would be lost than was accepted. `plan` is what is decided now.
pub fn forecast(state: &ClusterState, view: &View, plan: &Plan) -> Result<Loss, Obstacle> {
    if state.cluster.durability == Durability::Async {
        let why = "an async cluster waits for no proof, but until every lease has ended";
        return Err(Obstacle::NotForced(why.to_owned()));
    }
    let of_handover = |(subject, _): &&(Option<InstanceId>, Reason)| subject.is_none();
    let waits = plan.waiting.iter().find(of_handover);
    match waits.map(|(_, reason)| reason) {
        Some(
            Reason::NotProven { .. } | Reason::WouldLoseMore { .. } | Reason::MayServeOn { .. },
        ) => {}
        Some(reason) => return Err(Obstacle::NotForced(reason.to_string())),
        None => {
            let why = "nothing waits for a proof: a dead primary is replaced by itself, one that lives by a switchover";
            return Err(Obstacle::NotForced(why.to_owned()));
        }
    }
    let cluster = &state.cluster;
    let able = cluster.members.iter().filter_map(|(id, member)| {
        let report = view.fresh(id)?;
        let counts =
            member.standing == Standing::Voter && report.incarnation == Some(member.incarnation);
        let at = promised(state, id).or_else(|| whole(report));
        let at = at.filter(|_| counts && may_be_chosen(id, view))?;
        let at = cluster.rank(at);
        Some((at, std::cmp::Reverse(id.clone())))
    });
    let (at, std::cmp::Reverse(to)) = able.max().ok_or(Obstacle::Nobody)?;
    let mut most: Option<(InstanceId, WalPosition, Duration)> = None;
    let mut unseen = Vec::new();
    for (id, member) in cluster.members.iter().filter(|(id, _)| **id != to) {
        let seen = view.instances.get(id);
        let age = seen.map_or(Duration::ZERO, |it| view.now.since(it.received_at));
        let end = promised(state, id).or_else(|| position(&seen?.report));
        match end.map(|it| cluster.rank(it)) {
            Some(end) if most.as_ref().is_none_or(|(_, most, _)| end > *most) => {
                most = Some((id.clone(), end, age));
            }
            Some(_) => {}
            None if member.standing == Standing::Voter || cluster.holders.contains(id) => {
                unseen.push(id.clone());
            }
            // What it holds was copied from others and acknowledged nothing.
            None => {}
        }
    }
    Ok(Loss {
        to,
        at,
        most,
        unseen,
        may_go_on: may_serve_on(&state.cluster, &promises(state), view),
    })
}

/// What was promised in the handover that is under way.
fn promises(state: &ClusterState) -> BTreeMap<InstanceId, Promise> {
    match &state.handover {
        Some(Handover::Fencing { promises }) => promises.clone(),
        Some(_) | None => BTreeMap::new(),
    }
}

/// Where the WAL of an instance ends by what it promised in the handover that is under way.
fn promised(state: &ClusterState, id: &InstanceId) -> Option<WalPosition> {
    match state.handover.as_ref()? {
        Handover::Fencing { promises } => promises.get(id)?.position,
        Handover::Creating { .. }
        | Handover::Promoting { .. }
        | Handover::Repointing { .. }
        | Handover::Done => None,
    }
}

/// All that it is known to hold by a report: what was received may end in the middle of a record.
fn whole(report: &Report) -> Option<WalPosition> {
    let end = position(report)?;
    match &report.database {
        Database::Standby { replayed, .. }
            if end.lsn.0.saturating_sub(replayed.0) <= UNFINISHED =>
        {
            Some(WalPosition {
                lsn: end.lsn.min(*replayed),
                ..end
            })
        }
        _ => Some(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::decide;
    use crate::model::example::{at, cluster, id, primary, standby, view};
    use crate::state::example::at_rest;

    #[test]
    fn what_waits_for_no_proof_is_not_forced_and_the_loss_is_told_in_bytes() {
        let state = at_rest(cluster(
            &["a", "b", "c"],
            Durability::Quorum { standbys: 1 },
        ));
        let cluster = &state.cluster;
        let mut view = view([
            ("a", primary(cluster, "a")),
            ("b", standby(cluster, "b", at(2, 50))),
            ("c", standby(cluster, "c", at(2, 40))),
        ]);
        let refused = forecast(&state, &view, &decide(&state, &view));
        assert!(matches!(refused, Err(Obstacle::NotForced(_))));
        for name in ["a", "b"] {
            view.instances.get_mut(&id(name)).unwrap().connected = false;
        }
        let not_proven = Reason::NotProven {
            promised: 1,
            needed: 2,
            missing: vec![],
        };
        let plan = Plan {
            waiting: vec![(None, not_proven)],
            ..Plan::default()
        };
        let loss = forecast(&state, &view, &plan).unwrap();
        assert_eq!((&loss.to, loss.bytes()), (&id("c"), Some(10)));
        assert_eq!(loss.may_go_on, Some((id("a"), vec![id("b")])));
        assert!(
            loss.to_string()
                .contains("a may serve on with the help of b"),
            "{loss}"
        );
        assert!(loss.to_string().contains("10 bytes further"), "{loss}");
        view.instances.get_mut(&id("c")).unwrap().connected = false;
        let nobody = forecast(&state, &view, &plan);
        assert_eq!(nobody, Err(Obstacle::Nobody));
    }

    fn waits() -> Plan {
        let not_proven = Reason::NotProven {
            promised: 1,
            needed: 2,
            missing: vec![],
        };
        Plan {
            waiting: vec![(None, not_proven)],
            ..Plan::default()
        }
    }

    #[test]
    fn what_was_not_seen_is_not_told_as_a_number() {
        let quorum = Durability::Quorum { standbys: 1 };
        let mut state = at_rest(cluster(&["a", "b", "c"], quorum));
        let cluster = &state.cluster;
        let c = || standby(cluster, "c", at(2, 40));
        let alone = |readings| {
            let mut view: View = view(readings);
            for name in ["a", "b"] {
                if let Some(seen) = view.instances.get_mut(&id(name)) {
                    seen.connected = false;
                }
            }
            view
        };
        // A new leader never heard the primary: what it saw of another one is not all.
        let seen = alone(vec![("b", standby(cluster, "b", at(2, 50))), ("c", c())]);
        let loss = forecast(&state, &seen, &waits()).unwrap();
        assert_eq!((loss.bytes(), &*loss.unseen), (None, &[id("a")][..]));
        let text = loss.to_string();
        assert!(
            text.contains("b was seen at 2:0/32, 10 bytes further"),
            "{text}"
        );
        assert!(text.contains("how much a had is not known"), "{text}");
        // It was heard, and did not say where its WAL ends.
        let starting = crate::model::example::report(Database::Starting);
        let seen = alone(vec![("a", starting), ("c", c())]);
        let loss = forecast(&state, &seen, &waits()).unwrap();
        assert_eq!((loss.bytes(), loss.most.clone()), (None, None));
        assert!(
            loss.to_string().contains("how much a, b had is not known"),
            "{loss}"
        );
        // Numbers of two timelines say nothing of each other.
        let other = vec![
            ("a", primary(cluster, "a")),
            ("b", standby(cluster, "b", at(3, 7))),
            ("c", c()),
        ];
        let loss = forecast(&state, &alone(other), &waits()).unwrap();
        assert_eq!(loss.bytes(), None);
        assert!(
            loss.to_string().contains("3:0/7, on another timeline"),
            "{loss}"
        );
        // What was promised counts, although nothing runs there any more.
        let stopped =
            crate::model::example::report(Database::Stopped(crate::model::Stopped::Ordered));
        let promise = crate::recovery::Promise {
            incarnation: Some(crate::model::Incarnation(1)),
            position: Some(at(2, 41)),
            running: false,
        };
        let seen = alone(vec![("a", primary(cluster, "a")), ("c", stopped)]);
        assert_eq!(forecast(&state, &seen, &waits()), Err(Obstacle::Nobody));
        state.handover = Some(Handover::Fencing {
            promises: [(id("c"), promise)].into(),
        });
        let loss = forecast(&state, &seen, &waits()).unwrap();
        assert_eq!((loss.at, loss.unseen), (at(2, 41), vec![id("b")]));
    }

    /// What was received may end within a record, which no scan finds.
    #[test]
    fn a_record_that_is_not_whole_is_not_held() {
        let quorum = Durability::Quorum { standbys: 1 };
        let state = at_rest(cluster(&["a", "b", "c"], quorum));
        let applied = |replayed| {
            let mut c = standby(&state.cluster, "c", at(2, 1 << 20));
            if let Database::Standby { replayed: at, .. } = &mut c.database {
                at.0 = replayed;
            }
            forecast(&state, &view([("c", c)]), &waits()).unwrap().at
        };
        assert_eq!(applied((1 << 20) - 100), at(2, (1 << 20) - 100));
        assert_eq!(applied(100), at(2, 1 << 20));
    }
}
