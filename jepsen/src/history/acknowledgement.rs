//! What was acknowledged to whom, by whom and when.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Moment;

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// The application: it follows the primary.
    Client,
    /// The one that tries to write on every node.
    Prober,
}

/// One acknowledged row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who wrote it.
    pub writer: Writer,
    /// Which node acknowledged it.
    pub node: Arc<str>,
    /// Unique for each writer: an attempt that is repeated gets a new one.
    pub id: i64,
    /// When its statement was sent.
    pub sent: Moment,
    /// When its acknowledgement arrived.
    pub at: Moment,
}

/// Collects acknowledgements from the writers. Cheap to clone; all clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Acknowledgement>>>);

impl Recorder {
    /// Adds one.
    pub fn add(&self, acknowledgement: Acknowledgement) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(acknowledgement);
    }

    /// All of them, in the order of their arrival.
    pub fn all(&self) -> Vec<Acknowledgement> {
        let mut all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        all.sort_by_key(|it| it.at);
        all
    }

    /// How many `writer` has, and when the newest arrived.
    pub fn count(&self, writer: Writer) -> (usize, Option<Moment>) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = || all.iter().filter(|it| it.writer == writer);
        (of().count(), of().map(|it| it.at).max())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An acknowledgement to `writer` by `node`, sent 1 ms before it arrived at `at` ms.
    pub fn acknowledged(writer: Writer, node: &str, id: i64, at: u64) -> Acknowledgement {
        Acknowledgement {
            writer,
            node: node.into(),
            id,
            sent: Moment((at - 1) * 1_000_000),
            at: Moment(at * 1_000_000),
        }
    }
}
