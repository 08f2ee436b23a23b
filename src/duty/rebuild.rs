//! Replacing the data of an instance, or creating the first. Raft recorded the instance as recovering
//! before the first destructive byte; old data is renamed aside, never deleted.

use crate::model::Incarnation;
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
            rewind_failed: None,
        }
    }

    pub(super) fn rewind_failed(&mut self, why: &str) {
        self.may_rewind = false;
        self.rewind_failed = Some(why.to_owned());
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
        if local.incarnation() == Some(self.incarnation) {
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
        }
    }

    fn replace(&mut self, local: &Local) -> Act {
        self.is_replaced = true;
        match &local.data {
            Data::Cluster {
                interrupted: false, ..
            } if self.may_rewind => Act::Rewind {
                source: self.source.clone(),
            },
            Data::Cluster { .. } | Data::Empty | Data::Foreign { .. } => Act::Clone {
                source: self.source.clone(),
            },
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duty::Duty;
    use crate::duty::local::example::running_standby;
    use crate::model::example::id;
    use crate::model::{Address, Epoch, SystemIdentifier};

    #[test]
    fn a_copy_that_cannot_be_noted_is_not_copied_again() {
        let mut local = running_standby();
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
        (local.is_running, local.has_postmaster, local.session) = (false, false, None);
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
}
