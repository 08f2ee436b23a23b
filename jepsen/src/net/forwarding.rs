//! What the switch does with a frame, as a function of the time: no clock, no descriptor.
//!
//! Hosts are numbered from 0, and frames carry the number of their receiver in the last byte of its address,
//! counted from 1. Frames for many are dropped: the hosts know each other's addresses from the start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::matrix::{Matrix, Quality};
use crate::clock::Moment;
use crate::random::Random;

/// What waits longer for its turn on a narrow link is lost.
const LONGEST_QUEUE: Duration = Duration::from_millis(200);

/// What to do with a frame that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to this host at once.
    Now(usize),
    /// It was kept for later, or lost.
    Nothing,
}

/// What happened to frames so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Handed to their receiver.
    pub forwarded: u64,
    /// Lost to a cut, to loss or to a full queue.
    pub lost: u64,
    /// Sent a second time.
    pub doubled: u64,
}

/// All links with the frames that are under way.
#[derive(Debug)]
pub struct Forwarding {
    hosts: Vec<String>,
    /// By sender, then receiver.
    links: Vec<Vec<Quality>>,
    /// When each narrow link has sent what it was given.
    free_at: Vec<Vec<Moment>>,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    random: Random,
    counts: Counts,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    at: Moment,
    sequence: u64,
    from: usize,
    to: usize,
    frame: Vec<u8>,
}

impl Forwarding {
    /// Perfect links between `hosts`.
    pub fn new(hosts: Vec<String>, seed: u64) -> Forwarding {
        let count = hosts.len();
        Forwarding {
            hosts,
            links: vec![vec![Quality::default(); count]; count],
            free_at: vec![vec![Moment(0); count]; count],
            queue: BinaryHeap::new(),
            sequence: 0,
            random: Random::new(seed),
            counts: Counts::default(),
        }
    }

