//! Replacing the data of an instance, or creating the first. Raft recorded the instance as recovering
//! before the first destructive byte; old data is renamed aside, never deleted.

use crate::model::{Incarnation, WalPosition};
use crate::recovery::{Evidence, Source};

use super::follow::{Approach, approach};
use super::local::{Data, Local};
use super::{Act, Outcome};

/// Replacing the data by the source's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilding {
    source: Source,
    incarnation: Incarnation,
    is_replaced: bool,
    may_rewind: bool,
    /// Why the filling that it became is of no use after all.
    is_useless: Option<String>,
    rewind_failed: Option<String>,
}

impl Rebuilding {
    /// A rebuild from `source` that becomes the filling `incarnation`; a rewind would not keep the old
    /// data.
    pub fn new(source: Source, incarnation: Incarnation, keep_old: bool) -> Self {
        Rebuilding {
            source,
            incarnation,
            is_replaced: false,
            may_rewind: !keep_old,
            is_useless: None,
            rewind_failed: None,
        }
    }

    /// The data is what it was, or less: only a copy can replace it now.
    pub(super) fn rewind_failed(&mut self, why: &str) {
        self.is_replaced = false;
        self.may_rewind = false;
        self.rewind_failed = Some(why.to_owned());
    }

    /// What it became will never stream, because the source no longer has the WAL: it is to be replaced once more.
    /// Whether that is new; a copy that is useless as well is not made a third time by one command.
    pub fn begin_again(&mut self, why: &str) -> bool {
        let is_new = self.is_useless.is_none();
        if is_new {
            self.is_useless = Some(why.to_owned());
            self.is_replaced = false;
        }
        is_new
    }

    /// Why the rebuild fails, with what was tried before.
    pub(super) fn failure(&self, why: &str) -> String {
        match &self.rewind_failed {
            Some(before) => format!("{why}; before that, the rewind failed: {before}"),
            None => why.to_owned(),
        }
    }

    pub(super) fn next(&mut self, local: &Local) -> Act {
        // The name under which the new filling will stream.
        self.source.application_name = crate::model::cluster::application_name(
            &local.instance,
            self.incarnation,
            self.source.epoch,
        );
        let failed = |why: &str| Act::Finish(Outcome::Failed(why.to_owned()));
        let is_to_be_replaced = self.is_useless.is_some() && !self.is_replaced;
        if local.incarnation() == Some(self.incarnation) && !is_to_be_replaced {
            return match approach(&self.source, local) {
                Approach::Act(act) => act,
                // It was rebuilt, and diverged again meanwhile: begin again.
                Approach::Diverged(_) => self.replace(local),
                Approach::Streams => Act::Finish(Outcome::Evidence(Evidence::Rebuilt {
                    instance: local.instance.clone(),
                    incarnation: self.incarnation,
                })),
            };
        }
        if local.is_running {
            return Act::StopAll;
        }
        match &local.data {
            Data::Foreign { why } => failed(why),
            Data::Cluster { identity, .. } if Some(*identity) != self.source.identity => failed(
                "its data folder holds another database; move it away before this instance can be cloned",
            ),
            Data::Cluster { .. } if self.is_replaced => Act::Settle {
                incarnation: self.incarnation,
                source: self.source.clone(),
            },
            Data::Cluster { .. } | Data::Empty => self.replace(local),
            Data::Offered(_) => failed("its database was not taken over"),
        }
    }

    /// Whether the data may be of a branch that the source left. On one branch there is nothing to rewind, and the
    /// recovery before a rewind would write WAL where only the primary may.
    fn has_left(&self, ends_at: Option<WalPosition>) -> bool {
        ends_at.is_none_or(|end| end.timeline != self.source.lineage.current)
    }

    fn replace(&mut self, local: &Local) -> Act {
        self.is_replaced = true;
        match &local.data {
            Data::Cluster {
                unusable: None,
                ends_at,
                ..
            } if self.may_rewind && self.has_left(*ends_at) => Act::Rewind {
                source: self.source.clone(),
            },
            Data::Cluster { .. } | Data::Empty | Data::Foreign { .. } | Data::Offered(_) => {
                Act::Clone {
                    source: self.source.clone(),
                }
            }
        }
    }
}

/// Creating the first data under the permit that Raft recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialising {
    /// The filling it becomes.
    pub incarnation: Incarnation,
}

