//! The network as a value: every message has a moment at which it arrives, if it does.

use std::collections::BTreeMap;

use primacy::control::{AgentMessage, PeerMessage};
use primacy::model::{Epoch, Timestamp};

use crate::random::Random;

/// Who can send: peers and hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Peer(usize),
    Host(usize),
}

#[derive(Debug, Clone)]
pub enum Message {
    ToPeer {
        from: usize,
        to: usize,
        session: u32,
        sent: u64,
        message: AgentMessage,
    },
    Closed {
        from: usize,
        to: usize,
        session: u32,
    },
    ToAgent {
        from: usize,
        to: usize,
        session: u32,
        message: PeerMessage,
    },
    /// Between the agents of two hosts; `session` is that of the agent which asks.
    Between {
        from: usize,
        to: usize,
        session: u32,
        talk: Talk,
    },
}

/// What agents say to each other.
#[derive(Debug, Clone, Copy)]
pub enum Talk {
    /// Back me in this epoch; with the asker's own time.
    Ask {
        epoch: Epoch,
        sent: Timestamp,
        receiving: bool,
    },
    /// The word, for the question sent then.
    Backed { epoch: Epoch, sent: Timestamp },
}

const ENDS: usize = 16;

#[derive(Default)]
pub struct Network {
    queue: BTreeMap<(u64, u64), Message>,
    serial: u64,
    cut: [[bool; ENDS]; ENDS],
    /// Percent of messages that are lost, and of those that are doubled.
    pub loss: u64,
    pub doubling: u64,
    /// Percent of commands that come once more, seconds later.
    pub echo: u64,
    /// The longest ordinary delay, in ticks.
    pub delay: u64,
}

fn index(end: End) -> usize {
    match end {
        End::Peer(n) => n,
        End::Host(n) => 5 + n,
    }
}

impl Network {
    /// Nothing is cut, lost or late.
    pub fn calm() -> Network {
        Network {
            delay: 1,
            ..Network::default()
        }
    }

    /// Whether nothing is cut, lost or late.
    pub fn is_calm(&self) -> bool {
        let is_cut = self.cut.iter().flatten().any(|cut| *cut);
        !is_cut && self.loss == 0 && self.delay == 1
    }

    pub fn is_cut(&self, from: End, to: End) -> bool {
        self.cut[index(from)][index(to)]
    }

    pub fn cut(&mut self, from: End, to: End) {
        self.cut[index(from)][index(to)] = true;
    }

    /// Whatever was cut between these two, both ways.
    pub fn join(&mut self, a: End, b: End) {
        self.cut[index(a)][index(b)] = false;
        self.cut[index(b)][index(a)] = false;
    }

    pub fn heal(&mut self) {
        self.cut = [[false; ENDS]; ENDS];
        self.loss = 0;
        self.doubling = 0;
        self.echo = 0;
        self.delay = 1;
    }

    pub fn heal_links(&mut self) {
        self.cut = [[false; ENDS]; ENDS];
    }

    pub fn both_ways(&self, a: End, b: End) -> bool {
        !self.is_cut(a, b) && !self.is_cut(b, a)
    }

    pub fn send(&mut self, now: u64, message: Message, random: &mut Random) {
        let (from, to) = match &message {
            Message::ToPeer { from, to, .. } | Message::Closed { from, to, .. } => {
                (End::Host(*from), End::Peer(*to))
            }
            Message::ToAgent { from, to, .. } => (End::Peer(*from), End::Host(*to)),
            Message::Between { from, to, .. } => (End::Host(*from), End::Host(*to)),
        };
        if self.is_cut(from, to) || random.chance(self.loss) {
            return;
        }
        let is_command = matches!(
            message,
            Message::ToAgent {
                message: PeerMessage::Command { .. },
                ..
            }
        );
        if is_command && random.chance(self.echo) {
            self.serial += 1;
            let due = now + random.between(20, 400);
            self.queue.insert((due, self.serial), message.clone());
        }
        let copies = 1 + u64::from(random.chance(self.doubling));
        for _ in 0..copies {
            // Now and then one is very late: longer than any lease.
            let late = if self.delay > 1 && random.one_in(200) {
                random.below(800)
            } else {
                0
            };
            let due = now + 1 + random.below(self.delay.max(1)) + late;
            self.serial += 1;
            self.queue.insert((due, self.serial), message.clone());
        }
    }

    pub fn due(&mut self, now: u64) -> Vec<Message> {
        let mut due = Vec::new();
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= now
        {
            due.push(entry.remove());
        }
        due
    }
}
