//! Histories of a simulated database, sound or with one anomaly put in, for the tests of the checkers.

use std::collections::BTreeMap;

use crate::clock::Moment;
use crate::history::{Event, History, MicroOperation, Operation, Phase, Process};
use crate::random::Random;

/// What goes wrong in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Nothing,
    /// A key loses its last acknowledged elements.
    LostTail,
    /// For a while every second transaction sees and writes another copy, which is thrown away.
    SplitBrain,
    /// For a while transactions that only read see an old copy.
    StaleReads,
    /// An element is appended twice.
    Doubled,
    /// A failed transaction takes effect.
    AbortedButApplied,
    /// Transactions see a snapshot and are committed whatever others did meanwhile.
    NoIsolation,
}

impl Wrong {
    pub const ALL: [Wrong; 7] = [
        Wrong::Nothing,
        Wrong::LostTail,
        Wrong::SplitBrain,
        Wrong::StaleReads,
        Wrong::Doubled,
        Wrong::AbortedButApplied,
        Wrong::NoIsolation,
    ];
}

type Lists = BTreeMap<i64, Vec<i64>>;

/// How a history is made.
pub struct Plan {
    pub transactions: usize,
    pub clients: u64,
    /// Keys in use at one time; after so many transactions one is replaced by a new one.
    pub keys: u64,
    pub rotate_every: usize,
    pub wrong: Wrong,
}

struct Client {
    process: u64,
    state: State,
}

enum State {
    Idle,
    /// Asked, not yet carried out; with the lists as they were.
    Asked(Vec<MicroOperation>, Lists),
    Answered(Phase, Vec<MicroOperation>),
}

struct Simulation {
    random: Random,
    plan: Plan,
    lists: Lists,
    other: Lists,
    events: Vec<Event>,
    next_element: i64,
    next_process: u64,
    started: usize,
    first_key: i64,
    /// Whether the tail was lost already.
    is_lost: bool,
}

/// A history of list-append transactions, each at one moment between its invocation and its end.
pub fn append(seed: u64, plan: Plan) -> History {
    let mut simulation = Simulation {
        random: Random::new(seed),
        next_process: plan.clients,
        plan,
        lists: Lists::new(),
        other: Lists::new(),
        events: vec![],
        next_element: 0,
        started: 0,
        first_key: 0,
        is_lost: false,
    };
    simulation.run();
    History::indexed(simulation.events).unwrap()
}

impl Simulation {
    fn run(&mut self) {
        let mut clients: Vec<Client> = (0..self.plan.clients)
            .map(|process| Client {
                process,
                state: State::Idle,
            })
            .collect();
        let mut ended = 0;
        while ended < self.plan.transactions {
            let chosen = self.random.below(self.plan.clients);
            let client = &mut clients[usize::try_from(chosen).unwrap()];
            client.state = match std::mem::replace(&mut client.state, State::Idle) {
                State::Idle if self.started == self.plan.transactions => State::Idle,
                State::Idle => {
                    let asked = self.ask();
                    self.event(client.process, Phase::Invoke, &asked);
                    State::Asked(asked, self.lists.clone())
                }
                State::Asked(asked, before) => {
                    let (phase, answer) = self.carry_out(asked, before);
                    State::Answered(phase, answer)
                }
                State::Answered(phase, answer) => {
                    self.event(client.process, phase, &answer);
                    ended += 1;
                    if phase == Phase::Info {
                        client.process = self.next_process;
                        self.next_process += 1;
                    }
                    State::Idle
                }
            };
        }
        self.final_reads();
    }

    fn keys(&self) -> std::ops::Range<i64> {
        0..self.first_key + i64::try_from(self.plan.keys).unwrap()
    }

