//! Many clusters lose the same zone: so many at once are given a new primary, the most important first, and all in the end.
//! Each cluster is a world of its own, with hosts, agents and peers; they share the turns of one leader.

use std::sync::{Arc, Mutex};

use primacy::decision::Finding;
use primacy::decision::turns::{Course, Stand, Turns};
use primacy::model::{ClusterName, Durability, Epoch, Priority, Reads, Timestamp};
use primacy::state::{Change, Directive};

use crate::host::TICK;
use crate::invariants::is_healthy;
use crate::world::World;

const CLUSTERS: usize = 200;
const LIMIT: usize = 16;
/// Every cluster has come to rest by then.
const SETTLED: u64 = 15_000 / TICK;
/// All are given a new primary within this, the waits for their turns included.
const WITHIN: u64 = 60_000 / TICK;
/// A proposal is on its way for so long at most after it was decided.
const ON_ITS_WAY: u64 = 100 / TICK;

/// The world of this seed, or of a later one, that is at rest at that moment: all of them have one clock.
fn settled(seed: u64) -> World {
    for seed in (seed..).step_by(CLUSTERS) {
        let mut world = World::new(seed, 3, Durability::Quorum { standbys: 1 }, Reads::Fast);
        while world.now < SETTLED {
            world.tick();
        }
        if is_healthy(&world) {
            return world;
        }
    }
    unreachable!("some world is at rest")
}

/// One cluster, and how far it is.
struct One {
    world: World,
    priority: i16,
    /// Whether it lost its primary, and not a standby.
    is_struck: bool,
    epoch: Epoch,
    /// Since when it has said that it waits for its turn.
    waits_since: Option<u64>,
    began_at: Option<u64>,
    ended_at: Option<u64>,
}

impl One {
    /// Some matter more than others. Every tenth has its primary in another zone.
    fn new(number: usize, turns: &Arc<Mutex<Turns>>, all_alike: bool) -> One {
        let mut world = settled(number as u64 + 1);
        let priority = [0, 20, -10, 0, 50][number % 5];
        if priority != 0 && !all_alike {
            let cluster = world.name();
            let priority = Priority(priority);
            world.direct(Directive::Priority { cluster, priority });
        }
        let name = ClusterName::new(&format!("c{number}")).expect("a valid name");
        world.turns = Some((name, turns.clone()));
        let primary = world.cluster().cluster.primary.clone().expect("it serves");
        let of = |is_primary: bool| {
            let hosts = world.hosts.iter();
            let mut hosts = hosts.filter(|it| (it.id == primary) == is_primary);
            hosts.next().expect("there is one").index
        };
        let is_struck = number % 10 != 9;
        let lost = of(is_struck);
        // Half of them are seen to end, and half fall silent.
        match number % 2 {
            0 => {
                world.kill_agent(lost);
                world.hosts[lost].postgres = None;
            }
            _ => world.hosts[lost].lose_power(),
        }
        One {
            priority,
            is_struck,
            epoch: world.cluster().cluster.epoch,
            world,
            waits_since: None,
            began_at: None,
            ended_at: None,
        }
    }

    fn runs(&self) -> bool {
        Course::recorded(self.world.cluster()) == Course::Runs
    }

