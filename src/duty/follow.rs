//! Streaming from a source without losing a byte of one's own.

use crate::model::WalPosition;
use crate::model::cluster::application_name;
use crate::recovery::{Evidence, Source};

use super::local::{Data, Local, Replay, Session};
use super::{Act, Outcome};

/// Following a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// Whom.
    pub source: Source,
}

impl Following {
    pub(super) fn next(&mut self, local: &Local) -> Act {
        let cannot = |why: String| {
            let instance = local.instance.clone();
            Act::Finish(Outcome::Evidence(Evidence::CannotFollow { instance, why }))
        };
        if let Err(why) = self.may_follow(local) {
            // Nothing may be acknowledged by it once it said so.
            return if local.is_running {
                Act::StopAll
            } else {
                cannot(why)
            };
        }
        match approach(&self.source, local) {
            Approach::Act(act) => act,
            Approach::Diverged(why) => cannot(why),
            Approach::Streams => {
                let instance = local.instance.clone();
                Act::Finish(Outcome::Evidence(Evidence::Following { instance }))
            }
        }
    }

    /// The data must be of the same history and of the filling under whose name it would stream.
    fn may_follow(&self, local: &Local) -> Result<(), String> {
        let Data::Cluster {
            identity,
            incarnation,
            unusable,
            ..
        } = &local.data
        else {
            return Err(no_cluster(&local.data));
        };
        if Some(*identity) != self.source.identity {
            return Err(format!(
                "its data belongs to another database history, {identity}"
            ));
        }
        if let Some(why) = unusable {
            return Err(why.clone());
        }
        let named = incarnation
            .map(|incarnation| application_name(&local.instance, incarnation, self.source.epoch));
        if named.as_ref() != Some(&self.source.application_name) {
            return Err("its data is not the filling that is recorded".to_owned());
        }
        Ok(())
    }
}

fn no_cluster(data: &Data) -> String {
    match data {
        Data::Foreign { why } => why.clone(),
        Data::Empty | Data::Offered(_) | Data::Cluster { .. } => {
            "there is no database in its data folder".to_owned()
        }
    }
}

pub(super) enum Approach {
    Act(Act),
    Diverged(String),
    Streams,
}

/// The next thing to do to stream from `source`.
pub(super) fn approach(source: &Source, local: &Local) -> Approach {
    let diverged = |position: WalPosition| {
        Approach::Diverged(format!(
            "its WAL ends at {position}, beside the primary's history"
        ))
    };
    let Data::Cluster {
        standby_signal,
        ends_at,
        lineage,
        ..
    } = &local.data
    else {
        return Approach::Diverged(no_cluster(&local.data));
    };
    if !local.is_running {
        return match ends_at {
            None => Approach::Diverged("the end of its WAL could not be found".to_owned()),
            Some(end) if !source.lineage.contains(*end) => diverged(*end),
            Some(_) if lineage.contradicts(&source.lineage) => Approach::Diverged(format!(
                "its timeline {} is another one than the primary's of that number",
                lineage.current
            )),
            Some(_) => Approach::Act(Act::StartStandby {
                source: Some(source.clone()),
            }),
        };
    }
    let Some(session) = &local.session else {
        // Without the signal file it is not starting as a standby.
        return Approach::Act(if *standby_signal {
            Act::Look
        } else {
            Act::StopAll
        });
    };
    // From when it was a candidate a leash may still hold a deadline, which is dropped only while nothing runs.
    let cannot_stay = !session.in_recovery || local.promotion_asked || local.is_armed;
    if cannot_stay || !source.lineage.contains(session.position) {
        return Approach::Act(Act::StopAll);
    }
    if !points_at(session, source) {
        return Approach::Act(Act::PointAt {
            source: source.clone(),
        });
    }
    if session.replay != Replay::Running {
        return Approach::Act(Act::ResumeReplay);
    }
    match &session.streams {
        Some((name, silent_for))
            if *name == source.application_name
                && session.has_received
                && *silent_for < crate::model::view::DEAF_AFTER =>
        {
            Approach::Streams
        }
        _ => Approach::Act(Act::Look),
    }
}

fn points_at(session: &Session, source: &Source) -> bool {
    session.source.as_ref().is_some_and(|seen| {
        seen.address == source.address && seen.application_name == source.application_name
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::local::example::running_standby;
    use crate::model::example::id;
    use crate::model::{Address, Epoch, Incarnation};

    fn source(local: &Local) -> Source {
        let (
            Data::Cluster {
                identity, lineage, ..
            },
            Some(session),
        ) = (&local.data, &local.session)
        else {
            panic!("a standby that runs")
        };
        let seen = session.source.clone().unwrap();
        Source {
            instance: id("a"),
            address: Address { ..seen.address },
            identity: Some(*identity),
            epoch: Epoch(1),
            application_name: application_name(&local.instance, Incarnation(1), Epoch(1)),
            lineage: lineage.clone(),
        }
    }

    /// It begins, is refused, and begins again, for ever.
    #[test]
    fn a_receiver_to_which_nothing_was_said_does_not_stream() {
        let mut local = running_standby();
        let mut duty = Following {
            source: source(&local),
        };
        if let Some(session) = &mut local.session {
            session.has_received = false;
        }
        assert_eq!(duty.next(&local), Act::Look);
    }

    #[test]
    fn another_branch_of_the_same_number_is_not_followed() {
        let mut local = running_standby();
        let mut duty = Following {
            source: source(&local),
        };
        (local.is_running, local.has_postmaster, local.session) = (false, false, None);
        if let Data::Cluster {
            ends_at, lineage, ..
        } = &mut local.data
        {
            *ends_at = Some(crate::model::example::at(2, 50));
            lineage.left_at = [(crate::model::Timeline(1), crate::model::Lsn(4))].into();
        }
        let act = duty.next(&local);
        let Act::Finish(Outcome::Evidence(Evidence::CannotFollow { why, .. })) = &act else {
            panic!("{act:?}")
        };
        assert!(why.contains("another one than the primary's"), "{why}");
    }

    #[test]
    fn a_standby_that_a_leash_would_kill_is_stopped_first() {
        let mut local = running_standby();
        let mut duty = Following {
            source: source(&local),
        };
        assert!(matches!(duty.next(&local), Act::Finish(_)), "it streams");
        local.is_armed = true;
        assert_eq!(duty.next(&local), Act::StopAll);
    }
}
