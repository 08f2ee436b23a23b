//! What the peers say to this agent's claim to be the one of its instance.
//!
//! If two agents were given one identity, a peer keeps the one that it hears. A peer that was restarted knows
//! neither, and would take whoever comes first. So an agent that more peers turn away than welcome withdraws
//! from those that welcomed it, and offers itself to no other: the one that stood before gets them back.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// The last verdict of a peer, for as long as it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its session stands.
    Welcomed,
    /// Another agent of the instance is connected to it.
    TurnedAway,
}

/// The verdicts of all peers, shared by the sessions of one agent.
#[derive(Debug, Default)]
pub struct Claim {
    verdicts: watch::Sender<BTreeMap<usize, Verdict>>,
}

impl Claim {
    /// Notes what a peer says; none if it says nothing any more.
    pub fn note(&self, peer: usize, verdict: Option<Verdict>) {
        self.verdicts.send_if_modified(|verdicts| {
            let before = match verdict {
                Some(verdict) => verdicts.insert(peer, verdict),
                None => verdicts.remove(&peer),
            };
            before != verdict
        });
    }

    /// Waits until the agent may offer itself to this peer. Cancel-safe.
    pub async fn may_offer(&self, peer: usize) {
        self.until(|verdicts| may_offer(verdicts, peer)).await;
    }

    /// Waits until the agent must withdraw from the peers that welcomed it. Cancel-safe.
    pub async fn must_withdraw(&self) {
        self.until(is_outvoted).await;
    }

    /// Whether more peers turned this agent away, for another of its instance, than welcomed it.
    pub fn is_outvoted(&self) -> bool {
        is_outvoted(&self.verdicts.borrow())
    }

    async fn until(&self, holds: impl Fn(&BTreeMap<usize, Verdict>) -> bool) {
        let mut watch = self.verdicts.subscribe();
        // It cannot end: its sender is our own.
        let _ = watch.wait_for(|verdicts| holds(verdicts)).await;
    }
}

fn is_outvoted(verdicts: &BTreeMap<usize, Verdict>) -> bool {
    let count = |which| {
        verdicts
            .values()
            .filter(|verdict| **verdict == which)
            .count()
    };
    count(Verdict::TurnedAway) > count(Verdict::Welcomed)
}

/// Those that turned it away are asked again for ever: the other agent may end.
fn may_offer(verdicts: &BTreeMap<usize, Verdict>, peer: usize) -> bool {
    verdicts.get(&peer) == Some(&Verdict::TurnedAway) || !is_outvoted(verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_two_agents_withdraws() {
        use Verdict::{TurnedAway as No, Welcomed as Yes};
        for (verdicts, withdraws, offers_to) in [
            (&[][..], false, &[0, 1, 2][..]),
            (&[(0, Yes), (1, Yes), (2, Yes)], false, &[0, 1, 2]),
            // The first, when a peer that was restarted took the second.
            (&[(0, No), (1, Yes), (2, Yes)], false, &[0, 1, 2]),
            // The second, there and before.
            (&[(0, Yes), (1, No), (2, No)], true, &[1, 2]),
            (&[(1, No), (2, No)], true, &[1, 2]),
            (&[(1, No)], true, &[1]),
            (&[(0, Yes), (1, No)], false, &[0, 1, 2]),
        ] {
            let verdicts: BTreeMap<_, _> = verdicts.iter().copied().collect();
            assert_eq!(is_outvoted(&verdicts), withdraws, "{verdicts:?}");
            let offered: Vec<_> = (0..3).filter(|peer| may_offer(&verdicts, *peer)).collect();
            assert_eq!(offered, offers_to, "{verdicts:?}");
        }
    }

    #[tokio::test]
    async fn an_verdict_that_no_longer_holds_counts_no_more() {
        let claim = Claim::default();
        claim.note(0, Some(Verdict::Welcomed));
        claim.note(1, Some(Verdict::TurnedAway));
        claim.note(2, Some(Verdict::TurnedAway));
        claim.must_withdraw().await;
        claim.note(2, None);
        claim.may_offer(0).await;
    }
}
