//! What is said before the primary dies agrees with what then happens.

use primacy::decision::explain;
use primacy::model::{Durability, InstanceId, PromotionRule, Reads};
use primacy::state::Directive;

use crate::host::TICK;
use crate::invariants::is_healthy;
use crate::world::World;

/// Longer than any lease that is waited for, and an election.
const SOON: u64 = 15_000 / TICK;

/// A cluster that has served for a while, with some of its standbys gone. Where nobody writes any more, so that what was
/// reported is what is, others must not be promoted.
fn settled(seed: u64, members: usize, durability: Durability, is_quiet: bool) -> World {
    let mut world = World::new(seed, members, durability, Reads::Fast);
    for _ in 0..40_000 / TICK {
        world.tick();
        if world.now > 10_000 / TICK && is_healthy(&world) {
            break;
        }
    }
    assert!(is_healthy(&world), "seed {seed}");
    for host in 1..members {
        match world.random.below(4) {
            0 => {
                world.kill_agent(host);
                world.hosts[host].postgres = None;
            }
            1 if is_quiet => {
                let change = Directive::Rule {
                    cluster: world.name(),
                    instance: world.hosts[host].id.clone(),
                    rule: PromotionRule::MustNot,
                    length: None,
                };
                world.direct(change);
            }
            _ => {}
        }
    }
    world.is_quiet = is_quiet;
    // Until it is known, and forgotten that it was otherwise.
    for _ in 0..3_000 / TICK {
        world.tick();
    }
    world
}

#[test]
fn what_is_explained_is_what_happens() {
    let (mut failed_over, mut stayed) = (0, 0);
    for seed in 1..=80 {
        let is_quiet = seed % 2 == 0;
        let quorum = |standbys| Durability::Quorum { standbys };
        let shapes = [
            (3, quorum(1)),
            (5, quorum(2)),
            (3, Durability::Async),
            (5, quorum(1)),
            (2, quorum(1)),
        ];
        let (members, durability) = shapes[seed as usize / 2 % shapes.len()];
        let mut world = settled(seed, members, durability, is_quiet);
        let primary = world.cluster().cluster.primary.clone();
        let old = world
            .hosts
            .iter()
            .position(|it| Some(&it.id) == primary.as_ref())
            .expect("it serves");
        let epoch = world.cluster().cluster.epoch;
        let said = world.explain(explain::failover).expect("somebody leads");
        let reported = world.reported(old);
        let end = world.hosts[old].disk.end();
        world.kill_agent(old);
        world.hosts[old].postgres = None;
        let until = world.now + SOON;
        let mut elected = None;
        while world.now < until && elected.is_none() {
            world.tick();
            let state = world.cluster();
            let is_new = state.cluster.epoch > epoch && state.is_established();
            elected = state.cluster.primary.clone().filter(|_| is_new);
        }
        let shown = || format!("seed {seed}, {durability}: said {said:?}, elected {elected:?}");
        let Ok(to) = &said.outcome else {
            assert_eq!(elected, None, "{}", shown());
            stayed += 1;
            continue;
        };
        let elected = elected.as_ref().unwrap_or_else(|| panic!("{}", shown()));
        failed_over += 1;
        // An equal one may come first by then: it had no need to be stopped, or was sent more meanwhile.
        let host_of = |id: &InstanceId| world.hosts.iter().find(|it| it.id == *id).expect("one");
        let forks = |id: &InstanceId| host_of(id).disk.left_at.get(&end.timeline).copied();
        let at = forks(elected).expect("it left the old timeline").0;
        let announced = said.candidates.iter().find(|it| it.instance == *to);
        let announced = announced.and_then(|it| it.at).map_or(0, |it| it.lsn.0);
        assert!(elected == to || at >= announced, "{}", shown());
        let lost = end.lsn.0.saturating_sub(at);
        let since = end.lsn.0 - reported;
        match said.loss_bytes {
            Some(bytes) if durability == Durability::Async => {
                assert!(lost <= bytes + since, "lost {lost}; {}", shown());
            }
            bytes => assert_eq!(bytes, Some(0), "{}", shown()),
        }
    }
    println!("{failed_over} failed over, {stayed} stayed without a primary, as was said");
    assert!(failed_over >= 10 && stayed >= 10);
}
