//! How the state is written: as it was before for as long as the group may have peers of an older build, and with what is
//! new behind the feature level from which on they understand it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::level::has_hooks;
use super::{FeatureLevel, SqlState, State};
use crate::model::{
    ClusterName, DurabilityChange, Forced, InstanceId, Loss, SqlCopy, Switchover, Timeline,
    WalPosition,
};

/// From this level on, clusters without agents stand at the end.
pub(super) const SQL_ONLY: u32 = 2;
/// From this level on, what operators said stands behind them.
pub(super) const DIRECTIVES: u32 = 3;
/// From this level on, what became of the user's programs stands behind that.
pub(super) const HOOKS: u32 = 4;
/// From this level on, which copies of the data the members of clusters without agents hold stands behind that.
pub(super) const COPIES: u32 = 4;

/// From this level on, what was asked of clusters with agents stands behind that, by cluster.
pub(super) const SWITCHOVERS: u32 = 4;
/// From this level on, what a change of primary may have lost stands in that, too.
pub(super) const VERDICTS: u32 = 4;
/// From this level on, how much clusters matter stands behind what was asked of them.
pub(super) const PRIORITIES: u32 = 4;

/// From this level on, what durability was asked for stands in that, too.
pub(super) const DURABILITIES: u32 = 4;

type Copies = BTreeMap<ClusterName, BTreeMap<InstanceId, SqlCopy>>;

fn has_sql(level: FeatureLevel) -> bool {
    level.number() >= SQL_ONLY
}

fn has_directives(level: FeatureLevel) -> bool {
    level.number() >= DIRECTIVES
}

fn has_copies(level: FeatureLevel) -> bool {
    level.number() >= COPIES
}

fn has_switchovers(level: FeatureLevel) -> bool {
    level.number() >= SWITCHOVERS
}

fn has_priorities(level: FeatureLevel) -> bool {
    level.number() >= PRIORITIES
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
            hooks,
        } = self;
        let has = [
            has_sql(*level),
            has_directives(*level),
            has_hooks(*level),
            has_copies(*level),
            has_switchovers(*level),
            has_priorities(*level),
        ];
        let parts = 4 + has.into_iter().filter(|it| *it).count();
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
        if has_hooks(*level) {
            written.serialize_element(hooks)?;
        }
        if has_copies(*level) {
            let of = |(name, state): (&ClusterName, &SqlState)| {
                (name.clone(), state.cluster.copies.clone())
            };
            let copies: Copies = sql.iter().map(of).collect();
            written.serialize_element(&copies)?;
        }
        if has_switchovers(*level) {
            let asked = clusters.iter().map(|(name, it)| {
                let cluster = &it.cluster;
                let switchover = cluster.switchover.as_ref();
                let (forced, forsaken) = (cluster.forced.as_ref(), &cluster.forsaken);
                let loss = cluster.loss.as_ref();
                let durability = cluster.durability_change.as_ref();
                (name, (switchover, forced, forsaken, loss, durability))
            });
            let none = &BTreeMap::new();
            let asked = asked.filter(|(_, it)| *it != (None, None, none, None, None));
            written.serialize_element(&asked.collect::<BTreeMap<_, _>>())?;
        }
        if has_priorities(*level) {
            written.serialize_element(&directives.priorities)?;
        }
        written.end()
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<State, D::Error> {
        from.deserialize_tuple(10, Parts)
    }
}

/// What was asked of one cluster, and what its last change of primary may have lost.
type Asked = (
    Option<Switchover>,
    Option<Forced>,
    BTreeMap<Timeline, WalPosition>,
    Option<Loss>,
    Option<DurabilityChange>,
);

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
        if has_hooks(state.level) {
            state.hooks = part(&mut parts, 6)?;
        }
        if has_copies(state.level) {
            let copies: Copies = part(&mut parts, 7)?;
            for (name, copies) in copies {
                if let Some(state) = state.sql.get_mut(&name) {
                    state.cluster.copies = copies;
                }
            }
        }
        if has_switchovers(state.level) {
            let asked: BTreeMap<ClusterName, Asked> = part(&mut parts, 8)?;
            for (name, (switchover, forced, forsaken, loss, durability)) in asked {
                let known = state.clusters.get_mut(&name);
                let of = known.ok_or_else(|| {
                    A::Error::custom(format_args!("something was asked of no cluster, {name}"))
                })?;
                of.cluster.switchover = switchover;
                of.cluster.forced = forced;
                of.cluster.forsaken = forsaken;
                of.cluster.loss = loss;
                of.cluster.durability_change = durability;
            }
        }
        if has_priorities(state.level) {
            state.directives.priorities = part(&mut parts, 9)?;
        }
        Ok(state)
    }
}
