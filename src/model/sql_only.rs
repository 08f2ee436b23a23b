//! Clusters without agents: what is recorded of one, and what a peer sees of it over SQL.
//!
//! Nothing here is a promise: over SQL alone a fence is a courtesy, and whoever was fenced may be let loose again by
//! anybody. So a fact counts for as long as it is seen, and no longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cluster::Address;
use super::directive::InForce;
use super::ids::{ClusterName, Epoch, InstanceId, SystemIdentifier};
use super::replication::{InstanceFacts, Position, Role};
use super::time::Timestamp;
use super::wal::{Lineage, WalPosition};

/// What has to keep an old primary from writing before another one is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceDemand {
    /// That it is asked to, where it can be reached.
    #[default]
    Courtesy,
    /// An agent. A cluster without one is then watched and never failed over.
    Required,
}

impl FenceDemand {
    /// One word for the API.
    pub fn name(self) -> &'static str {
        match self {
            FenceDemand::Courtesy => "courtesy",
            FenceDemand::Required => "required",
        }
    }
}

/// Whose flush a commit waits for, as the primary was seen to have it. Never stronger than what any of its processes may
/// still go by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncRule {
    /// Nobody's.
    Async,
    /// Any so many of these.
    Any {
        /// W, at least 1.
        acks: u8,
        /// The standbys that may be counted; the primary is none of them.
        voters: BTreeSet<InstanceId>,
        /// How many more are named that nobody knows: each may hold what was acknowledged.
        unknown: u32,
    },
    /// Standbys that cannot be named, so that nothing can be proven.
    Unclear {
        /// Why, and what to do.
        why: String,
    },
}

impl SyncRule {
    /// The weaker of two: what a commit was acknowledged under whichever of them was in force.
    #[must_use]
    pub fn or(&self, other: &SyncRule) -> SyncRule {
        match (self, other) {
            (SyncRule::Unclear { .. }, _) => self.clone(),
            (_, SyncRule::Unclear { .. }) => other.clone(),
            (SyncRule::Async, _) | (_, SyncRule::Async) => SyncRule::Async,
            (
                SyncRule::Any {
                    acks,
                    voters,
                    unknown,
                },
                SyncRule::Any {
                    acks: others,
                    voters: more,
                    unknown: besides,
                },
            ) => SyncRule::Any {
                acks: (*acks).min(*others),
                voters: voters.union(more).cloned().collect(),
                unknown: (*unknown).max(*besides),
            },
        }
    }

    /// Those that may be counted.
    pub fn voters(&self) -> BTreeSet<InstanceId> {
        match self {
            SyncRule::Any { voters, .. } => voters.clone(),
            SyncRule::Async | SyncRule::Unclear { .. } => BTreeSet::new(),
        }
    }
}

impl fmt::Display for SyncRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncRule::Async => f.write_str("async"),
            SyncRule::Any { acks, .. } => write!(f, "quorum {acks}"),
            SyncRule::Unclear { .. } => f.write_str("unclear"),
        }
    }
}

/// One instance as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlMember {
    /// Where it answers SQL.
    pub address: Address,
    /// Under which name it was last seen to stream; none if it never was.
    pub application_name: Option<String>,
}

/// One cluster as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlCluster {
    /// Its chosen name.
    pub name: ClusterName,
    /// Its database history.
    pub system: SystemIdentifier,
    /// What has to keep an old primary from writing.
    pub fence: FenceDemand,
    /// Its instances. One that goes stays: it may hold what nobody else has.
    pub members: BTreeMap<InstanceId, SqlMember>,
    /// Whose flush commits waited for.
    pub rule: SyncRule,
    /// The highest epoch burnt.
    pub epoch: Epoch,
    /// The branches that led to that of the recorded primary, as far as they were seen.
    pub lineage: Lineage,
    /// The primary; none while another one is being chosen.
    pub primary: Option<InstanceId>,
    /// While no primary is recorded: who may be one all the same, the one of before and whoever was told to become one.
    pub suspects: BTreeSet<InstanceId>,
    /// Who was told to become the primary, and was seen neither to be it nor to be a standby since; each with the position
    /// that elected it. While another one is the primary, one of these that runs as one is deposed: the number of its
    /// timeline says nothing, because over SQL none can be allocated.
    pub told: BTreeMap<InstanceId, WalPosition>,
    /// Who was seen to run as a primary beside the one that serves, and not as a standby since: somebody's copy, or
    /// somebody's mistake. None of these becomes the primary because it is there.
    pub strays: BTreeSet<InstanceId>,
}

