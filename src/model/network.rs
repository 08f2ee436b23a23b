//! How far apart the peers are: who waits for them waits longer where they are far apart.

use serde::Deserialize;

/// The distance between the peers of a group; the same on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A few milliseconds: a leader that is gone is replaced within 0.8 s.
    #[default]
    Lan,
    /// Up to 100 ms there and back: within 4 s.
    Wan,
}
