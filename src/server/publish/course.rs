//! What one target still has to be told, and when it is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{NEWS_FOR, Target, tell};
use crate::clock;
use crate::model::{ClusterName, Timestamp};
use crate::server::{Peer, expect_no_panic};
use crate::state::PublishedPrimary;

/// A target is told of so many clusters at once.
const AT_ONCE: usize = 8;
/// From a failure to the next attempt; twice as long each time, up to the last.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(60);
/// From one look at the record to the next.
const BREATH: Duration = Duration::from_millis(50);
/// It is looked whether anything is due at least so often.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a target was told.
#[derive(Debug, Default)]
struct Course {
    told: BTreeMap<ClusterName, PublishedPrimary>,
    /// How often it failed since it was told last, and when it is tried again.
    failed: BTreeMap<ClusterName, (u32, Timestamp)>,
    under_way: BTreeSet<ClusterName>,
}

impl Course {
    /// Those of which it is to be told now, as many as may be under way.
    fn due(
        &self,
        primaries: &BTreeMap<ClusterName, PublishedPrimary>,
        now: Timestamp,
    ) -> Vec<ClusterName> {
        let is_new = |name: &ClusterName, primary: &PublishedPrimary| {
            let told = self.told.get(name);
            told.is_none_or(|told| !told.tells_the_same_as(primary))
        };
        let is_due = |name: &ClusterName| self.failed.get(name).is_none_or(|(_, at)| *at <= now);
        let wanted = primaries.iter().filter(|(name, primary)| {
            !self.under_way.contains(*name) && is_due(name) && is_new(name, primary)
        });
        let room = AT_ONCE.saturating_sub(self.under_way.len());
        wanted.map(|(name, _)| name.clone()).take(room).collect()
    }

    /// The time to the next attempt.
    fn pause(&self, now: Timestamp) -> Duration {
        let next = self.failed.values().map(|(_, at)| at.since(now));
        // One that is due and has no room waits for another one to end.
        let next = next.filter(|left| !left.is_zero()).min();
        next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)
    }

    fn note(
        &mut self,
        name: ClusterName,
        told: Result<Option<PublishedPrimary>, ()>,
        now: Timestamp,
    ) {
        self.under_way.remove(&name);
        match told {
            Ok(told) => {
                self.failed.remove(&name);
                if let Some(told) = told {
                    self.told.insert(name, told);
                }
            }
            Err(()) => {
                let (times, at) = self.failed.entry(name).or_insert((0, now));
                let wait = AGAIN_AFTER.saturating_mul(1 << (*times).min(6));
                *times += 1;
                *at = now.after(wait.min(AGAIN_AFTER_AT_MOST));
            }
        }
    }
}

/// What is told to a webhook: nothing that is long past.
fn is_news(target: &Target, primary: &PublishedPrimary, wall: u64) -> bool {
    match target {
        Target::Consul(_) => true,
        Target::Webhook(_) => wall.saturating_sub(primary.since) <= NEWS_FOR.as_millis() as u64,
    }
}

/// Tells a target of every primary, and of every new one.
pub(super) async fn run(peer: Arc<Peer>, target: Arc<Target>) {
    let mut watch = peer.consensus.watch();
    let mut course = Course::default();
    let mut tasks = JoinSet::new();
    loop {
        watch.mark_unchanged();
        let (now, wall) = (clock::monotonic(), clock::wall_millis());
        let primaries: BTreeMap<ClusterName, PublishedPrimary> = peer.consensus.read(|state| {
            let all = state.all_published();
            let news = all.filter(|(_, it)| is_news(&target, it, wall));
            news.map(|(name, it)| (name.clone(), it)).collect()
        });
        course.failed.retain(|name, _| primaries.contains_key(name));
        for name in course.due(&primaries, now) {
            course.under_way.insert(name.clone());
            let (peer, target) = (peer.clone(), target.clone());
            tasks.spawn(async move {
                let told = tell(&peer, &target, &name).await;
                match &told {
                    Ok(_) => peer.publisher.note_success(&target, &name),
                    Err(why) => peer.publisher.note_failure(&target, &name, why),
                }
                (name, told.map_err(drop))
            });
        }
        tokio::select! {
            changed = watch.changed() => {
                if changed.is_err() {
                    return;
                }
                // Many entries are applied at once, and each look holds them up.
                sleep(BREATH).await;
            }
            Some(ended) = tasks.join_next() => if let Some((name, told)) = expect_no_panic(ended) {
                course.note(name, told, clock::monotonic());
            },
            () = sleep(course.pause(now)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Epoch, InstanceId, Timeline};
    use crate::server::config::{Consul, Webhook};

    fn primary(epoch: u64) -> PublishedPrimary {
        PublishedPrimary {
            instance: InstanceId::new("a").unwrap(),
            address: Address {
                host: "a".to_owned(),
                port: 1,
            },
            epoch: Epoch(epoch),
            timeline: Timeline(1),
            since: 1_000,
        }
    }

    fn name(text: &str) -> ClusterName {
        ClusterName::new(text).unwrap()
    }

    #[test]
    fn each_is_told_once_and_again_when_it_changes_or_failed() {
        let mut course = Course::default();
        let primaries = |epoch| BTreeMap::from([(name("x"), primary(epoch))]);
        let now = Timestamp(1_000);
        assert_eq!(course.due(&primaries(1), now), [name("x")]);
        course.under_way.insert(name("x"));
        assert_eq!(course.due(&primaries(1), now), []);
        course.note(name("x"), Ok(Some(primary(1))), now);
        assert_eq!(course.due(&primaries(1), now), []);
        assert_eq!(course.due(&primaries(2), now), [name("x")]);
        course.note(name("x"), Err(()), now);
        assert_eq!(course.due(&primaries(2), now), []);
        assert_eq!(course.pause(now), AGAIN_AFTER);
        let later = now.after(AGAIN_AFTER);
        assert_eq!(course.due(&primaries(2), later), [name("x")]);
        for _ in 0..99 {
            course.note(name("x"), Err(()), later);
        }
        assert_eq!(course.pause(later), AGAIN_AFTER_AT_MOST);
        // It had no primary when its turn came.
        course.note(name("x"), Ok(None), later);
        assert_eq!(course.due(&primaries(2), later), [name("x")]);
    }

    #[test]
    fn only_so_many_are_told_of_at_once() {
        let course = Course::default();
        let names = (0..99).map(|number| name(&format!("x{number}")));
        let primaries = names.map(|name| (name, primary(1))).collect();
        assert_eq!(course.due(&primaries, Timestamp(0)).len(), AT_ONCE);
    }

    #[test]
    fn a_webhook_is_told_news_alone() {
        let url = "http://h/".parse().unwrap();
        let consul = Target::Consul(Consul {
            url,
            token_file: None,
        });
        let webhook = Target::Webhook(Webhook::to("http://h/".parse().unwrap()));
        let old = 1_001 + NEWS_FOR.as_millis() as u64;
        assert!(is_news(&consul, &primary(1), old));
        assert!(is_news(&webhook, &primary(1), old - 1));
        assert!(!is_news(&webhook, &primary(1), old));
    }
}
