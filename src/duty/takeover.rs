//! Taking over a database that no agent made, and that somebody offered on its host.
//!
//! Until it is taken in nothing is done to it: it is not looked after, counts in nothing, and may run without a lease as
//! it did before. A primary is taken in under its first lease, a standby before it follows. From then on its data are
//! those of an agent like any other. No server is stopped or started for it.

use crate::model::cluster::application_name;
use crate::model::{Incarnation, InstanceId, Lineage, SystemIdentifier, Timeline, WalPosition};
use crate::recovery::{Evidence, Source};

use super::local::{Data, Local, Session};
use super::{Act, Duty, Outcome};

/// A database that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its history.
    pub identity: SystemIdentifier,
    /// Whether it would start as a standby.
    pub standby_signal: bool,
    /// Where its valid WAL ends while nothing runs; none while something runs or if it cannot be scanned.
    pub ends_at: Option<WalPosition>,
    /// The branches that its own history files show.
    pub lineage: Lineage,
    /// The highest timeline number that any file uses.
    pub highest_timeline: Timeline,
}

/// Saying what the cluster begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakingOver;

fn failed(why: String) -> Act {
    Act::Finish(Outcome::Failed(why))
}

impl TakingOver {
    pub(super) fn next(&mut self, local: &Local) -> Act {
        let over = |identity: SystemIdentifier, position, serves| {
            let instance = local.instance.clone();
            Act::Finish(Outcome::Evidence(Evidence::TakenOver {
                instance,
                identity,
                position,
                serves,
            }))
        };
        match (&local.data, &local.session) {
            (Data::Offered(offer), _) if !local.is_running => match offer.ends_at {
                _ if offer.standby_signal => failed(
                    "its data is a standby's, and the cluster begins with a primary; create the cluster with the primary as --first"
                        .to_owned(),
                ),
                None => failed("the end of its WAL could not be found".to_owned()),
                Some(_) => Act::TakeIn(How::Stopped),
            },
            (Data::Offered(_), None) => Act::Look,
            (Data::Offered(_), Some(session)) if session.in_recovery => failed(
                "it is a standby, and the cluster begins with a primary; create the cluster with the primary as --first"
                    .to_owned(),
            ),
            (Data::Offered(offer), Some(session)) => match branch(offer, session) {
                Ok(()) => over(offer.identity, session.position, true),
                Err(why) => failed(why),
            },
            // Taken in, and its answer was lost.
            (
                Data::Cluster {
                    identity,
                    incarnation: Some(Incarnation::FIRST),
                    ends_at: Some(position),
                    ..
                },
                _,
            ) => over(*identity, *position, false),
            (Data::Cluster { .. }, _) if local.is_running => Act::Look,
            (Data::Cluster { .. } | Data::Empty, _) => {
                failed("no database was offered in its data folder".to_owned())
            }
            (Data::Foreign { why }, _) => failed(why.clone()),
        }
    }
}

/// The numbers of later timelines are given out by the peers from the present one on, so none may be used yet.
fn branch(offer: &Offer, session: &Session) -> Result<(), String> {
    let present = session.position.timeline;
    if offer.highest_timeline > present {
        return Err(format!(
            "it writes on timeline {present}, and pg_wal knows timeline {}; remove the history files of branches that it left",
            offer.highest_timeline
        ));
    }
    if offer.lineage.current != present {
        return Err(format!(
            "it writes on timeline {present}, and pg_wal has no history file of it"
        ));
    }
    Ok(())
}

/// As what a database is taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// A primary that runs, with these synchronous names.
    Primary {
        /// The recorded value.
        synchronous_standby_names: String,
    },
    /// The data of a primary that does not run: its next start is a standby's.
    Stopped,
    /// A standby, of this source from now on.
    Standby {
        /// Whom it will follow.
        source: Source,
    },
}

/// Becoming the primary without a promotion: under a live lease it is taken in as it runs.
pub(super) fn as_primary(
    local: &Local,
    epoch: crate::model::Epoch,
    timeline: Timeline,
    synchronous_standby_names: &str,
) -> Act {
    let cannot = |why: String| {
        let instance: InstanceId = local.instance.clone();
        Act::Finish(Outcome::Evidence(Evidence::CannotPromote { instance, why }))
    };
    if !local.is_running {
        // It ended meanwhile: then it is promoted in the next epoch, as every stopped one.
        return Act::TakeIn(How::Stopped);
    }
    if local.lease != Some(epoch) {
        return Act::Renew;
    }
    match &local.session {
        None => Act::Look,
        Some(session) if session.in_recovery => failed("it is a standby now".to_owned()),
        Some(session) if session.position.timeline != timeline => cannot(format!(
            "it writes on timeline {}",
            session.position.timeline
        )),
        Some(_) => Act::TakeIn(How::Primary {
            synchronous_standby_names: synchronous_standby_names.to_owned(),
        }),
    }
}

