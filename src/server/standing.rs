//! Since when each finding stands. Known by the leader alone, from when it began to lead: it looks all the time, and
//! nothing of it is recorded.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::decision::Finding;
use crate::decision::sql_only::SqlFinding;
use crate::model::{ClusterName, InstanceId, Timestamp};

/// A finding that is not made for this long is over. One that is made again sooner was only in doubt: the answers of other
/// peers are trusted for half a second, and then asked for again.
const OVER_AFTER: Duration = Duration::from_secs(2);

/// What stands: a code, and whom it is about if it can be about several.
pub type Key = (&'static str, Option<InstanceId>);

#[derive(Debug, Clone, Copy)]
struct Stands {
    /// In wall milliseconds.
    since: u64,
    seen_at: Timestamp,
}

/// What stands, by cluster. A short lock that is never held across an await.
#[derive(Debug, Default)]
pub struct Standing(Mutex<BTreeMap<ClusterName, BTreeMap<Key, Stands>>>);

/// Of a finding about a cluster with agents.
pub fn key(finding: &Finding) -> Key {
    (finding.code(), finding.subject().cloned())
}

/// Of a finding about a cluster without.
pub fn key_over_sql(finding: &SqlFinding) -> Key {
    (finding.code(), finding.subject().cloned())
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, BTreeMap<Key, Stands>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is found at `now`, which is `wall` in wall milliseconds.
    pub(super) fn note(
        &self,
        cluster: &ClusterName,
        findings: impl IntoIterator<Item = Key>,
        now: Timestamp,
        wall: u64,
    ) {
        let mut all = self.lock();
        let mut findings = findings.into_iter().peekable();
        if findings.peek().is_none() && !all.contains_key(cluster) {
            return;
        }
        let stands = all.entry(cluster.clone()).or_default();
        for finding in findings {
            let new = Stands {
                since: wall,
                seen_at: now,
            };
            stands.entry(finding).or_insert(new).seen_at = now;
        }
        stands.retain(|_, it| now.since(it.seen_at) < OVER_AFTER);
        if stands.is_empty() {
            all.remove(cluster);
        }
    }

    /// Since when the finding stands, in wall milliseconds; none if that is not known here.
    pub fn since(&self, cluster: &ClusterName, finding: &Key) -> Option<u64> {
        let all = self.lock();
        let stands = all.get(cluster)?.get(finding)?;
        Some(stands.since)
    }

    /// Forgets a cluster: it is looked after no longer.
    pub(super) fn forget(&self, cluster: &ClusterName) {
        self.lock().remove(cluster);
    }

    /// Forgets everything: another peer leads.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diverged(name: &str) -> Finding {
        Finding::DivergedStandby {
            instance: InstanceId::new(name).unwrap(),
            at: None,
            says: None,
        }
    }

    #[test]
    fn a_finding_stands_since_it_was_first_made_until_it_is_not_made_for_a_while() {
        let standing = Standing::default();
        let demo = ClusterName::new("demo").unwrap();
        let note = |at: u64, findings: &[Finding]| {
            let findings = findings.iter().map(key);
            standing.note(&demo, findings, Timestamp(at), 1_000_000 + at);
        };
        let since = |name| standing.since(&demo, &key(&diverged(name)));
        note(0, &[]);
        assert_eq!(since("a"), None);
        note(10, &[diverged("a")]);
        note(500, &[diverged("a"), diverged("b")]);
        assert_eq!((since("a"), since("b")), (Some(1_000_010), Some(1_000_500)));
        note(900, &[diverged("b")]);
        note(1_500, &[diverged("a"), diverged("b")]);
        assert_eq!(since("a"), Some(1_000_010), "it was only in doubt");
        note(3_500, &[diverged("b")]);
        assert_eq!(since("a"), None);
        note(3_600, &[diverged("a")]);
        assert_eq!(since("a"), Some(1_003_600));
        standing.clear();
        assert_eq!((since("a"), since("b")), (None, None));
    }
}
