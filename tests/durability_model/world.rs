//! The databases, their walsenders, and what happens to them.

use primacy::duty::{Act, Duty, Outcome};
use primacy::recovery::{Action, Evidence};
use primacy::state::Change;

use super::bounds::Bounds;
use super::leading::Product;

/// What commits wait for, as one process has read it: the number of its text, and how many standbys it asks for. Another
/// process does not see that text: only which place of the list the first standby has (`sync_priority`), 0 if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    pub text: u16,
    pub needed: u8,
    pub place: u8,
}

/// One that is no primary. They differ in nothing else, so they are kept in order and are taken for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standby {
    /// How much of the log it has flushed.
    pub flushed: u8,
    /// What its walsender runs; none if it is not connected.
    pub sender: Option<Rule>,
}

/// What the agent does for its duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acting {
    /// These names are on their way to the file.
    Write(Rule),
    /// Walsenders are looked at.
    Senders,
    /// It is looked whether commits wait.
    Waiting,
    /// A commit that ends here is waited for.
    Commit(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub left: Bounds,
    /// The number of the record.
    pub state: u16,
    pub standbys: Vec<Standby>,
    /// How long the primary's log is.
    pub log: u8,
    /// How much of it clients were told is safe.
    pub acknowledged: u8,
    /// Where the first commit of the epoch ends.
    pub first_commit: u8,
    /// What stands in the file of the settings, and what the postmaster has read.
    pub file: Rule,
    pub loaded: Rule,
    /// Whether commits wait for any standby: the checkpointer says so, when it has read what the postmaster has.
    pub waits: bool,
    /// What a command that is over was writing to the file: it is written at last, before anything newer.
    pub hung: Option<Rule>,
    /// The number of the highest order that the agent has admitted.
    pub admitted: u16,
    /// The numbers of a command and of the duty for it.
    pub duty: Option<(u16, u16)>,
    pub acting: Option<Acting>,
    /// What leaders have said and the agent may hear; what it has answered; what leaders may have recorded. All of it may come
    /// late, more than once, or never.
    pub commands: Vec<u16>,
    pub proposals: Vec<u16>,
}

impl World {
    /// What as many as the rule of any walsender asks for have flushed is acknowledged. That it is at once, and whichever of
    /// those that are connected they are, only makes more of it.
    fn settle(&mut self, product: &mut Product) {
        self.acknowledged = self.acknowledged.max(self.released());
        product.note_first_commit(self);
        self.standbys.sort_unstable();
    }

    /// How much of the log nobody waits for now. A walsender that was told of no names releases nobody.
    fn released(&self) -> u8 {
        if !self.waits {
            return self.log;
        }
        let connected = || self.standbys.iter().filter(|it| it.sender.is_some());
        let mut flushed: Vec<u8> = connected().map(|it| it.flushed).collect();
        flushed.sort_unstable_by(|a, b| b.cmp(a));
        let rules = connected().filter_map(|it| it.sender);
        let place = |rule: Rule| usize::from(rule.needed).checked_sub(1);
        let released = rules.filter_map(|rule| flushed.get(place(rule)?));
        released.max().copied().unwrap_or(0)
    }

    /// Whether those who have flushed least could be elected, and lack something. `async` promises nothing.
    pub fn loses(&self, product: &Product) -> bool {
        if product.acks(self) == 0 {
            return false;
        }
        let mut held: Vec<u8> = self.standbys.iter().map(|it| it.flushed).collect();
        held.push(self.log);
        held.sort_unstable();
        held[product.promises_needed(self) - 1] < self.acknowledged
    }

    /// All that can happen next.
    pub fn successors(&self, product: &mut Product) -> Vec<World> {
        let mut all = vec![];
        let mut add = |product: &mut Product, next: Option<World>| {
            if let Some(mut next) = next {
                next.settle(product);
                all.push(next);
            }
        };
        let mut next = self.clone();
        if next.left.writes > 0 && next.append().is_some() {
            next.left.writes -= 1;
            add(product, Some(next));
        }
        for at in 0..self.standbys.len() {
            if at == 0 || self.standbys[at] != self.standbys[at - 1] {
                for next in self.of_standby(at) {
                    add(product, Some(next));
                }
            }
        }
        if self.loaded != self.file {
            let loaded = self.file;
            add(
                product,
                Some(World {
                    loaded,
                    ..self.clone()
                }),
            );
        }
        let waits = self.loaded.needed > 0;
        if self.waits != waits {
            add(
                product,
                Some(World {
                    waits,
                    ..self.clone()
                }),
            );
        }
        if let Some(file) = self.hung {
            let hung = None;
            add(
                product,
                Some(World {
                    file,
                    hung,
                    ..self.clone()
                }),
            );
        }
        let next = self.act(product);
        add(product, next);
        if self.left.crashes > 0 && self.duty.is_some() {
            let mut next = self.clone();
            next.left.crashes -= 1;
            next.drop_duty();
            add(product, Some(next));
        }
        for number in &self.commands {
            let next = self.command(*number, product);
            add(product, next);
        }
        for number in &self.proposals {
            let next = product.record(self, *number);
            add(product, next);
        }
        let next = product.decide(self);
        add(product, next);
        if self.left.asks > 0 {
            for standbys in u8::from(!self.left.to_async)..self.left.members {
                let mut next = product.ask(self, standbys);
                if let Some(next) = &mut next {
                    next.left.asks -= 1;
                }
                add(product, next);
            }
        }
        if self.left.handovers > 0 {
            for at in 0..self.standbys.len() {
                let next = product.hand_over(self, at);
                add(product, next);
            }
        }
        all
    }

