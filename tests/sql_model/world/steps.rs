//! What a server makes of a step.

use primacy::model::SyncPolicy;
use primacy::recovery::sql_only::promotion::{why_not_elected, why_not_quiet};
use primacy::recovery::sql_only::{SqlAction, SqlEvidence, SqlStep};
use primacy::state::{Observed, SqlChange};

use super::{DETACHED, NAMES, PRIMARY, STANDBY, World, number};

impl World {
    /// Whether a change of primary ends if this comes to nothing.
    pub(super) fn gives_up(action: &SqlAction) -> bool {
        matches!(action, SqlAction::Quiet | SqlAction::Await { .. })
    }

    /// Carries a step out, and has what it brought recorded unless its answer is lost.
    pub(super) fn perform(&mut self, step: &SqlStep, is_answered: bool) {
        let it = number(&step.instance);
        let server = &self.servers[it];
        if !server.is_alive || !server.reached_by[0] {
            return;
        }
        let instance = step.instance.clone();
        let position = server.end();
        let mut evidence = None;
        match &step.action {
            SqlAction::Quiet if server.role == PRIMARY => {
                self.check_quiet();
                self.servers[it].is_quiet = true;
                evidence = Some(SqlEvidence::Quieted { instance, position });
            }
            SqlAction::Unquiet => {
                self.servers[it].is_quiet = false;
                evidence = Some(SqlEvidence::Unquieted { instance });
            }
            SqlAction::Fence if server.role == PRIMARY => self.servers[it].is_quiet = true,
            SqlAction::Await { to } if position.timeline == to.timeline && position >= *to => {
                evidence = Some(SqlEvidence::CaughtUp { instance });
            }
            // One whose promotion has begun confirms no pause.
            SqlAction::Revoke if server.role != PRIMARY && !server.is_told => {
                self.servers[it].role = DETACHED;
                self.servers[it].is_loose = false;
                let position = Some(position);
                evidence = Some(SqlEvidence::Revoked { instance, position });
            }
            SqlAction::Promote {
                at_least,
                sync,
                beside,
            } => {
                let why = beside.as_ref().and_then(|beside| {
                    let old = NAMES.iter().position(|name| *name == beside.host).unwrap();
                    let is_there = self.servers[old].is_alive && self.servers[old].reached_by[0];
                    let facts = self.facts(old);
                    let seen: Result<_, &dyn std::fmt::Display> = match is_there {
                        true => Ok(&facts),
                        false => Err(&"nobody is there"),
                    };
                    why_not_quiet(beside, seen)
                });
                let is_skipped = primacy::broken!(SqlRevocation);
                let elected = || why_not_elected(*at_least, &self.facts(it));
                let why = why.or_else(|| elected().filter(|_| !is_skipped));
                match why {
                    Some(why) => {
                        evidence = Some(SqlEvidence::CannotPromote { instance, why });
                    }
                    None if server.role != PRIMARY => self.tell(it, sync.as_ref()),
                    None => {}
                }
            }
            SqlAction::Repoint { to } if server.role != PRIMARY && !server.is_told => {
                self.servers[it].follows = NAMES.iter().position(|name| *name == to.host).unwrap();
                self.servers[it].role = STANDBY;
            }
            SqlAction::Restore if server.role == DETACHED && !server.is_told => {
                self.servers[it].role = STANDBY;
            }
            SqlAction::Prove { rule, .. } if server.is_primary() && self.is_proven(it) => {
                if is_answered {
                    let (order, rule) = (step.order, rule.clone());
                    let observed = Observed::Rule { rule };
                    self.propose(SqlChange::Observe { order, observed });
                }
                return;
            }
            SqlAction::Quiet
            | SqlAction::Prove { .. }
            | SqlAction::Fence
            | SqlAction::Await { .. }
            | SqlAction::Revoke
            | SqlAction::Repoint { .. }
            | SqlAction::Restore => {}
        }
        if let Some(evidence) = evidence.filter(|_| is_answered) {
            let order = step.order;
            self.propose(SqlChange::Record { order, evidence });
        }
    }

    /// Whether a commit comes back, all that send have sent it, and every process has read the names.
    fn is_proven(&self, it: usize) -> bool {
        let server = &self.servers[it];
        let receives = |at: &usize| self.servers[*at].follows == it && self.streams(*at);
        let has_all = |at: usize| self.servers[at].wal == server.wal;
        let has_one = (0..3).filter(receives).any(|at| server.names.contains(&at));
        server.old_names.is_none() && has_one && (0..3).filter(receives).all(has_all)
    }

    fn tell(&mut self, it: usize, sync: Option<&SyncPolicy>) {
        self.check_told(it);
        let server = &mut self.servers[it];
        server.is_told = true;
        if let Some(SyncPolicy::Any { of, .. }) = sync {
            let number = |name: &String| NAMES.iter().position(|it| it == name);
            server.names = of.iter().filter_map(number).collect();
        }
    }
}
