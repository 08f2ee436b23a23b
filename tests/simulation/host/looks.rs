//! What the agent sees: looks take time, fail, and miss a process whose parent is gone. Which of them
//! is believed follows the agent's worker.

use super::*;

/// How often to look while nothing is to be done, and after a look that failed, in ticks.
const IDLE_LOOK: u64 = 1000 / TICK;
const LOOK_AGAIN: u64 = 3;

/// The looks of one agent.
#[derive(Debug, Clone)]
pub struct Looks {
    pub count: u64,
    /// Looks before this one say nothing about what runs now.
    pub first_trusted: u64,
    pub look_at: u64,
    looking: Option<Looking>,
}

#[derive(Debug, Clone)]
struct Looking {
    number: u64,
    done_at: u64,
    is_for_duty: bool,
    /// None if it fails.
    seen: Option<Local>,
    flushed: WalPosition,
}

/// A look that has ended.
pub struct Seen {
    pub number: u64,
    pub is_for_duty: bool,
    pub local: Local,
}

/// What was seen last, for reports.
#[derive(Debug, Clone)]
pub struct Known {
    pub local: Local,
    pub flushed: WalPosition,
    /// Whether the present postmaster ever answered.
    pub has_answered: bool,
    /// When it last answered; before, when it was first seen.
    pub answered_at: Timestamp,
    /// When it was last seen to have flushed more.
    pub flushed_at: Timestamp,
}

impl Looks {
    pub fn new(tick: u64) -> Looks {
        Looks {
            count: 0,
            first_trusted: 0,
            look_at: tick,
            looking: None,
        }
    }

    /// A look under way is of no use for what came meanwhile.
    pub fn anew(&mut self, tick: u64) {
        self.looking = None;
        self.look_at = tick;
    }
}

impl Agent {
    /// Only looks that begin later are believed: what was just done shows from the next tick on.
    pub fn trust_from_now(&mut self, tick: u64) {
        self.looks.first_trusted = self.looks.count + 1;
        if let Some(running) = &mut self.running {
            running.first_look = self.looks.count + 1;
        }
        self.looks.anew(tick + 1);
    }
}

impl Host {
    /// Begins a look if one is due, and answers with one that ends now.
    pub(super) fn look(&mut self, tick: u64, random: &mut Random) -> Option<Seen> {
        let agent = self.agent.as_ref()?;
        if agent.looks.looking.is_none() && tick >= agent.looks.look_at {
            self.begin_look(tick, random);
        }
        let looks = &mut self.agent.as_mut()?.looks;
        let looking = looks.looking.take_if(|looking| looking.done_at <= tick)?;
        let Some(local) = looking.seen else {
            looks.look_at = tick + LOOK_AGAIN;
            return None;
        };
        self.learn(&local, looking.flushed, tick);
        // What the agent itself knows is as of the end of the look.
        let now = self.observe(tick);
        Some(Seen {
            number: looking.number,
            is_for_duty: looking.is_for_duty,
            local: Local {
                data: local.data,
                is_running: local.is_running,
                has_postmaster: local.has_postmaster,
                session: local.session,
                ..now
            },
        })
    }

    fn begin_look(&mut self, tick: u64, random: &mut Random) {
        let mut local = self.observe(tick);
        let is_slow = tick < self.slow_until;
        let takes = match random.below(if is_slow { 3 } else { 10 }) {
            0 => random.between(1, if is_slow { 20 } else { 3 }),
            _ => 0,
        };
        let fails = tick < self.blind_until || random.one_in(300);
        // Whoever was forked behind the look is missed, unless a living postmaster is there.
        if local.is_running && !local.has_postmaster && random.one_in(2) {
            local.is_running = false;
            if let Data::Cluster { ends_at, .. } = &mut local.data {
                *ends_at = Some(self.disk.end());
            }
        }
        let flushed = self.disk.at(self.disk.flushed);
        let Some(agent) = &mut self.agent else { return };
        let is_busy = agent.running.is_some() && agent.acting.is_none();
        agent.looks.count += 1;
        agent.looks.look_at = tick + if is_busy { 1 } else { IDLE_LOOK };
        agent.looks.looking = Some(Looking {
            number: agent.looks.count,
            done_at: tick + takes,
            is_for_duty: is_busy,
            seen: (!fails).then_some(local),
            flushed,
        });
    }

    fn learn(&mut self, local: &Local, flushed: WalPosition, tick: u64) {
        let Some(agent) = &mut self.agent else { return };
        let before = agent.known.take();
        let is_new = before
            .as_ref()
            .is_none_or(|known| !known.local.has_postmaster && local.has_postmaster);
        let moved = before.as_ref().is_none_or(|known| flushed > known.flushed);
        let moment = |of: fn(&Known) -> Timestamp, is_now: bool| {
            let earlier = before.as_ref().map(of).filter(|_| !is_now);
            earlier.unwrap_or(local.now)
        };
        let answered_at = moment(|it| it.answered_at, is_new || local.session.is_some());
        let flushed_at = moment(|it| it.flushed_at, is_new || moved);
        let (ran, answered) = before.as_ref().map_or((false, false), |known| {
            let is_same = known.local.has_postmaster && local.has_postmaster;
            (known.local.is_running, known.has_answered && is_same)
        });
        let ended = ran && !local.is_running;
        if ended && agent.stopping.is_none() && agent.acting.is_none() {
            agent.stopped = Stopped::Died;
        }
        agent.known = Some(Known {
            local: local.clone(),
            flushed,
            has_answered: answered || local.session.is_some(),
            answered_at,
            flushed_at,
        });
        let changed = before.is_none_or(|known| kind(&known.local) != kind(local));
        if changed {
            agent.next_report = tick;
        }
    }
}

/// What a report says of it: a change is reported at once.
fn kind(local: &Local) -> (bool, bool, Option<bool>) {
    let is_there = !matches!(local.data, Data::Empty);
    let in_recovery = local.session.as_ref().map(|session| session.in_recovery);
    (is_there, local.is_running, in_recovery)
}