/// Whether it may follow: its data is kept only if all of it is a part of the primary's history.
pub(super) fn as_standby(local: &Local, offer: &Offer, source: &Source) -> Act {
    let named = application_name(&local.instance, Incarnation::NEVER_FILLED, source.epoch);
    if Some(offer.identity) != source.identity {
        return failed(format!(
            "it holds database system {}, and the cluster's is another one; it is left alone: move it away, or correct `cluster` and `instance`",
            offer.identity
        ));
    }
    if named != source.application_name {
        return failed(
            "the peers know other data of this instance, so this is left alone; move it away, and it is cloned"
                .to_owned(),
        );
    }
    let forks = offer.lineage.left_at.iter();
    let is_its = |(branch, left): (&Timeline, _)| source.lineage.left_at.get(branch) == Some(left);
    let position = match &local.session {
        _ if !local.is_running => offer.ends_at,
        Some(session) if !session.in_recovery => {
            return failed(format!(
                "it runs as a primary beside {}, and is left alone; stop it and move its data away, and it is cloned",
                source.instance
            ));
        }
        Some(session) if session.streams.is_none() => {
            return failed(
                "it streams from nobody, so that it is not known whether its data is the primary's; have it stream from the primary, or stop it and move its data away, and it is cloned"
                    .to_owned(),
            );
        }
        Some(session) => Some(session.position),
        None => return Act::Look,
    };
    if !local.is_running && !offer.standby_signal {
        return failed("its data was a primary's; move it away, and it is cloned".to_owned());
    }
    match position {
        None => failed("the end of its WAL could not be found".to_owned()),
        Some(position) if !source.lineage.contains(position) || !forks.clone().all(is_its) => {
            failed(format!(
                "its WAL ends at {position}, beside the primary's history; it is left alone: move it away, and it is cloned"
            ))
        }
        Some(_) => Act::TakeIn(How::Standby {
            source: source.clone(),
        }),
    }
}

