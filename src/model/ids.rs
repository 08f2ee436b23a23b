//! Names and numbers that identify things. One type per idea, so that a peer can never be taken for an instance.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that is not acceptable, with the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{name}' is not a valid name: use 1 to 32 of a-z, 0-9 and '-', starting with a letter or digit"
)]
pub struct InvalidName {
    /// What was given.
    pub name: String,
}

fn checked(name: &str) -> Result<Arc<str>, InvalidName> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = (1..=32).contains(&name.len())
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || c == '-');
    fits.then(|| Arc::from(name)).ok_or_else(|| InvalidName {
        name: name.to_owned(),
    })
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Accepts 1 to 32 of `a-z`, `0-9` and `-`. An underscore is refused because it separates
            /// the parts of an `application_name`.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                checked(name).map($name)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(&name)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// One database server process, for its whole life in a cluster.
    InstanceId;
    /// The chosen name of a cluster.
    ClusterName;
    /// A failure domain: a data centre, an availability zone.
    Zone;
}

/// A Primacy server process. Never a database. The number is its Raft id and is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The fencing token of a cluster: only grows, burnt by Raft for each attempt to change the primary.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The place of a command in the history of its cluster: by epoch, then by the number of recorded
/// transitions within the epoch. An agent refuses whatever comes before the highest it has admitted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Order {
    /// The epoch under which the command was given.
    pub epoch: Epoch,
    /// How many transitions the epoch had recorded by then.
    pub number: u32,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

/// Which filling of a data folder this is: a new number for every rewind or clone, so that a promise
/// made over other data is never taken for one of this.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// What the first data of a cluster is.
    pub const FIRST: Incarnation = Incarnation(1);
    /// What is recorded of an instance that was never filled, and so the data of a standby that no agent made.
    pub const NEVER_FILLED: Incarnation = Incarnation(0);

    /// The incarnation after this one.
    pub fn next(self) -> Incarnation {
        Incarnation(self.0 + 1)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// PostgreSQL's `system_identifier`: says that two data folders belong to one database history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SystemIdentifier(pub u64);

impl fmt::Display for SystemIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "pg-a1", "0", "x23456789-123456789-123456789-12"] {
            assert!(InstanceId::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "A",
            "a_b",
            "a b",
            "x23456789-123456789-123456789-123",
        ] {
            assert!(InstanceId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn orders_go_by_epoch_then_number() {
        let at = |epoch, number| Order {
            epoch: Epoch(epoch),
            number,
        };
        assert!(at(2, 0) > at(1, 9));
        assert!(at(2, 1) > at(2, 0));
    }
}
