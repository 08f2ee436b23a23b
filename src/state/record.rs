//! How the state is written: as it was before for as long as the group may have peers of an older build, and with what is
//! new behind the feature level from which on they understand it.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FeatureLevel, State};

/// From this level on, clusters without agents stand at the end.
pub(super) const SQL_ONLY: u32 = 2;
/// From this level on, what operators said stands behind them.
pub(super) const DIRECTIVES: u32 = 3;

fn has_sql(level: FeatureLevel) -> bool {
    level.number() >= SQL_ONLY
}

fn has_directives(level: FeatureLevel) -> bool {
    level.number() >= DIRECTIVES
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let State {
            clusters,
            peers,
            access,
            level,
            sql,
            directives,
        } = self;
        let parts = 4 + usize::from(has_sql(*level)) + usize::from(has_directives(*level));
        let mut written = to.serialize_tuple(parts)?;
        written.serialize_element(clusters)?;
        written.serialize_element(peers)?;
        written.serialize_element(access)?;
        written.serialize_element(level)?;
        if has_sql(*level) {
            written.serialize_element(sql)?;
        }
        if has_directives(*level) {
            written.serialize_element(directives)?;
        }
        written.end()
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<State, D::Error> {
        from.deserialize_tuple(6, Parts)
    }
}

struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = State;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the replicated state")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<State, A::Error> {
        fn part<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
            parts: &mut A,
            number: usize,
        ) -> Result<T, A::Error> {
            let part = parts.next_element()?;
            part.ok_or_else(|| A::Error::invalid_length(number, &Parts))
        }
        let mut state = State {
            clusters: part(&mut parts, 0)?,
            peers: part(&mut parts, 1)?,
            access: part(&mut parts, 2)?,
            level: part(&mut parts, 3)?,
            ..State::default()
        };
        if has_sql(state.level) {
            state.sql = part(&mut parts, 4)?;
        }
        if has_directives(state.level) {
            state.directives = part(&mut parts, 5)?;
        }
        Ok(state)
    }
}
