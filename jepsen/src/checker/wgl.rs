//! Is there an order of operations that a sequential object could have gone through?
//!
//! Wing and Gong's search with Lowe's memo (Testing for Linearizability, 2017): take the first operation
//! that may come next, go back when a return is reached that has not been taken, and never visit a
//! configuration twice. Operations without a return may be taken at any later time or never.

use std::collections::HashSet;
use std::hash::Hash;

/// One operation.
#[derive(Debug, Clone)]
pub struct Entry<A> {
    /// When it began: a position in the history.
    pub invoked: u64,
    /// When it ended; none if it may still happen.
    pub returned: Option<u64>,
    /// What it did.
    pub action: A,
}

/// What the search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is such an order.
    Linearizable,
    /// There is none; this entry is the furthest return that could not be reached.
    Not {
        /// Its position among the entries.
        stuck: usize,
    },
    /// The limit of steps was reached before.
    GivenUp,
}

/// Searches. `step` answers the state after an action, or none if the action cannot have happened in that
/// state. At most `limit` steps are taken.
pub fn search<S, A>(
    entries: &[Entry<A>],
    initial: S,
    step: impl Fn(&S, &A) -> Option<S>,
    limit: u64,
) -> Found
where
    S: Clone + Eq + Hash,
{
    let mut line = Line::new(entries);
    let mut taken = Taken::new(entries);
    let mut seen: HashSet<(Configuration, S)> = HashSet::new();
    let mut path: Vec<(usize, S)> = vec![];
    let mut state = initial;
    let mut at = line.first();
    let mut furthest = (0, 0);
    for _ in 0..limit {
        if line.open_returns == 0 {
            return Found::Linearizable;
        }
        let Some(event) = at else {
            unreachable!("an open return stands in the line");
        };
        let Event { entry, is_return } = line.events[event];
        if !is_return {
            if let Some(next) = step(&state, &entries[entry].action) {
                taken.take(entry);
                if seen.insert((taken.configuration(), next.clone())) {
                    path.push((event, std::mem::replace(&mut state, next)));
                    line.remove(event);
                    at = line.first();
                    continue;
                }
                taken.give_back(entry);
            }
            at = line.next(event);
            continue;
        }
        furthest = furthest.max((event, entry));
        let Some((event, before)) = path.pop() else {
            return Found::Not { stuck: furthest.1 };
        };
        taken.give_back(line.events[event].entry);
        state = before;
        line.restore(event);
        at = line.next(event);
    }
    Found::GivenUp
}

#[derive(Debug, Clone, Copy)]
struct Event {
    entry: usize,
    is_return: bool,
}

/// The events not taken yet, as a doubly linked list with a head.
struct Line {
    events: Vec<Event>,
    /// Of each entry; none for one that never returns.
    returns: Vec<Option<usize>>,
    next: Vec<usize>,
    previous: Vec<usize>,
    open_returns: usize,
}

impl Line {
    fn new<A>(entries: &[Entry<A>]) -> Line {
        let mut events: Vec<(u64, Event)> = vec![];
        for (entry, it) in entries.iter().enumerate() {
            let mut add = |at, is_return| events.push((at, Event { entry, is_return }));
            add(it.invoked, false);
            if let Some(returned) = it.returned {
                add(returned, true);
            }
        }
        events.sort_by_key(|(at, event)| (*at, event.is_return));
        let events: Vec<Event> = events.into_iter().map(|(_, event)| event).collect();
        let mut returns = vec![None; entries.len()];
        for (position, event) in events.iter().enumerate() {
            if event.is_return {
                returns[event.entry] = Some(position);
            }
        }
        // The last place is the head: it follows the last event and precedes the first.
        let head = events.len();
        let places = head + 1;
        Line {
            open_returns: returns.iter().flatten().count(),
            next: (0..places).map(|place| (place + 1) % places).collect(),
            previous: (0..places).map(|it| (it + head) % places).collect(),
            events,
            returns,
        }
    }

    fn place(&self, place: usize) -> Option<usize> {
        (place < self.events.len()).then_some(place)
    }

    fn first(&self) -> Option<usize> {
        self.place(self.next[self.events.len()])
    }

    fn next(&self, event: usize) -> Option<usize> {
        self.place(self.next[event])
    }

    /// Takes an invocation and its return out.
    fn remove(&mut self, event: usize) {
        self.unlink(event);
        if let Some(end) = self.returns[self.events[event].entry] {
            self.unlink(end);
            self.open_returns -= 1;
        }
    }

    /// Undoes the last removal that was not undone.
    fn restore(&mut self, event: usize) {
        if let Some(end) = self.returns[self.events[event].entry] {
            self.relink(end);
            self.open_returns += 1;
        }
        self.relink(event);
    }

    fn unlink(&mut self, place: usize) {
        let (before, after) = (self.previous[place], self.next[place]);
        self.next[before] = after;
        self.previous[after] = before;
    }

    fn relink(&mut self, place: usize) {
        let (before, after) = (self.previous[place], self.next[place]);
        self.next[before] = place;
        self.previous[after] = place;
    }
}

