//! The hosts that rounds run on: kept while the next round needs the same, brought up anew otherwise.

use std::path::PathBuf;

use anyhow::ensure;

use super::plan::RoundPlan;
use crate::hosts::{Settings, missing};
use crate::nemesis::ground::Ground;

/// Hosts, or none.
#[derive(Debug)]
pub struct Stage {
    program: PathBuf,
    up: Option<(Kind, Ground)>,
}

/// What makes hosts fit for a round.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    durability: String,
    nodes: usize,
    clocks: bool,
    apart_ms: u64,
}

impl Stage {
    /// Nothing is up yet; `program` is what is tested.
    pub fn new(program: PathBuf) -> Stage {
        Stage { program, up: None }
    }

    /// Hosts that are fit for a round; those of the round before if they are.
    ///
    /// # Errors
    /// They do not come up, or this machine can have no such ones.
    pub fn ready(&mut self, plan: &RoundPlan) -> anyhow::Result<&mut Ground> {
        let kind = Kind {
            durability: plan.durability.clone(),
            nodes: plan.nodes,
            clocks: plan.needs_clocks(),
            apart_ms: plan.apart_ms,
        };
        if self.up.as_ref().is_some_and(|(up, _)| *up != kind) {
            self.clear();
        }
        let ground = match self.up.take() {
            Some((_, ground)) => ground,
            None => self.bring_up(plan, &kind)?,
        };
        Ok(&mut self.up.insert((kind, ground)).1)
    }

    fn bring_up(&self, plan: &RoundPlan, kind: &Kind) -> anyhow::Result<Ground> {
        let lacks = missing();
        ensure!(
            lacks.is_empty() || (plan.durability == "quorum:1" && plan.nodes == 3),
            "without {} there are three nodes with quorum:1 only",
            lacks.join(", ")
        );
        Ground::up(&Settings {
            program: self.program.clone(),
            nodes: kind.nodes,
            durability: kind.durability.clone(),
            seed: plan.seed,
            clocks: kind.clocks,
            apart_ms: kind.apart_ms,
            environment: vec![],
        })
    }

    /// What is up.
    pub fn ground(&self) -> Option<&Ground> {
        self.up.as_ref().map(|(_, ground)| ground)
    }

    /// Takes down whatever is up.
    pub fn clear(&mut self) {
        self.up = None;
    }
}
