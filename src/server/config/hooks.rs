//! The user's programs that run when a primary fails, or is switched over: the table `[hooks]`, with orchestrator's names.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ConfigError;
use crate::model::HookStage;

/// The most programs of a stage.
const PROGRAMS: usize = 16;

/// What runs, by stage; only stages that have something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookPrograms(pub BTreeMap<HookStage, Vec<String>>);

/// The table `[hooks]`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(deny_unknown_fields, rename_all = "PascalCase", default)]
pub(super) struct Table {
    on_failure_detection_processes: Vec<String>,
    pre_failover_processes: Vec<String>,
    post_master_failover_processes: Vec<String>,
    post_failover_processes: Vec<String>,
    post_unsuccessful_failover_processes: Vec<String>,
    pre_graceful_takeover_processes: Vec<String>,
    post_graceful_takeover_processes: Vec<String>,
}

pub(super) fn checked(table: Table) -> Result<HookPrograms, ConfigError> {
    let of = [
        (HookStage::Detection, table.on_failure_detection_processes),
        (HookStage::PreFailover, table.pre_failover_processes),
        (
            HookStage::PostPrimaryFailover,
            table.post_master_failover_processes,
        ),
        (HookStage::PostFailover, table.post_failover_processes),
        (
            HookStage::PostUnsuccessful,
            table.post_unsuccessful_failover_processes,
        ),
        (
            HookStage::PreSwitchover,
            table.pre_graceful_takeover_processes,
        ),
        (
            HookStage::PostSwitchover,
            table.post_graceful_takeover_processes,
        ),
    ];
    let mut programs = BTreeMap::new();
    for (stage, list) in of {
        let refuse = |why: String| Err(ConfigError(format!("hooks: {stage}: {why}")));
        if list.len() > PROGRAMS {
            return refuse(format!(
                "there are more than {PROGRAMS}; call some from others"
            ));
        }
        if list
            .iter()
            .any(|it| it.trim().trim_end_matches('&').trim().is_empty())
        {
            return refuse("one is empty; leave it out".to_owned());
        }
        if !list.is_empty() {
            programs.insert(stage, list);
        }
    }
    Ok(HookPrograms(programs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orchestrators_names_are_taken_and_nothing_empty_is() {
        let parse = |text: &str| {
            let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
            checked(table).map_err(|ConfigError(why)| why)
        };
        let all = HookStage::ALL.map(|stage| format!("{stage} = ['echo {stage}']"));
        let found = parse(&all.join("\n")).unwrap();
        for stage in HookStage::ALL {
            assert_eq!(found.0[&stage], [format!("echo {stage}")]);
        }
        assert_eq!(parse("PostFailoverProcesses = []").unwrap().0.len(), 0);
        let why = parse("PreFailoverProcesses = ['a', ' & ']").unwrap_err();
        assert!(why.contains("PreFailoverProcesses: one is empty"), "{why}");
        assert!(
            parse("PreFailover = ['a']")
                .unwrap_err()
                .contains("PreFailover")
        );
    }
}