    /// What can become of one standby.
    fn of_standby(&self, at: usize) -> Vec<World> {
        let mut all = vec![];
        let mut add = |standby: Standby, restarts: u8| {
            let mut next = self.clone();
            next.standbys[at] = standby;
            next.left.restarts -= restarts;
            all.push(next);
        };
        let standby = self.standbys[at];
        let Some(sender) = standby.sender else {
            let sender = Some(self.loaded);
            add(Standby { sender, ..standby }, 0);
            return all;
        };
        if standby.flushed < self.log {
            let flushed = standby.flushed + 1;
            add(Standby { flushed, ..standby }, 0);
        }
        if sender != self.loaded {
            let sender = Some(self.loaded);
            add(Standby { sender, ..standby }, 0);
        }
        if self.left.restarts > 0 {
            let sender = None;
            add(Standby { sender, ..standby }, 1);
        }
        all
    }

    /// The primary writes a commit; where it ends.
    pub fn append(&mut self) -> Option<u8> {
        (self.log < self.left.log).then(|| {
            self.log += 1;
            self.log
        })
    }

    /// A command comes to the agent, perhaps once more.
    fn command(&self, number: u16, product: &mut Product) -> Option<World> {
        let (order, action) = product.commands.get(number).clone();
        if order < *product.orders.get(self.admitted) {
            return None;
        }
        let mut next = self.clone();
        next.admitted = product.orders.number(order);
        let is_same = |(of, _): &(u16, u16)| product.commands.get(*of).1 == action;
        if self.duty.as_ref().is_some_and(is_same) {
            return (next != *self).then_some(next);
        }
        next.drop_duty();
        let duty = Duty::new(&action, order, Default::default()).unwrap();
        next.duty = Some((number, product.duties.number(duty)));
        Some(next)
    }

    /// What was being written comes into the file all the same, some time.
    fn drop_duty(&mut self) {
        self.duty = None;
        if let Some(Acting::Write(rule)) = self.acting.take() {
            self.hung = Some(rule);
        }
    }

    /// The act under way ends, or the duty says what comes next.
    fn act(&self, product: &mut Product) -> Option<World> {
        let (command, duty) = self.duty?;
        let mut next = self.clone();
        match next.acting.take() {
            // One after the other.
            Some(Acting::Write(_)) if self.hung.is_some() => return None,
            Some(Acting::Write(rule)) => (next.file, next.loaded) = (rule, rule),
            Some(Acting::Senders) => {
                let mut senders = self.standbys.iter().filter_map(|it| it.sender);
                if !senders.all(|it| it.place == self.loaded.place) {
                    next.duty = None;
                    return Some(next);
                }
            }
            Some(Acting::Waiting) if !self.waits => {
                next.duty = None;
                return Some(next);
            }
            Some(Acting::Commit(at)) if at > self.released() => return None,
            Some(Acting::Waiting | Acting::Commit(_)) | None => {}
        }
        let mut duty = product.duties.get(duty).clone();
        match duty.next(&product.local(&next)) {
            Act::ConfigurePrimary {
                synchronous_standby_names: text,
                ..
            } => next.acting = Some(Acting::Write(product.rule(text))),
            Act::ProveSenders { .. } => next.acting = Some(Acting::Senders),
            Act::ProveWaiting => next.acting = Some(Acting::Waiting),
            Act::Commit => next.acting = Some(Acting::Commit(next.append()?)),
            Act::Finish(outcome) => {
                next.duty = None;
                if let Outcome::Evidence(evidence) = outcome {
                    let order = *product.orders.get(self.admitted);
                    let change = Change::Record { order, evidence };
                    next.propose(product.changes.number(change));
                }
                return Some(next);
            }
            Act::Look => {}
            act => panic!("{act:?} is not for this"),
        }
        next.duty = Some((command, product.duties.number(duty)));
        Some(next)
    }

    /// Whether it is new.
    pub fn propose(&mut self, change: u16) -> bool {
        insert(&mut self.proposals, change)
    }

    /// Whether it is new.
    pub fn say(&mut self, command: u16) -> bool {
        insert(&mut self.commands, command)
    }
}

/// Keeps them in order.
fn insert(of: &mut Vec<u16>, number: u16) -> bool {
    let place = of.binary_search(&number);
    if let Err(place) = place {
        of.insert(place, number);
    }
    place.is_err()
}

/// Whether a word of a leader or of an agent is about the change of durability.
pub fn is_about_it(change: &Change) -> bool {
    matches!(
        change,
        Change::BeginConfirming { .. }
            | Change::StopConfirming { .. }
            | Change::RecordLapsed { .. }
            | Change::Record {
                evidence: Evidence::Confirmed { .. },
                ..
            }
    )
}

/// Whether it is a command for it.
pub fn is_for_it(action: &Action) -> bool {
    matches!(action, Action::Configure { .. } | Action::Confirm { .. })
}