/// Which entries are taken, made small: few differ from "all up to here".
type Configuration = (usize, Box<[u64]>, Box<[u64]>);

/// The entries taken so far.
struct Taken {
    /// The place of each entry in one of the two rows.
    place: Vec<(Row, usize)>,
    returning: Bits,
    open: Bits,
}

#[derive(Clone, Copy)]
enum Row {
    /// Entries that return, in the order of invocation: taken almost from left to right.
    Returning,
    /// Entries that never return.
    Open,
}

impl Taken {
    fn new<A>(entries: &[Entry<A>]) -> Taken {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|entry| entries[*entry].invoked);
        let mut place = vec![(Row::Open, 0); entries.len()];
        let (mut returning, mut open) = (0, 0);
        for entry in order {
            let (row, count) = match entries[entry].returned {
                Some(_) => (Row::Returning, &mut returning),
                None => (Row::Open, &mut open),
            };
            place[entry] = (row, *count);
            *count += 1;
        }
        Taken {
            place,
            returning: Bits::new(returning),
            open: Bits::new(open),
        }
    }

    fn bits(&mut self, entry: usize) -> (&mut Bits, usize) {
        match self.place[entry] {
            (Row::Returning, place) => (&mut self.returning, place),
            (Row::Open, place) => (&mut self.open, place),
        }
    }

    fn take(&mut self, entry: usize) {
        let (bits, place) = self.bits(entry);
        bits.set(place);
    }

    fn give_back(&mut self, entry: usize) {
        let (bits, place) = self.bits(entry);
        bits.clear(place);
    }

    fn configuration(&self) -> Configuration {
        let (full, rest) = self.returning.short();
        (full, rest, self.open.words.as_slice().into())
    }
}

/// A row of bits.
struct Bits {
    words: Vec<u64>,
    /// All words before are full.
    full: usize,
    /// All words from here on are empty.
    used: usize,
}

impl Bits {
    fn new(count: usize) -> Bits {
        Bits {
            words: vec![0; count.div_ceil(64)],
            full: 0,
            used: 0,
        }
    }

    fn set(&mut self, place: usize) {
        self.words[place / 64] |= 1 << (place % 64);
        while self.full < self.words.len() && self.words[self.full] == u64::MAX {
            self.full += 1;
        }
        self.used = self.used.max(place / 64 + 1);
    }

    fn clear(&mut self, place: usize) {
        self.words[place / 64] &= !(1 << (place % 64));
        self.full = self.full.min(place / 64);
        while self.used > 0 && self.words[self.used - 1] == 0 {
            self.used -= 1;
        }
    }

    /// How many words are full, and the words from there to the last that is not empty.
    fn short(&self) -> (usize, Box<[u64]>) {
        let rest = self.words.get(self.full..self.used).unwrap_or_default();
        (self.full, rest.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Action {
        Read(i64),
        Write(i64),
    }

    fn step(state: &i64, action: &Action) -> Option<i64> {
        match action {
            Action::Read(value) => (value == state).then_some(*state),
            Action::Write(value) => Some(*value),
        }
    }

    fn check(entries: &[(u64, Option<u64>, Action)], expected: Found) {
        let entries: Vec<_> = entries
            .iter()
            .map(|(invoked, returned, action)| Entry {
                invoked: *invoked,
                returned: *returned,
                action: *action,
            })
            .collect();
        assert_eq!(search(&entries, 0, step, 1000), expected);
    }

    #[test]
    fn a_write_takes_effect_between_its_invocation_and_its_return() {
        use Action::{Read, Write};
        let write = (0, Some(3), Write(1));
        check(&[], Found::Linearizable);
        check(&[write, (1, Some(2), Read(0))], Found::Linearizable);
        check(&[write, (1, Some(2), Read(1))], Found::Linearizable);
        check(&[write, (4, Some(5), Read(1))], Found::Linearizable);
        check(&[write, (4, Some(5), Read(0))], Found::Not { stuck: 1 });
        let seen_then_unseen = [write, (1, Some(2), Read(1)), (4, Some(5), Read(0))];
        check(&seen_then_unseen, Found::Not { stuck: 2 });
    }

    #[test]
    fn a_write_without_a_return_may_take_effect_late_or_never_but_once() {
        use Action::{Read, Write};
        let crashed = (0, None, Write(1));
        check(&[crashed, (1, Some(2), Read(0))], Found::Linearizable);
        let late = [crashed, (1, Some(2), Read(0)), (3, Some(4), Read(1))];
        check(&late, Found::Linearizable);
        let twice = [
            crashed,
            (1, Some(2), Read(1)),
            (3, Some(4), Write(0)),
            (5, Some(6), Read(1)),
        ];
        check(&twice, Found::Not { stuck: 3 });
    }

    #[test]
    fn the_limit_ends_the_search() {
        let entries = [Entry {
            invoked: 0,
            returned: Some(1),
            action: Action::Write(1),
        }];
        assert_eq!(search(&entries, 0, step, 1), Found::GivenUp);
    }
}
