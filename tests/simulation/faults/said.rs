//! What operators say in the middle of it all.

use std::time::Duration;

use primacy::model::PromotionRule;
use primacy::state::{Directive, NewHold};

use crate::host::TICK;
use crate::world::World;

/// Somebody switches automation off for so many ticks, of one instance or of the cluster.
pub(super) fn hold(world: &mut World, host: Option<usize>, ticks: u64) {
    let hold = NewHold {
        length: Duration::from_millis(ticks * TICK),
        owner: "somebody".to_owned(),
        reason: "work".to_owned(),
    };
    let cluster = world.name();
    world.direct(match host {
        None => Directive::Pause {
            cluster: Some(cluster),
            hold,
        },
        Some(host) => Directive::Downtime {
            cluster,
            instance: world.hosts[host].id.clone(),
            hold,
        },
    });
}

/// From now on a failover keeps another one off for so many ticks.
pub(super) fn block(world: &mut World, ticks: Option<u64>) {
    let change = Directive::Block {
        cluster: world.name(),
        period: ticks.map(|ticks| Duration::from_millis(ticks * TICK)),
    };
    world.direct(change);
}

/// Somebody gives an instance a promotion rule, for so many ticks.
pub(super) fn rule(world: &mut World, host: usize, rule: PromotionRule, ticks: Option<u64>) {
    let change = Directive::Rule {
        cluster: world.name(),
        instance: world.hosts[host].id.clone(),
        rule,
        length: ticks.map(|ticks| Duration::from_millis(ticks * TICK)),
    };
    world.direct(change);
}

/// Nothing is switched off any more, and no rule is left.
pub(super) fn resume(world: &mut World) {
    let cluster = world.name();
    world.direct(Directive::Resume {
        cluster: Some(cluster.clone()),
    });
    block(world, None);
    for host in 0..world.hosts.len() {
        let instance = world.hosts[host].id.clone();
        let cluster = cluster.clone();
        world.direct(Directive::Uptime { cluster, instance });
        rule(world, host, PromotionRule::Neutral, None);
    }
}