    fn tick(&mut self) {
        self.world.tick();
        let now = self.world.now;
        let waits = |it: &Finding| matches!(it, Finding::WaitsForTurn { .. });
        self.waits_since = match self.world.plan.findings.iter().any(waits) {
            true => self.waits_since.or(Some(now)),
            false => None,
        };
        let state = self.world.cluster();
        if state.cluster.epoch > self.epoch {
            self.began_at.get_or_insert(now);
            if state.is_established() {
                self.ended_at.get_or_insert(now);
            }
        }
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    most_at_once: usize,
    /// How many clusters had a new primary in the end, and how many had lost theirs.
    ended: usize,
    struck: usize,
    /// How many waited for their turn at some time.
    waited: usize,
    wrong: Vec<String>,
    took: u64,
}

/// A zone is lost in which nearly all have their primaries; another peer leads when a third of them has a new one. Ends with
/// what is wrong first.
fn lose_a_zone(limit: usize, all_alike: bool) -> Seen {
    let turns = Arc::new(Mutex::new(Turns::new(limit)));
    let build = |numbers: Vec<usize>| -> Vec<One> {
        let new = |number| One::new(number, &turns, all_alike);
        numbers.into_iter().map(new).collect()
    };
    let mut all = build((0..CLUSTERS).collect());
    let mut seen = Seen::default();
    let mut waited = vec![false; CLUSTERS];
    let mut had_another_leader = false;
    for tick in 0..WITHIN {
        for one in &mut all {
            one.tick();
        }
        for (waited, one) in waited.iter_mut().zip(&all) {
            *waited |= one.waits_since.is_some();
        }
        let at_once = all.iter().filter(|it| it.runs()).count();
        seen.most_at_once = seen.most_at_once.max(at_once);
        if at_once > LIMIT {
            seen.wrong
                .push(format!("{at_once} at once, after {tick} ticks"));
        }
        let now = all[0].world.now;
        for begun in all.iter().filter(|it| it.began_at == Some(now)) {
            let more_important = all.iter().filter(|other| {
                let has_waited = other.waits_since.is_some_and(|at| now > at + ON_ITS_WAY);
                other.began_at.is_none() && has_waited && other.priority > begun.priority
            });
            if let count @ 1.. = more_important.count() {
                let priority = begun.priority;
                let why = format!("one of priority {priority} began before {count} others");
                seen.wrong.push(why);
            }
        }
        let ended = all.iter().filter(|it| it.ended_at.is_some()).count();
        if ended * 3 > CLUSTERS && !had_another_leader {
            had_another_leader = true;
            lead_anew(&turns, &mut all, limit);
        }
        seen.ended = ended;
        seen.took = tick * TICK;
        let is_over = |it: &One| !it.is_struck || it.ended_at.is_some() && !it.runs();
        if all.iter().all(is_over) || !seen.wrong.is_empty() {
            break;
        }
    }
    assert!(had_another_leader || !seen.wrong.is_empty());
    seen.struck = all.iter().filter(|it| it.is_struck).count();
    seen.waited = waited.into_iter().filter(|it| *it).count();
    for one in all
        .iter()
        .filter(|it| !it.is_struck && it.began_at.is_some())
    {
        let epoch = one.epoch;
        seen.wrong
            .push(format!("a healthy primary of {epoch} was replaced"));
    }
    seen
}

/// Another peer leads and knows what is recorded, and nothing else: what the one before had not recorded yet never is.
fn lead_anew(turns: &Arc<Mutex<Turns>>, all: &mut [One], limit: usize) {
    let mut new = Turns::new(limit);
    for one in all {
        let begins = |change: &Change| matches!(change, Change::Begin { .. });
        one.world.proposals.retain(|(_, _, change)| !begins(change));
        let state = one.world.cluster();
        let stand = Stand {
            course: Course::recorded(state),
            order: state.order(),
            priority: one.world.said().priority,
        };
        let (name, _) = one.world.turns.as_ref().expect("all have some");
        new.expect(name, stand, Timestamp(one.world.now * TICK));
    }
    *turns.lock().expect("no panic") = new;
}

#[test]
fn two_hundred_clusters_that_lose_a_zone_keep_the_limit_and_the_order() {
    let seen = lose_a_zone(LIMIT, false);
    println!("{seen:?}");
    assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
    assert_eq!((seen.ended, seen.struck), (180, 180), "all end");
    assert_eq!(seen.most_at_once, LIMIT, "no place is left empty");
    assert!(seen.waited > CLUSTERS / 2);
}

#[test]
fn a_limit_that_is_ignored_is_noticed() {
    let seen = lose_a_zone(usize::MAX, false);
    println!("at once: {}, within {} ms", seen.most_at_once, seen.took);
    assert!(seen.wrong.iter().any(|it| it.contains("at once")));
}

#[test]
fn an_order_that_is_ignored_is_noticed() {
    let seen = lose_a_zone(LIMIT, true);
    println!("within {} ms; {}", seen.took, seen.wrong.len());
    assert!(seen.wrong.iter().any(|it| it.contains("began before")));
}