/// What a duty does about a database that was offered and is not taken in; none if it is none.
pub(super) fn about(duty: &Duty, local: &Local) -> Option<Act> {
    let Data::Offered(offer) = &local.data else {
        return None;
    };
    match duty {
        Duty::TakeOver(_) => None,
        Duty::Promote(duty) => Some(as_primary(
            local,
            duty.order.epoch,
            duty.timeline,
            &duty.synchronous_standby_names,
        )),
        Duty::Follow(duty) => Some(as_standby(local, offer, &duty.source)),
        // It has acknowledged nothing that the cluster counts, and would be stopped for nothing.
        Duty::Fence(_) if !local.is_running => None,
        Duty::Fence(_)
        | Duty::Rebuild(_)
        | Duty::Initialise(_)
        | Duty::Configure(_)
        | Duty::ShutDown(_)
        | Duty::Confirm(_) => Some(failed(
            "its data folder holds a database that was offered and not taken over yet".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::local::example::running_standby;
    use crate::duty::{Following, Promoting, watch};
    use crate::model::example::{at, id, order};
    use crate::model::{Address, Epoch, Lsn};

    fn offer() -> Offer {
        Offer {
            identity: SystemIdentifier(1),
            standby_signal: true,
            ends_at: None,
            lineage: Lineage {
                current: Timeline(2),
                left_at: [(Timeline(1), Lsn(5))].into(),
            },
            highest_timeline: Timeline(2),
        }
    }

    fn standby(offer: Offer) -> Local {
        Local {
            data: Data::Offered(offer),
            ..running_standby()
        }
    }

    fn primary() -> Local {
        let mut local = standby(Offer {
            standby_signal: false,
            ..offer()
        });
        let session = local.session.as_mut().unwrap();
        (session.in_recovery, session.streams, session.source) = (false, None, None);
        local
    }

    fn source() -> Source {
        Source {
            instance: id("a"),
            address: Address {
                host: "127.0.0.1".to_owned(),
                port: 5432,
            },
            identity: Some(SystemIdentifier(1)),
            epoch: Epoch(1),
            application_name: "b_0_1".to_owned(),
            lineage: offer().lineage,
        }
    }

    fn promoting() -> Duty {
        Duty::Promote(Promoting {
            order: order(1, 1),
            timeline: Timeline(2),
            at_least: at(2, 50),
            synchronous_standby_names: String::new(),
            members: [].into(),
            asked_at: None,
            failing: None,
            failed: None,
            waiting: crate::duty::promote::Waiting::Unknown,
        })
    }

    fn is_refused(act: &Act, words: &str) {
        let Act::Finish(Outcome::Failed(why)) = act else {
            panic!("{act:?}")
        };
        assert!(why.contains(words), "{why}");
    }

    #[test]
    fn a_primary_that_runs_is_told_of_and_not_touched() {
        let said = TakingOver.next(&primary());
        let Act::Finish(Outcome::Evidence(Evidence::TakenOver {
            position, serves, ..
        })) = said
        else {
            panic!("{said:?}")
        };
        assert_eq!((position, serves), (at(2, 50), true));
        assert_eq!(watch::must_stop(&primary()), None, "it is not ours yet");
        is_refused(&TakingOver.next(&standby(offer())), "it is a standby");
        let mut used = primary();
        used.data = Data::Offered(Offer {
            highest_timeline: Timeline(3),
            ..offer()
        });
        is_refused(&TakingOver.next(&used), "timeline 3");
    }

    #[test]
    fn a_primary_is_taken_in_under_a_lease_of_its_epoch_only() {
        let mut local = primary();
        assert_eq!(promoting().next(&local), Act::Renew);
        local.lease = Some(Epoch(1));
        assert!(matches!(
            promoting().next(&local),
            Act::TakeIn(How::Primary { .. })
        ));
        local.session.as_mut().unwrap().position = at(3, 50);
        assert!(matches!(
            promoting().next(&local),
            Act::Finish(Outcome::Evidence(Evidence::CannotPromote { .. }))
        ));
    }

    #[test]
    fn what_does_not_run_is_taken_in_at_rest() {
        let mut local = primary();
        (local.is_running, local.has_postmaster, local.session) = (false, false, None);
        is_refused(&TakingOver.next(&local), "end of its WAL");
        local.data = Data::Offered(Offer {
            standby_signal: false,
            ends_at: Some(at(2, 60)),
            ..offer()
        });
        assert_eq!(TakingOver.next(&local), Act::TakeIn(How::Stopped));
        assert_eq!(promoting().next(&local), Act::TakeIn(How::Stopped));
    }

    #[test]
    fn a_standby_keeps_its_data_if_all_of_it_is_the_primarys() {
        let follow = |local: &Local, source: Source| Duty::Follow(Following { source }).next(local);
        let taken = follow(&standby(offer()), source());
        assert!(
            matches!(taken, Act::TakeIn(How::Standby { .. })),
            "{taken:?}"
        );
        let other = Source {
            identity: Some(SystemIdentifier(7)),
            ..source()
        };
        is_refused(&follow(&standby(offer()), other), "another one");
        let known = Source {
            application_name: "b_1_1".to_owned(),
            ..source()
        };
        is_refused(&follow(&standby(offer()), known), "other data");
        is_refused(&follow(&primary(), source()), "a primary beside a");
        let mut deaf = standby(offer());
        deaf.session.as_mut().unwrap().streams = None;
        is_refused(&follow(&deaf, source()), "streams from nobody");
        let mut forked = source();
        forked.lineage.left_at = [(Timeline(1), Lsn(4))].into();
        is_refused(&follow(&standby(offer()), forked), "beside the primary's");
        let mut ahead = standby(offer());
        ahead.session.as_mut().unwrap().position = at(3, 1);
        is_refused(&follow(&ahead, source()), "beside the primary's");
    }

    #[test]
    fn nobody_fences_or_replaces_what_is_only_offered() {
        let refused = "not taken over yet";
        for local in [primary(), standby(offer())] {
            let mut fence = Duty::Fence(crate::duty::Fencing::new(local.now));
            is_refused(&fence.next(&local), refused);
            let rebuilding = crate::duty::Rebuilding::new(source(), Incarnation::FIRST, false);
            is_refused(&Duty::Rebuild(rebuilding).next(&local), refused);
        }
    }
}