impl SqlCluster {
    /// The member that answers at an address.
    pub fn at(&self, address: &Address) -> Option<&InstanceId> {
        let mut members = self.members.iter();
        let found = members.find(|(_, member)| member.address == *address);
        found.map(|(id, _)| id)
    }
}

/// What came of asking an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It answered.
    Facts(Arc<InstanceFacts>),
    /// A live server refuses, in these words: no room, starting up, a wrong password.
    Refused(String),
    /// Nobody was there, or nobody said a first word.
    Gone(String),
    /// Nothing that says either: a name without an address, a session that broke off.
    Unclear(String),
}

/// One look at an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// When it began.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

impl Outcome {
    /// Whether it tells something else than `before`: anything but how far WAL has come since, and how long ago somebody
    /// was heard.
    pub fn is_news_after(&self, before: &Outcome) -> bool {
        match (self, before) {
            (Outcome::Facts(facts), Outcome::Facts(before)) => !facts.is_later_of(before),
            (Outcome::Refused(words), Outcome::Refused(before))
            | (Outcome::Unclear(words), Outcome::Unclear(before)) => words != before,
            // Of nobody there two are needed, so each is news.
            (
                Outcome::Facts(_) | Outcome::Refused(_) | Outcome::Gone(_) | Outcome::Unclear(_),
                _,
            ) => true,
        }
    }
}

/// What a peer thinks of an instance from its own looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    /// A server answered, if only with a refusal.
    Lives,
    /// Two looks in a row found nobody.
    Gone,
    /// Neither.
    Unsure,
}

/// A look says something for so long.
pub const LOOK_FRESH_FOR: Duration = Duration::from_millis(1500);
/// Two looks speak for a dead server only if they began so far apart: one is a coincidence.
pub const LOOKS_APART: Duration = Duration::from_millis(50);

/// What is known of one instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SqlSighting {
    /// The newest look.
    pub last: Option<Look>,
    /// When the first of the looks began of which none found anybody since; none after one that did.
    pub gone_since: Option<Timestamp>,
    /// The last facts, and when that look began.
    pub facts: Option<(Timestamp, Arc<InstanceFacts>)>,
    /// The last step that it did not carry out.
    pub failure: Option<super::view::Failure>,
}

impl SqlSighting {
    /// Notes a look. Answers whether it tells something else than the one before.
    pub fn note(&mut self, look: Look) -> bool {
        let before = self.last.as_ref();
        let is_news = before.is_none_or(|it| look.outcome.is_news_after(&it.outcome));
        match &look.outcome {
            Outcome::Facts(facts) => {
                self.gone_since = None;
                self.facts = Some((look.at, facts.clone()));
            }
            Outcome::Gone(_) => {
                self.gone_since.get_or_insert(look.at);
            }
            Outcome::Refused(_) | Outcome::Unclear(_) => self.gone_since = None,
        }
        self.last = Some(look);
        is_news
    }

    /// What was seen in its newest look, if that is fresh at `now` and brought facts.
    pub fn fresh(&self, now: Timestamp) -> Option<&Arc<InstanceFacts>> {
        let last = self.last.as_ref()?;
        match &last.outcome {
            Outcome::Facts(facts) if now.since(last.at) <= LOOK_FRESH_FOR => Some(facts),
            Outcome::Facts(_) | Outcome::Refused(_) | Outcome::Gone(_) | Outcome::Unclear(_) => {
                None
            }
        }
    }

    /// What its looks say at `now`.
    pub fn opinion(&self, now: Timestamp) -> Opinion {
        let Some(last) = &self.last else {
            return Opinion::Unsure;
        };
        if now.since(last.at) > LOOK_FRESH_FOR {
            return Opinion::Unsure;
        }
        match &last.outcome {
            Outcome::Facts(_) | Outcome::Refused(_) => Opinion::Lives,
            Outcome::Gone(_) => match self.gone_since {
                Some(since) if last.at.since(since) >= LOOKS_APART => Opinion::Gone,
                Some(_) | None => Opinion::Unsure,
            },
            Outcome::Unclear(_) => Opinion::Unsure,
        }
    }
}

/// Everything that a decision about one cluster may look at beside the record.
#[derive(Debug, Clone, Default)]
pub struct SqlView {
    /// The moment, on this peer's clock.
    pub now: Timestamp,
    /// How many voters there are among the peers, this one included.
    pub peers: usize,
    /// What operators said and is in force, by this peer's wall clock.
    pub directives: InForce,
    /// This peer's own sightings.
    pub instances: BTreeMap<InstanceId, SqlSighting>,
    /// How many of the other voters said that an instance is gone, and when they were asked.
    pub gone: BTreeMap<InstanceId, (Timestamp, usize)>,
    /// Since when what commits wait for was seen to be the same; none if it is not seen.
    pub rule_since: Option<Timestamp>,
    /// Since when this peer has known of no primary and no change of one; none while there is one.
    pub leaderless_since: Option<Timestamp>,
}

