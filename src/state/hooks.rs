//! What is recorded of the user's programs, so that a new leader does not run them again without knowing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, Epoch, HookEnd, HookRun, HookStage, Incident, InstanceId};
use crate::recovery::Rejection;

use super::State;
use super::history::{History, Kind};

/// The incidents that are open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hooks {
    incidents: BTreeMap<ClusterName, Incident>,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCommand {
    /// Of which cluster.
    pub cluster: ClusterName,
    /// The proposing leader's wall clock, in milliseconds since 1970. For display, and for when a failed one is tried again.
    pub at: u64,
    /// What changes.
    pub change: HookChange,
}

/// What changes. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookChange {
    /// A primary failed.
    Open {
        /// The epoch that the decision saw.
        seen: Epoch,
        /// The code of the finding.
        code: String,
        /// In words.
        text: String,
        /// The primary.
        failed: Option<InstanceId>,
    },
    /// The programs of a stage begin. Compare-and-set on the attempt.
    Begin {
        /// When the incident was recorded.
        incident: u64,
        /// Which.
        stage: HookStage,
        /// How many times they began, this one included.
        attempt: u32,
        /// The term of the leader that runs them.
        term: u64,
    },
    /// They ended.
    End {
        /// When the incident was recorded.
        incident: u64,
        /// Which.
        stage: HookStage,
        /// As it began.
        attempt: u32,
        /// Whether all of them did well.
        passed: bool,
        /// What they said last.
        output: String,
    },
    /// The incident is over.
    Close {
        /// When it was recorded.
        incident: u64,
    },
}

impl Hooks {
    /// The incident that is open.
    pub fn of(&self, cluster: &ClusterName) -> Option<&Incident> {
        self.incidents.get(cluster)
    }

    pub(super) fn forget(&mut self, cluster: &ClusterName) {
        self.incidents.remove(cluster);
    }
}

impl State {
    fn history_of(&mut self, cluster: &ClusterName) -> Option<(Epoch, &mut History)> {
        if let Some(state) = self.clusters.get_mut(cluster) {
            return Some((state.cluster.epoch, &mut state.history));
        }
        let state = self.sql.get_mut(cluster)?;
        Some((state.cluster.epoch, &mut state.history))
    }

