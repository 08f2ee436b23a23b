//! Programs of the user's that run when a primary fails: when, and what became of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Epoch, InstanceId};

/// When programs run, in the words of orchestrator's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookStage {
    /// A primary was found to have failed. If one of them fails, nothing is begun.
    Detection,
    /// A failover would begin. If one of them fails, it does not.
    PreFailover,
    /// A primary was replaced.
    PostPrimaryFailover,
    /// After those.
    PostFailover,
    /// A failover came to nothing.
    PostUnsuccessful,
    /// A switchover would begin. If one of them fails, it is given up.
    PreSwitchover,
    /// A switchover has made another one the primary.
    PostSwitchover,
}

impl HookStage {
    /// All of them: those of a failover, then those of a switchover, in the order in which they run.
    pub const ALL: [HookStage; 7] = [
        HookStage::Detection,
        HookStage::PreFailover,
        HookStage::PostPrimaryFailover,
        HookStage::PostFailover,
        HookStage::PostUnsuccessful,
        HookStage::PreSwitchover,
        HookStage::PostSwitchover,
    ];

    /// The field of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            HookStage::Detection => "OnFailureDetectionProcesses",
            HookStage::PreFailover => "PreFailoverProcesses",
            HookStage::PostPrimaryFailover => "PostMasterFailoverProcesses",
            HookStage::PostFailover => "PostFailoverProcesses",
            HookStage::PostUnsuccessful => "PostUnsuccessfulFailoverProcesses",
            HookStage::PreSwitchover => "PreGracefulTakeoverProcesses",
            HookStage::PostSwitchover => "PostGracefulTakeoverProcesses",
        }
    }
}

impl fmt::Display for HookStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A primary that failed, from when that was recorded until all programs have run or it came back; or one that somebody
/// wants another one in the place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The epoch in which it failed.
    pub seen: Epoch,
    /// When it was recorded, in milliseconds since 1970 on the leader's clock.
    pub began_at: u64,
    /// The code of what was found.
    pub code: String,
    /// In words.
    pub text: String,
    /// The primary that failed, if one was recorded.
    pub failed: Option<InstanceId>,
    /// The last time that the programs of each stage ran.
    pub runs: BTreeMap<HookStage, HookRun>,
}

impl Incident {
    /// The code of one that is no failure: somebody asked for a switchover.
    pub const SWITCHOVER: &str = "Switchover";

    /// Whether somebody asked for it.
    pub fn is_of_switchover(&self) -> bool {
        self.code == Incident::SWITCHOVER
    }
}

/// One time that the programs of a stage ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    /// 1 for the first.
    pub attempt: u32,
    /// The term of the leader that ran them.
    pub term: u64,
    /// When they ended, and whether all of them did well; none while they run, and if their leader died.
    pub ended: Option<HookEnd>,
}

/// How the programs of a stage ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEnd {
    /// In milliseconds since 1970 on the leader's clock.
    pub at: u64,
    /// Whether all of them did well.
    pub passed: bool,
}
