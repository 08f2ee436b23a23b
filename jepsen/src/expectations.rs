//! What the harness expects of time: every wait, demand and allowance that depends on how far apart the zones are.
//!
//! They stand here together, each with its reason, and nowhere else, so that a round is judged by its own network. What is
//! long enough for both networks many times over (a host that starts, a peer that catches up) stays where it is used.
//!
//! The peers' own timing is behind most of them. In the network `lan` a new leader takes 0.8 s at most and is silent for
//! 1 s if it has no majority; in `wan` it is 4 s and 5 s, and every exchange between two zones takes 0.1 s.

use std::time::Duration;

/// The network of the peers, as their configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The default.
    Lan,
    /// For zones that are far apart.
    Wan,
}

impl Network {
    /// The one for zones that are so far apart, in milliseconds one way.
    pub fn for_zones(apart_ms: u64) -> Network {
        match apart_ms {
            0 => Network::Lan,
            _ => Network::Wan,
        }
    }

    /// What is expected there.
    pub fn expectations(self) -> Expectations {
        match self {
            Network::Lan => LAN,
            Network::Wan => WAN,
        }
    }
}

/// How long a client of a database waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a session: a frozen node accepts the connection and stays silent. It takes five exchanges: TCP, startup, two
    /// of the password, and the question whether the node accepts writes.
    pub connect: Duration,
    /// For a statement. In a distant zone it takes one exchange, a commit another one between the nodes, and one that
    /// waits for somebody else's row waits for the rest of that transaction: up to six more.
    pub statement: Duration,
}

/// What is expected of one network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expectations {
    /// Of every client.
    pub patience: Patience,
    /// How many clients of `set` there are in each zone. A client waits for one answer at a time, and so has a few a
    /// second from another zone: it takes more of them to load a distant cluster as much.
    pub set_clients: usize,
    /// Fewer operations a second before the fault prove too little, however they are had.
    pub least_rate: f64,
    /// Until sessions are open and caches filled. A client that asks all hosts in turn finds the primary last.
    pub warm: Duration,
    /// How long what was killed stays dead, in milliseconds, shortest and longest: in time for another one to take over.
    pub killed_for_ms: (u64, u64),
    /// How long any other fault lasts: never shorter than what it takes to be noticed, and for somebody else to be
    /// promoted, also where the primary's lease has to end first.
    pub struck_for_ms: (u64, u64),
    /// How long peers are gone: longer than any lease.
    pub peers_gone_for_ms: (u64, u64),
    /// From the beginning of one strike of a round to that of the next.
    pub strike_every_ms: u64,
    /// So much of it is left to recover.
    pub calm_ms: u64,
    /// How long nobody may be known to have the role that is to be struck: an election, and one more that fails.
    pub role_known_within: Duration,
    /// What is wrong may take so long to be noticed: an agent is silent after 1.2 s, a leader is gone after an election.
    pub settles: Duration,
    /// How long after the last fault is healed every member must stream again.
    pub healed_within: Duration,
    /// What a peer that is not cut off must know at the latest, in milliseconds: it may have to hear of a new leader.
    pub known_ms: u64,
    /// How long a leader may take to notice that one of a higher number was elected in its term, in milliseconds: longer
    /// than one without a majority is silent before it tries again.
    pub superseded_ms: u64,
}

const LAN: Expectations = Expectations {
    patience: Patience {
        connect: Duration::from_millis(500),
        statement: Duration::from_millis(2_000),
    },
    set_clients: 2,
    least_rate: 100.0,
    warm: Duration::from_millis(1_500),
    killed_for_ms: (2_000, 5_000),
    struck_for_ms: (5_000, 13_000),
    peers_gone_for_ms: (12_000, 15_000),
    strike_every_ms: 22_000,
    calm_ms: 6_000,
    role_known_within: Duration::from_secs(5),
    settles: Duration::from_millis(1_500),
    healed_within: Duration::from_secs(60),
    known_ms: 5_000,
    superseded_ms: 1_200,
};

const WAN: Expectations = Expectations {
    patience: Patience {
        // Five exchanges more.
        connect: Duration::from_millis(1_000),
        // Eight more, and a little.
        statement: Duration::from_millis(3_000),
    },
    set_clients: 8,
    least_rate: 100.0,
    // Fifteen exchanges more, and a first statement.
    warm: Duration::from_millis(3_500),
    // An election takes 4 s.
    killed_for_ms: (5_000, 8_000),
    // A lease of 10 s, half a second for clocks, and a handover of ten exchanges.
    struck_for_ms: (13_000, 20_000),
    // After the last lease, and an election later.
    peers_gone_for_ms: (12_000, 15_000),
    strike_every_ms: 33_000,
    // Twice an election, and who comes back asks over the same links.
    calm_ms: 12_000,
    role_known_within: Duration::from_secs(10),
    settles: Duration::from_millis(5_000),
    healed_within: Duration::from_secs(60),
    known_ms: 10_000,
    superseded_ms: 6_000,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_far_away_is_given_the_time_that_it_takes() {
        const ROUND_TRIP: Duration = Duration::from_millis(100);
        let more = |of: fn(&Expectations) -> Duration| of(&WAN) - of(&LAN);
        assert!(more(|it| it.patience.connect) >= 5 * ROUND_TRIP);
        assert!(more(|it| it.patience.statement) >= 8 * ROUND_TRIP);
        assert!(more(|it| it.warm) >= 15 * ROUND_TRIP);
    }

    #[test]
    fn strikes_have_the_time_that_they_take() {
        for it in [LAN, WAN] {
            let longest = it.struck_for_ms.1.max(it.peers_gone_for_ms.1);
            // A strike begins in the first second of its share.
            assert!(longest + it.calm_ms + 1_000 <= it.strike_every_ms);
            assert!(it.settles.as_millis() < u128::from(it.calm_ms));
            assert!(it.least_rate > 0.0 && it.set_clients > 0);
        }
    }
}