impl Initialising {
    pub(super) fn next(&mut self, local: &Local) -> Act {
        let failed = |why: String| Act::Finish(Outcome::Failed(why));
        match &local.data {
            Data::Empty => Act::Initialise { incarnation: self.incarnation },
            Data::Cluster { identity, incarnation, ends_at: Some(position), .. }
                if *incarnation == Some(self.incarnation) =>
            {
                Act::Finish(Outcome::Evidence(Evidence::Initialised {
                    instance: local.instance.clone(),
                    identity: *identity,
                    position: *position,
                }))
            }
            Data::Cluster { .. } => failed(
                "its data folder is not empty; it is never initialised or wiped: move it away or use another folder"
                    .to_owned(),
            ),
            Data::Foreign { why } => failed(why.clone()),
            Data::Offered(_) => failed("a database was offered in its data folder".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::Duty;
    use crate::duty::local::example::running_standby;
    use crate::model::example::{at, id};
    use crate::model::{Address, Epoch, SystemIdentifier, Timeline};

    /// A stopped standby with unsettled data, and whom it shall follow.
    fn example() -> (Local, Source) {
        let mut local = running_standby();
        (local.is_running, local.has_postmaster, local.session) = (false, false, None);
        let Data::Cluster {
            incarnation,
            lineage,
            ..
        } = &mut local.data
        else {
            panic!("a standby has data")
        };
        *incarnation = None;
        let source = Source {
            instance: id("a"),
            address: Address {
                host: "127.0.0.1".to_owned(),
                port: 5432,
            },
            identity: Some(SystemIdentifier(1)),
            epoch: Epoch(2),
            application_name: String::new(),
            lineage: lineage.clone(),
        };
        (local, source)
    }

    fn ends_at(local: &mut Local, position: Option<WalPosition>) {
        let Data::Cluster { ends_at, .. } = &mut local.data else {
            panic!("a standby has data")
        };
        *ends_at = position;
    }

    #[test]
    fn a_copy_that_cannot_be_noted_is_not_copied_again() {
        let (local, source) = example();
        let mut duty = Duty::Rebuild(Rebuilding::new(source, Incarnation(2), true));
        let clone = duty.next(&local);
        assert!(matches!(clone, Act::Clone { .. }), "{clone:?}");
        let settle = duty.next(&local);
        assert!(matches!(settle, Act::Settle { .. }), "{settle:?}");
        assert_eq!(duty.failed(&settle, "the disk hangs"), None);
        assert_eq!(duty.next(&local), settle);
        let failed = duty.failed(&clone, "no");
        assert!(matches!(failed, Some(Outcome::Failed(_))), "{failed:?}");
    }

    /// Settled, it would stream and acknowledge what it can never replay.
    #[test]
    fn data_that_could_not_be_rewound_is_copied_and_never_settled() {
        let (mut local, source) = example();
        ends_at(&mut local, None);
        let mut duty = Duty::Rebuild(Rebuilding::new(source, Incarnation(2), false));
        let rewind = duty.next(&local);
        assert!(matches!(rewind, Act::Rewind { .. }), "{rewind:?}");
        assert_eq!(duty.failed(&rewind, "it changed nothing"), None);
        let clone = duty.next(&local);
        assert!(matches!(clone, Act::Clone { .. }), "{clone:?}");
    }

    #[test]
    fn a_copy_whose_wal_is_gone_is_made_once_more() {
        let (mut local, source) = example();
        let Data::Cluster { incarnation, .. } = &mut local.data else {
            panic!("a standby has data")
        };
        *incarnation = Some(Incarnation(2));
        ends_at(&mut local, Some(at(2, 40)));
        let mut rebuilding = Rebuilding::new(source, Incarnation(2), false);
        let start = rebuilding.next(&local);
        assert!(matches!(start, Act::StartStandby { .. }), "{start:?}");
        assert!(rebuilding.begin_again("the segment was removed"));
        let running = Local {
            is_running: true,
            ..local.clone()
        };
        assert_eq!(rebuilding.next(&running), Act::StopAll);
        let clone = rebuilding.next(&local);
        assert!(matches!(clone, Act::Clone { .. }), "{clone:?}");
        let start = rebuilding.next(&local);
        assert!(matches!(start, Act::StartStandby { .. }), "{start:?}");
        assert!(!rebuilding.begin_again("the segment was removed"));
    }

    #[test]
    fn nothing_is_rewound_on_the_branch_of_the_source() {
        let check = |timeline: u32, rewinds: bool| {
            let (mut local, mut source) = example();
            source.lineage.current = Timeline(3);
            ends_at(&mut local, Some(at(timeline, 900)));
            let mut duty = Duty::Rebuild(Rebuilding::new(source, Incarnation(2), false));
            let act = duty.next(&local);
            assert_eq!(matches!(act, Act::Rewind { .. }), rewinds, "{act:?}");
        };
        check(2, true);
        check(3, false);
    }
}