    /// Applies one command.
    pub(super) fn hook(&mut self, command: HookCommand) -> Result<(), Rejection> {
        let HookCommand {
            cluster,
            at,
            change,
        } = command;
        let unknown = || Rejection::Unknown(format!("cluster {cluster}"));
        let (epoch, _) = self.history_of(&cluster).ok_or_else(unknown)?;
        if let HookChange::Open {
            seen,
            code,
            text,
            failed,
        } = change
        {
            if epoch != seen || self.hooks.incidents.contains_key(&cluster) {
                return Err(Rejection::Stale);
            }
            let incident = Incident {
                seen,
                began_at: at,
                code,
                text,
                failed,
                runs: BTreeMap::new(),
            };
            self.hooks.incidents.insert(cluster, incident);
            return Ok(());
        }
        let known = self.hooks.incidents.get_mut(&cluster);
        let open = known.ok_or(Rejection::Stale)?;
        match change {
            HookChange::Open { .. } => Err(Rejection::Stale),
            HookChange::Begin {
                incident,
                stage,
                attempt,
                term,
            } => {
                let before = open.runs.get(&stage).map_or(0, |it| it.attempt);
                if incident != open.began_at || before.checked_add(1) != Some(attempt) {
                    return Err(Rejection::Stale);
                }
                let run = HookRun {
                    attempt,
                    term,
                    ended: None,
                };
                open.runs.insert(stage, run);
                if let Some((epoch, history)) = self.history_of(&cluster) {
                    // One record for all attempts: a guard that refuses for days leaves room for the rest.
                    match history.hook(stage.name()) {
                        Some(record) => record.note(at, "again", &format!("attempt {attempt}")),
                        None => history.begin(at, Kind::Hook, epoch, None, None, stage.name()),
                    }
                }
                Ok(())
            }
            HookChange::End {
                incident,
                stage,
                attempt,
                passed,
                output,
            } => {
                let run = open.runs.get_mut(&stage);
                let run = run.filter(|it| it.attempt == attempt && it.ended.is_none());
                let run = run.filter(|_| incident == open.began_at);
                run.ok_or(Rejection::Stale)?.ended = Some(HookEnd { at, passed });
                if let Some((_, history)) = self.history_of(&cluster)
                    && let Some(record) = history.hook(stage.name())
                {
                    match passed {
                        true => record.end(at, "passed", &output),
                        false => record.note(at, "failed", &output),
                    }
                }
                Ok(())
            }
            HookChange::Close { incident } => {
                if incident != open.began_at {
                    return Err(Rejection::Stale);
                }
                self.hooks.forget(&cluster);
                if let Some((_, history)) = self.history_of(&cluster) {
                    for record in history.hooks() {
                        record.end(at, "over", "the incident is over, and they did not do well");
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Durability;
    use crate::model::example;
    use crate::state::example::at_rest;
    use crate::state::{Change, Command, NewSwitchover};
    use std::time::Duration;

    #[test]
    fn what_began_is_not_begun_again_and_what_ended_is_kept() {
        let name = ClusterName::new("demo").unwrap();
        let mut state = State::default();
        let one = at_rest(example::cluster(&["a", "b"], Durability::Async));
        let seen = one.cluster.epoch;
        state.clusters.insert(name.clone(), one);
        let mut hook = |at, change| {
            let cluster = ClusterName::new("demo").unwrap();
            let done = state.hook(HookCommand {
                cluster,
                at,
                change,
            });
            (
                done,
                state.hooks.clone(),
                state.clusters[&name].history.clone(),
            )
        };
        let open = || HookChange::Open {
            seen,
            code: "DeadPrimary".to_owned(),
            text: "dead".to_owned(),
            failed: None,
        };
        let stage = HookStage::PreFailover;
        let begin = |incident, attempt| HookChange::Begin {
            incident,
            stage,
            attempt,
            term: 3,
        };
        let end = |attempt| HookChange::End {
            incident: 7,
            stage,
            attempt,
            passed: false,
            output: "exit 1".to_owned(),
        };
        assert_eq!(hook(6, begin(7, 1)).0, Err(Rejection::Stale), "no incident");
        assert_eq!(hook(7, open()).0, Ok(()));
        assert_eq!(hook(8, open()).0, Err(Rejection::Stale));
        assert_eq!(hook(8, begin(6, 1)).0, Err(Rejection::Stale), "another one");
        assert_eq!(hook(8, begin(7, 1)).0, Ok(()));
        assert_eq!(hook(8, begin(7, 1)).0, Err(Rejection::Stale), "twice");
        assert_eq!(hook(9, end(2)).0, Err(Rejection::Stale));
        assert_eq!(hook(9, end(1)).0, Ok(()));
        assert_eq!(hook(9, end(1)).0, Err(Rejection::Stale), "twice");
        let (done, hooks, history) = hook(10, begin(7, 2));
        assert_eq!(done, Ok(()));
        let run = &hooks.of(&ClusterName::new("demo").unwrap()).unwrap().runs[&stage];
        assert_eq!((run.attempt, &run.ended), (2, &None));
        let only = history.records().collect::<Vec<_>>();
        assert_eq!(
            (only.len(), only[0].kind, &*only[0].cause),
            (1, Kind::Hook, stage.name())
        );
        let events: Vec<_> = only[0].entries.iter().map(|it| &*it.event).collect();
        assert_eq!(events, ["began", "failed", "again"]);
        let failed = &only[0].entries[1].detail;
        assert_eq!((&**failed, &only[0].outcome), ("exit 1", &None));
        let (_, hooks, history) = hook(11, HookChange::Close { incident: 7 });
        assert_eq!(hooks, Hooks::default());
        assert!(history.records().all(|it| it.outcome.is_some()));
    }

    #[test]
    fn the_next_switchover_waits_for_the_programs_of_the_last() {
        let name = ClusterName::new("demo").unwrap();
        let mut state = State::default();
        let one = at_rest(example::cluster(&["a", "b"], Durability::Async));
        let seen = one.cluster.epoch;
        state.clusters.insert(name.clone(), one);
        let ask = |state: &mut State| {
            state.apply(Command {
                cluster: name.clone(),
                at: 8,
                change: Change::PlanSwitchover(NewSwitchover {
                    seen,
                    to: example::id("b"),
                    length: Duration::from_secs(30),
                    owner: "ana".to_owned(),
                    reason: "patch".to_owned(),
                }),
            })
        };
        let open = |code: &str| Incident {
            seen,
            began_at: 7,
            code: code.to_owned(),
            text: "to b".to_owned(),
            failed: None,
            runs: BTreeMap::new(),
        };
        let hooks = |state: &mut State, code: &str| {
            state.hooks.incidents.insert(name.clone(), open(code));
        };
        hooks(&mut state, Incident::SWITCHOVER);
        let refused = ask(&mut state);
        assert!(matches!(refused, Err(Rejection::Exists(_))), "{refused:?}");
        hooks(&mut state, "DeadPrimary");
        assert!(ask(&mut state).is_ok());
    }

    #[test]
    fn numbers_that_cannot_grow_are_refused() {
        let name = ClusterName::new("demo").unwrap();
        let mut state = State::default();
        let one = at_rest(example::cluster(&["a", "b"], Durability::Async));
        let seen = one.cluster.epoch;
        state.clusters.insert(name.clone(), one);
        let stage = HookStage::PreFailover;
        let run = HookRun {
            attempt: u32::MAX,
            term: 3,
            ended: None,
        };
        let incident = Incident {
            seen,
            began_at: 7,
            code: String::new(),
            text: String::new(),
            failed: None,
            runs: [(stage, run)].into(),
        };
        state.hooks.incidents.insert(name.clone(), incident);
        let begin = HookCommand {
            cluster: name,
            at: 8,
            change: HookChange::Begin {
                incident: 7,
                stage,
                attempt: 0,
                term: 3,
            },
        };
        assert_eq!(state.hook(begin), Err(Rejection::Stale));
    }
}
