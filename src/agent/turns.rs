//! Changes of files, one after another, although nobody may wait for them any more.
//!
//! A write to a disk that hangs cannot be called back. What comes next waits for it, and makes void whatever
//! waits before it: an old source is never put back after a fence.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turns {
    /// Held during a change.
    turn: Mutex<()>,
    begun: AtomicU64,
}

impl Turns {
    /// The number of a change that begins now; every earlier one that still waits is void.
    pub fn begin(&self) -> u64 {
        self.begun.fetch_add(1, SeqCst) + 1
    }

    /// Changes files once the change under way has ended; none if a newer one was begun meanwhile. Blocks.
    pub fn take<T>(&self, number: u64, change: impl FnOnce() -> T) -> Option<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        (self.begun.load(SeqCst) == number).then(change)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use super::*;

    #[test]
    fn what_hangs_is_waited_for_and_what_is_overtaken_is_void() {
        let turns = Arc::new(Turns::default());
        let order = Arc::new(Mutex::new(vec![]));
        let (release, hangs) = sync_channel::<()>(1);
        let (entered, is_in) = sync_channel::<()>(1);
        let change = |number: u64, work: Box<dyn FnOnce() + Send>| {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            thread::spawn(move || {
                turns.take(number, || {
                    work();
                    order.lock().unwrap().push(number);
                })
            })
        };
        let first = turns.begin();
        let hanging = change(
            first,
            Box::new(move || {
                entered.send(()).unwrap();
                hangs.recv().unwrap();
            }),
        );
        is_in.recv().unwrap();
        let (second, third) = (turns.begin(), turns.begin());
        let newest = change(third, Box::new(|| {}));
        let overtaken = change(second, Box::new(|| {}));
        release.send(()).unwrap();
        assert_eq!(overtaken.join().unwrap(), None);
        assert!(hanging.join().unwrap().is_some() && newest.join().unwrap().is_some());
        assert_eq!(*order.lock().unwrap(), [first, third]);
    }
}
