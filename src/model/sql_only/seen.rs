//! What is seen of instances without agents: looks, what they say of an instance, and all of it at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::directive::InForce;
use crate::model::ids::InstanceId;
use crate::model::replication::{InstanceFacts, Position, Role};
use crate::model::time::Timestamp;
use crate::model::view::Failure;
use crate::model::wal::{Lsn, WalPosition};

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
    /// What was seen, if somebody answered.
    pub fn facts(&self) -> Option<&InstanceFacts> {
        match self {
            Outcome::Facts(facts) => Some(facts),
            Outcome::Refused(_) | Outcome::Gone(_) | Outcome::Unclear(_) => None,
        }
    }

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
pub const LOOK_FRESH_FOR: Duration = Duration::from_secs(2);
/// Two looks speak for a dead server only if they began so far apart: one is a coincidence.
pub const LOOKS_APART: Duration = Duration::from_millis(50);

/// How it is known that a disk confirms no write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// The end of the log that was confirmed last.
    pub flushed: Lsn,
    /// The words of the refusal; none if a write does not come back.
    pub refusal: Option<String>,
}

/// Through so many starts an instance is known to have been watched.
const STARTS: usize = 4;

/// What is known of one instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SqlSighting {
    /// The newest look.
    pub last: Option<Look>,
    /// When the first of the looks began of which none found anybody since; none after one that did.
    pub gone_since: Option<Timestamp>,
    /// The last facts, and when that look began.
    pub facts: Option<(Timestamp, Arc<InstanceFacts>)>,
    /// When the second look in a row began that showed the same server over the same copy and on the same side of recovery:
    /// from then on it was. None before that.
    pub same_since: Option<Timestamp>,
    /// The furthest end of a record that it was seen to have on its disk, over the copy that it holds: as a standby what it had
    /// received or applied, as a primary what it had flushed. One that holds less is another copy, whatever its mark, or has
    /// not read yet all that it has.
    pub floor: Option<WalPosition>,
    /// When the servers started that were seen over that copy, the newest first: through these starts the floor holds.
    pub starts: [Option<u64>; STARTS],
    /// Where each primary ended that was seen since `same_since`, in the first look of it that began since then. It stays, so
    /// that a standby comes as far one day, however far behind it is.
    pub goals: BTreeMap<InstanceId, WalPosition>,
    /// The last step that it did not carry out.
    pub failure: Option<Failure>,
}

impl SqlSighting {
    /// Notes a look. Answers whether it tells something else than the one before.
    pub fn note(&mut self, look: Look) -> bool {
        let before = self.last.as_ref();
        let is_news = before.is_none_or(|it| look.outcome.is_news_after(&it.outcome));
        match &look.outcome {
            Outcome::Facts(facts) => {
                self.gone_since = None;
                self.note_facts(look.at, facts);
            }
            Outcome::Gone(_) => {
                self.gone_since.get_or_insert(look.at);
            }
            Outcome::Refused(_) | Outcome::Unclear(_) => self.gone_since = None,
        }
        self.last = Some(look);
        is_news
    }

    fn note_facts(&mut self, at: Timestamp, facts: &Arc<InstanceFacts>) {
        let before = self.facts.replace((at, facts.clone()));
        let before = before.map(|(_, before)| before);
        let is_same = before.as_ref().is_some_and(|it| facts.is_same_server(it));
        self.same_since = is_same.then(|| self.same_since.unwrap_or(at));
        if !is_same {
            self.goals.clear();
        }
        // While a server runs on, so does its copy, whatever becomes of its mark.
        let is_another = |it: &InstanceFacts| {
            it.started != facts.started && (it.copy != facts.copy || facts.copy.is_none())
        };
        if before.is_some_and(|it| is_another(&it)) {
            (self.floor, self.starts) = (None, [None; STARTS]);
        }
        if self.starts[0] != Some(facts.started) {
            self.starts.rotate_right(1);
            self.starts[0] = Some(facts.started);
        }
        let applied = match &facts.status.applied {
            Some(Position::Wal(applied)) if facts.role.is_in_recovery() => Some(*applied),
            _ => None,
        };
        let flushed = match facts.role.is_in_recovery() {
            true => end_of(facts),
            false => facts.flushed(),
        };
        let flushed = flushed.filter(|it| ends_a_record(it.lsn));
        self.floor = self.floor.max(applied).max(flushed);
    }

    /// Whether it was watched from the server on that started then, over the copy that it holds now, and so what it held.
    pub fn is_watched_since(&self, started: u64) -> bool {
        self.floor.is_some() && self.starts.contains(&Some(started))
    }

    /// The place that it was seen to have reached before, if `end` is short of that on the same timeline.
    pub fn fell_from(&self, end: WalPosition) -> Option<WalPosition> {
        let is_above = |floor: &WalPosition| floor.timeline == end.timeline && *floor > end;
        self.floor.filter(is_above)
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

/// The least that a page of WAL can be.
const PAGE: u64 = 1024;

/// Whether a record ends where WAL was flushed or received up to. PostgreSQL flushes and sends up to the end of a record, or
/// whole pages; behind the end of a page the rest of a record may be missing, and whoever is started again without it is at the
/// end of the record before.
fn ends_a_record(flushed: Lsn) -> bool {
    !flushed.0.is_multiple_of(PAGE)
}

/// Notes a look at one instance of a cluster. Answers whether it tells something else than the one before.
pub fn note(all: &mut BTreeMap<InstanceId, SqlSighting>, of: &InstanceId, look: Look) -> bool {
    if !all.contains_key(of) {
        all.insert(of.clone(), SqlSighting::default());
    }
    let known = all.get_mut(of).expect("it is there now");
    let facts = look.outcome.facts();
    let end = facts.filter(|it| it.role == Role::Primary).and_then(end_of);
    let (at, was_seen) = (look.at, facts.is_some());
    let is_news = known.note(look);
    let is_another = was_seen && known.same_since.is_none();
    for (_, seen) in all.iter_mut().filter(|(id, _)| *id != of) {
        if is_another {
            seen.goals.remove(of);
        }
        if let (Some(end), Some(since)) = (end, seen.same_since)
            && at >= since
            && !seen.goals.contains_key(of)
        {
            seen.goals.insert(of.clone(), end);
        }
    }
    is_news
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
    /// How many of the other voters said that an instance is gone, and when the first of
    /// them did.
    pub gone: BTreeMap<InstanceId, (Timestamp, usize)>,
    /// Primaries whose disk confirms no write, as far as this peer has tried.
    pub stalled: BTreeMap<InstanceId, Stall>,
    /// What instances lack that a failover needs there, as far as this peer has asked; nobody who lacks nothing.
    pub lacks: BTreeMap<InstanceId, Vec<String>>,
    /// Whether every peer understands what is recorded of copies.
    pub may_record_copies: bool,
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