impl SqlView {
    /// What was seen of an instance in its newest look, if that is fresh and brought facts.
    pub fn fresh(&self, instance: &InstanceId) -> Option<&InstanceFacts> {
        let facts = self.instances.get(instance)?.fresh(self.now)?;
        Some(facts)
    }

    /// What this peer thinks of an instance.
    pub fn opinion(&self, instance: &InstanceId) -> Opinion {
        let seen = self.instances.get(instance);
        seen.map_or(Opinion::Unsure, |seen| seen.opinion(self.now))
    }

    /// How many peers, this one included, find nobody there; those of the others only while their word is fresh.
    pub fn gone_by(&self, instance: &InstanceId) -> usize {
        let own = usize::from(self.opinion(instance) == Opinion::Gone);
        let others = self.gone.get(instance);
        let fresh = others.filter(|(at, _)| self.now.since(*at) <= LOOK_FRESH_FOR);
        own + fresh.map_or(0, |(_, peers)| *peers)
    }

    /// Whether this peer and, with it, a majority find nobody there.
    pub fn is_dead(&self, instance: &InstanceId) -> bool {
        self.opinion(instance) == Opinion::Gone && self.gone_by(instance) * 2 > self.peers
    }
}

/// The end of what a standby has received, or a primary has written.
pub fn end_of(facts: &InstanceFacts) -> Option<WalPosition> {
    let at = match facts.role {
        Role::Primary => &facts.status.applied,
        Role::Standby | Role::Detached => &facts.status.received,
    };
    match at {
        Some(Position::Wal(at)) => Some(*at),
        Some(Position::MysqlGtid(_) | Position::MariadbGtid(_) | Position::Binlog { .. })
        | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: u64, outcome: Outcome) -> Look {
        Look {
            at: Timestamp(at),
            outcome,
        }
    }

    #[test]
    fn one_look_is_no_death_and_any_answer_is_life() {
        let gone = || Outcome::Gone("refused".to_owned());
        let refused = || Outcome::Refused("53300".to_owned());
        let mut seen = SqlSighting::default();
        assert_eq!(seen.opinion(Timestamp(0)), Opinion::Unsure);
        seen.note(look(100, gone()));
        assert_eq!(seen.opinion(Timestamp(120)), Opinion::Unsure);
        seen.note(look(120, gone()));
        assert_eq!(seen.opinion(Timestamp(120)), Opinion::Unsure, "too soon");
        seen.note(look(150, gone()));
        assert_eq!(seen.opinion(Timestamp(150)), Opinion::Gone);
        assert_eq!(seen.opinion(Timestamp(9150)), Opinion::Unsure, "stale");
        seen.note(look(200, refused()));
        assert_eq!(seen.opinion(Timestamp(200)), Opinion::Lives);
        seen.note(look(300, gone()));
        assert_eq!(seen.opinion(Timestamp(300)), Opinion::Unsure, "anew");
        seen.note(look(400, Outcome::Unclear("broke off".to_owned())));
        seen.note(look(450, gone()));
        assert_eq!(seen.opinion(Timestamp(450)), Opinion::Unsure);
    }

    #[test]
    fn a_refusal_is_news_once_and_nobody_there_each_time() {
        let refused = |words: &str| Outcome::Refused(words.to_owned());
        let gone = || Outcome::Gone("refused".to_owned());
        let mut seen = SqlSighting::default();
        for (at, outcome, is_news) in [
            (0, refused("53300"), true),
            (1, refused("53300"), false),
            (2, refused("57P03"), true),
            (3, gone(), true),
            (4, gone(), true),
            (5, Outcome::Unclear("broke off".to_owned()), true),
            (6, Outcome::Unclear("broke off".to_owned()), false),
        ] {
            assert_eq!(
                seen.note(look(at, outcome.clone())),
                is_news,
                "{at} {outcome:?}"
            );
        }
    }

    #[test]
    fn the_weaker_of_two_rules() {
        let any = |acks, names: &[&str]| SyncRule::Any {
            acks,
            voters: names
                .iter()
                .map(|name| InstanceId::new(name).unwrap())
                .collect(),
            unknown: 0,
        };
        let both = any(2, &["a", "b"]).or(&any(1, &["b", "c"]));
        assert_eq!(both, any(1, &["a", "b", "c"]));
        assert_eq!(any(1, &["a"]).or(&SyncRule::Async), SyncRule::Async);
    }
}
