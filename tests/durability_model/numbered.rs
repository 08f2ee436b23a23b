//! Values by number, so that a state of the world is small and what a function said once is not asked again.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

/// Values, each under the number that it was given first.
#[derive(Debug)]
pub struct Numbered<T> {
    all: Vec<T>,
    numbers: HashMap<String, u16>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Numbered {
            all: vec![],
            numbers: HashMap::new(),
        }
    }
}

impl<T: Debug> Numbered<T> {
    pub fn number(&mut self, value: T) -> u16 {
        let next = self.all.len() as u16;
        let number = *self.numbers.entry(format!("{value:?}")).or_insert(next);
        if number == next {
            self.all.push(value);
        }
        number
    }

    pub fn get(&self, number: u16) -> &T {
        &self.all[usize::from(number)]
    }
}

/// What a function of values said.
#[derive(Debug)]
pub struct Known<K, V>(HashMap<K, V>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Known(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Clone> Known<K, V> {
    pub fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }

    pub fn keep(&mut self, key: K, value: V) -> V {
        self.0.insert(key, value.clone());
        value
    }
}