    /// The links are like this from now on, for the frames that are under way too.
    pub fn set(&mut self, matrix: &Matrix) {
        for (links, from) in self.links.iter_mut().zip(&self.hosts) {
            for (link, to) in links.iter_mut().zip(&self.hosts) {
                *link = matrix.between(from, to);
            }
        }
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A frame came from host `from`.
    pub fn arrive(&mut self, now: Moment, from: usize, frame: &[u8]) -> Verdict {
        let is_for_many = frame.first().is_none_or(|first| first & 1 == 1);
        let to = frame.get(5).map_or(0, |number| usize::from(*number));
        if is_for_many || to == 0 || to > self.hosts.len() {
            return Verdict::Nothing;
        }
        let to = to - 1;
        let link = self.links[from][to];
        if link.cut || self.random.happens(link.loss_ppm) {
            self.counts.lost += 1;
            return Verdict::Nothing;
        }
        let Some(sent) = self.sent_at(now, from, to, frame.len()) else {
            self.counts.lost += 1;
            return Verdict::Nothing;
        };
        if self.random.happens(link.duplicate_ppm) {
            self.counts.doubled += 1;
            self.keep(sent, link, from, to, frame);
        }
        if sent == now && link.delay_us == 0 && link.jitter_us == 0 {
            self.counts.forwarded += 1;
            return Verdict::Now(to);
        }
        self.keep(sent, link, from, to, frame);
        Verdict::Nothing
    }

    /// When a frame of that size has left the link's narrow end; none if the queue before it is full.
    fn sent_at(&mut self, now: Moment, from: usize, to: usize, size: usize) -> Option<Moment> {
        let Some(bandwidth) = self.links[from][to].bandwidth else {
            return Some(now);
        };
        let begins = self.free_at[from][to].max(now);
        if begins.since(now) > LONGEST_QUEUE {
            return None;
        }
        let nanoseconds = size as u64 * 1_000_000_000 / bandwidth.max(1);
        let sent = Moment(begins.0 + nanoseconds);
        self.free_at[from][to] = sent;
        Some(sent)
    }

    fn keep(&mut self, sent: Moment, link: Quality, from: usize, to: usize, frame: &[u8]) {
        let delay = link.delay_us + self.random.below(link.jitter_us);
        self.sequence += 1;
        self.queue.push(Reverse(Queued {
            at: Moment(sent.0 + delay * 1_000),
            sequence: self.sequence,
            from,
            to,
            frame: frame.to_vec(),
        }));
    }

    /// The next frame whose time has come, with its receiver.
    pub fn due(&mut self, now: Moment) -> Option<(usize, Vec<u8>)> {
        while self.next_at()? <= now {
            let Reverse(queued) = self.queue.pop()?;
            if self.links[queued.from][queued.to].cut {
                self.counts.lost += 1;
                continue;
            }
            self.counts.forwarded += 1;
            return Some((queued.to, queued.frame));
        }
        None
    }

    /// When the next frame must leave.
    pub fn next_at(&self) -> Option<Moment> {
        self.queue.peek().map(|Reverse(queued)| queued.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO_B: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const MS: u64 = 1_000_000;

    fn between(quality: Quality) -> Forwarding {
        let mut forwarding = Forwarding::new(vec!["a".to_owned(), "b".to_owned()], 7);
        forwarding.set(&Matrix::default().one_way(&["a"], &["b"], quality));
        forwarding
    }

    #[test]
    fn a_perfect_link_forwards_at_once_and_frames_for_many_go_nowhere() {
        let mut forwarding = between(Quality::default());
        assert_eq!(forwarding.arrive(Moment(1), 0, &TO_B), Verdict::Now(1));
        assert_eq!(
            forwarding.arrive(Moment(1), 0, &[0xff; 6]),
            Verdict::Nothing
        );
        assert_eq!(
            forwarding.arrive(Moment(1), 0, &[2, 0, 0, 0, 0, 9]),
            Verdict::Nothing
        );
    }

    #[test]
    fn a_delay_holds_a_frame_back_and_a_cut_loses_what_is_under_way() {
        let slow = Quality {
            delay_us: 50_000,
            ..Quality::default()
        };
        let mut forwarding = between(slow);
        for _ in 0..2 {
            assert_eq!(forwarding.arrive(Moment(0), 0, &TO_B), Verdict::Nothing);
        }
        assert_eq!(forwarding.due(Moment(49 * MS)), None);
        assert_eq!(forwarding.due(Moment(50 * MS)), Some((1, TO_B.to_vec())));
        forwarding.set(&Matrix::default().one_way(&["a"], &["b"], Quality::CUT));
        assert_eq!(forwarding.due(Moment(50 * MS)), None);
        assert_eq!(
            forwarding.arrive(Moment(51 * MS), 1, &[2, 0, 0, 0, 0, 1]),
            Verdict::Now(0)
        );
        assert_eq!(forwarding.counts().lost, 1);
    }

    #[test]
    fn a_seed_decides_what_is_lost_and_doubled() {
        let bad = Quality {
            loss_ppm: 300_000,
            duplicate_ppm: 100_000,
            ..Quality::default()
        };
        let run = || {
            let mut forwarding = between(bad);
            for _ in 0..10_000 {
                forwarding.arrive(Moment(0), 0, &TO_B);
            }
            forwarding.counts()
        };
        let counts = run();
        assert_eq!(counts, run());
        assert!((2_800..3_200).contains(&counts.lost), "{counts:?}");
        assert!((600..800).contains(&counts.doubled), "{counts:?}");
    }

    #[test]
    fn a_narrow_link_sends_one_frame_after_the_other_and_loses_what_would_wait_too_long() {
        let narrow = Quality {
            bandwidth: Some(10_000),
            ..Quality::default()
        };
        let mut forwarding = between(narrow);
        let mut frame = vec![0; 1_000];
        frame[..6].copy_from_slice(&TO_B);
        for _ in 0..5 {
            forwarding.arrive(Moment(0), 0, &frame);
        }
        // Each takes 100 ms; the fourth would begin after 300 ms.
        assert!(forwarding.due(Moment(99 * MS)).is_none());
        assert!(forwarding.due(Moment(100 * MS)).is_some());
        assert!(forwarding.due(Moment(200 * MS)).is_some());
        assert!(forwarding.due(Moment(300 * MS)).is_some());
        assert_eq!(forwarding.counts().lost, 2);
    }
}
