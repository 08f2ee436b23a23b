//! What is recorded of the users' programs.

use primacy::model::{ClusterName, Epoch, HookStage, InstanceId};
use primacy::state::{Entry, HookChange, HookCommand};

fn changes() -> Vec<(&'static str, HookChange)> {
    let incident = 1_700_000_000_000;
    let stage = HookStage::PreFailover;
    vec![
        (
            "hook_open",
            HookChange::Open {
                seen: Epoch(1),
                code: "DeadPrimary".to_owned(),
                text: "why".to_owned(),
                failed: Some(InstanceId::new("a").unwrap()),
            },
        ),
        (
            "hook_begin",
            HookChange::Begin {
                incident,
                stage,
                attempt: 1,
                term: 3,
            },
        ),
        (
            "hook_end",
            HookChange::End {
                incident,
                stage,
                attempt: 1,
                passed: true,
                output: "exit 0".to_owned(),
            },
        ),
        ("hook_close", HookChange::Close { incident }),
        (
            "hook_begin_switchover",
            HookChange::Begin {
                incident,
                stage: HookStage::PreSwitchover,
                attempt: 1,
                term: 3,
            },
        ),
        (
            "hook_begin_after_switchover",
            HookChange::Begin {
                incident,
                stage: HookStage::PostSwitchover,
                attempt: 1,
                term: 3,
            },
        ),
    ]
}

/// Every entry of them, by name.
pub fn entries() -> impl Iterator<Item = (&'static str, Entry)> {
    changes().into_iter().map(|(name, change)| {
        let command = HookCommand {
            cluster: ClusterName::new("demo").unwrap(),
            at: 1_700_000_000_000,
            change,
        };
        (name, Entry::Hook(command))
    })
}