    fn ask(&mut self) -> Vec<MicroOperation> {
        self.started += 1;
        if self.started.is_multiple_of(self.plan.rotate_every) {
            self.first_key += 1;
        }
        let count = 1 + self.random.below(4);
        let micro = (0..count).map(|_| {
            let key = self.first_key + i64::try_from(self.random.below(self.plan.keys)).unwrap();
            if self.random.one_in(2) {
                return MicroOperation::Read { key, list: None };
            }
            self.next_element += 1;
            MicroOperation::Append {
                key,
                element: self.next_element,
            }
        });
        micro.collect()
    }

    /// Whether this moment lies in the middle of the history, where things go wrong.
    fn is_middle(&self) -> bool {
        let total = self.plan.transactions;
        (total / 3..total / 2).contains(&self.started)
    }

    fn carry_out(
        &mut self,
        asked: Vec<MicroOperation>,
        before: Lists,
    ) -> (Phase, Vec<MicroOperation>) {
        let wrong = self.plan.wrong;
        let fails = self.random.one_in(20);
        if fails && wrong != Wrong::AbortedButApplied {
            return (Phase::Fail, asked);
        }
        if wrong == Wrong::LostTail && !self.is_lost && self.started > self.plan.transactions / 2 {
            self.is_lost = true;
            for list in self.lists.values_mut() {
                list.truncate(list.len().saturating_sub(2));
            }
        }
        if !self.is_middle() {
            self.other.clone_from(&self.lists);
        }
        let only_reads = asked
            .iter()
            .all(|micro| matches!(micro, MicroOperation::Read { .. }));
        let is_middle = self.is_middle();
        let sees_other = match wrong {
            Wrong::SplitBrain => is_middle && self.random.one_in(2),
            Wrong::StaleReads => is_middle && only_reads,
            Wrong::Nothing
            | Wrong::LostTail
            | Wrong::Doubled
            | Wrong::AbortedButApplied
            | Wrong::NoIsolation => false,
        };
        let lists = if sees_other {
            &mut self.other
        } else {
            &mut self.lists
        };
        let answer = if wrong == Wrong::NoIsolation {
            blindly(&asked, before, lists)
        } else {
            perform(&asked, lists)
        };
        if wrong == Wrong::Doubled
            && is_middle
            && let Some(MicroOperation::Append { key, element }) = asked.last()
        {
            lists.entry(*key).or_default().push(*element);
        }
        match (fails, self.random.one_in(30)) {
            (true, _) => (Phase::Fail, asked),
            (false, true) => (Phase::Info, asked),
            (false, false) => (Phase::Ok, answer),
        }
    }

    fn final_reads(&mut self) {
        for key in self.keys() {
            let read = vec![MicroOperation::Read { key, list: None }];
            self.event(self.next_process, Phase::Invoke, &read);
            let answer = perform(&read, &mut self.lists);
            self.event(self.next_process, Phase::Ok, &answer);
        }
    }

    fn event(&mut self, process: u64, phase: Phase, micro: &[MicroOperation]) {
        let index = u64::try_from(self.events.len()).unwrap();
        self.events.push(Event {
            index,
            phase,
            process: Process::Client(process),
            operation: Operation::Transaction(micro.to_vec()),
            time: Moment(index * 1000),
            answerer: None,
            session: None,
            error: None,
        });
    }
}

fn perform(asked: &[MicroOperation], lists: &mut Lists) -> Vec<MicroOperation> {
    let answers = asked.iter().map(|micro| match micro {
        MicroOperation::Append { key, element } => {
            lists.entry(*key).or_default().push(*element);
            micro.clone()
        }
        MicroOperation::Read { key, .. } => MicroOperation::Read {
            key: *key,
            list: Some(lists.get(key).cloned().unwrap_or_default()),
        },
    });
    answers.collect()
}

/// Reads from an old snapshot and writes to what is there now.
fn blindly(asked: &[MicroOperation], mut before: Lists, lists: &mut Lists) -> Vec<MicroOperation> {
    let answer = perform(asked, &mut before);
    perform(asked, lists);
    answer
}
