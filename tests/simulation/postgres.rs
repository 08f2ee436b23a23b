//! PostgreSQL as a value, with the traps that were seen on the real one.

use std::collections::{BTreeMap, VecDeque};

use primacy::duty::{Act, Replay};
use primacy::model::Lsn;

use crate::disk::{Disk, Record, SourceConf};
use crate::random::Random;

/// A connection to a source.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub source: usize,
    pub name: String,
    pub streaming: bool,
    pub last_heard: u64,
}

/// `synchronous_standby_names`, as loaded.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub text: String,
    pub needed: usize,
    pub listed: Vec<String>,
    /// Whether it must be the first of them that are there.
    is_first: bool,
}

/// A walsender, as it has read the settings last.
#[derive(Debug, Clone)]
pub struct Sender {
    /// What it has heard flushed.
    pub flushed: usize,
    names: Names,
    /// When it reads them again, if it was told to.
    reads_at: Option<u64>,
}

impl Names {
    pub fn parse(text: &str) -> Names {
        let is_first = text.starts_with("FIRST ");
        let rest = text.strip_prefix("ANY ");
        let Some(rest) = rest.or_else(|| text.strip_prefix("FIRST ")) else {
            return Names::default();
        };
        let (needed, list) = rest.split_once(" (").expect("ANY k (…)");
        let listed = list
            .trim_end_matches(')')
            .split(", ")
            .map(|name| name.trim_matches('"').to_owned())
            .collect();
        Names {
            text: text.to_owned(),
            needed: needed.parse().expect("a number"),
            listed,
            is_first,
        }
    }
}

/// Killed processes are not gone at once: one may still be at work when the first are dead, and one
/// that waits for its disk is there, idle, until the disk answers.
#[derive(Debug, Clone, Copy)]
pub struct Dying {
    pub works_until: u64,
    pub gone_at: u64,
}

/// The processes of one server.
#[derive(Debug, Clone)]
pub struct Postgres {
    pub postmaster: bool,
    /// Backends and walsenders outlive a killed postmaster until then.
    pub orphans_until: u64,
    /// All were sent SIGKILL.
    pub dying: Option<Dying>,
    /// SQL that its client no longer waits for, and when it is carried out.
    pub late: Vec<(u64, Act)>,
    pub frozen: bool,
    /// It was told to shut down; its last checkpoint is written then.
    pub down_at: Option<u64>,
    pub ready_at: u64,
    pub in_recovery: bool,
    pub names: Names,
    /// What a new session sees.
    pub visible_source: Option<SourceConf>,
    /// What the startup process has read; it lags behind.
    pub startup_source: Option<SourceConf>,
    pub reread_at: Option<u64>,
    pub receiver: Option<Receiver>,
    pub retry_at: u64,
    pub replay: Replay,
    /// The startup process is in a recovery conflict, or delays on purpose, until then.
    pub blocked_until: u64,
    pub replayed: usize,
    /// What `pg_last_wal_receive_lsn()` would say: falls back after a restart.
    pub remembered: usize,
    pub promote_at: Option<u64>,
    /// Commits that wait for standbys.
    pub waiting: VecDeque<(usize, u32)>,
    /// The connected walsenders, by the name of their standby.
    pub senders: BTreeMap<String, Sender>,
}

impl Postgres {
    /// The processes of a server that starts on `disk`.
    pub fn start(disk: &mut Disk, now: u64, random: &mut Random) -> Postgres {
        // After a crash it syncs the whole data folder before it recovers.
        disk.flush();
        let len = disk.wal.len();
        Postgres {
            postmaster: true,
            orphans_until: u64::MAX,
            dying: None,
            late: Vec::new(),
            frozen: false,
            down_at: None,
            ready_at: now + random.between(2, 12),
            in_recovery: disk.standby_signal,
            names: Names::parse(&disk.names),
            visible_source: disk.source.clone(),
            startup_source: disk.source.clone(),
            reread_at: None,
            receiver: None,
            retry_at: now,
            replay: Replay::Running,
            blocked_until: 0,
            replayed: len,
            // Receiving starts again at the beginning of a segment.
            remembered: len - len % 64,
            promote_at: None,
            waiting: VecDeque::new(),
            senders: BTreeMap::new(),
        }
    }

    /// Whether some process can still work.
    pub fn works(&self, now: u64) -> bool {
        let alive = self.dying.is_none_or(|dying| now < dying.works_until);
        !self.frozen && now >= self.ready_at && alive
    }

    /// SIGKILL to every process; one that waits for its disk stays until `stuck_until`.
    pub fn kill(&mut self, now: u64, stuck_until: u64, random: &mut Random) {
        self.postmaster = false;
        if self.dying.is_some() {
            return;
        }
        self.die(now + random.below(4), stuck_until);
    }

    /// From this tick on nothing of it works.
    pub fn die(&mut self, works_until: u64, stuck_until: u64) {
        self.postmaster = false;
        self.dying = Some(Dying {
            works_until,
            gone_at: works_until.max(stuck_until),
        });
    }

    /// Whether no process is left.
    pub fn is_gone(&self, now: u64) -> bool {
        let killed = self.dying.is_some_and(|dying| dying.gone_at <= now);
        killed || (!self.postmaster && self.dying.is_none() && self.orphans_until <= now)
    }

    /// The receiver flushes what it wrote before it ends.
    pub fn end_receiver(&mut self, disk: &mut Disk) {
        if self.receiver.take().is_some() {
            disk.flush();
        }
    }

    /// Whether SQL is answered.
    pub fn answers(&self, now: u64) -> bool {
        self.postmaster && self.works(now) && self.down_at.is_none()
    }

    /// Whether open sessions can commit.
    pub fn commits(&self, now: u64) -> bool {
        self.works(now) && !self.in_recovery && self.down_at.is_none()
    }

    pub fn reload(&mut self, disk: &Disk, now: u64, random: &mut Random) {
        self.visible_source.clone_from(&disk.source);
        self.reread_at = Some(now + random.between(0, 3));
        if self.names.text != disk.names {
            self.names = Names::parse(&disk.names);
        }
        // Each reads the settings for itself, sooner or later.
        for sender in self.senders.values_mut() {
            let takes = match random.below(6) {
                0 => random.between(3, 100),
                _ => random.between(0, 3),
            };
            sender.reads_at.get_or_insert(now + takes);
        }
    }

    /// A walsender hears what its standby has flushed. One that was not there begins with the settings in force.
    pub fn hear(&mut self, name: String, flushed: usize) {
        let names = &self.names;
        let begin = || Sender {
            flushed,
            names: names.clone(),
            reads_at: None,
        };
        self.senders.entry(name).or_insert_with(begin).flushed = flushed;
    }

    /// Walsenders that were told to read the settings do so.
    pub fn read_settings(&mut self, now: u64) {
        for sender in self.senders.values_mut() {
            if sender.reads_at.take_if(|at| *at <= now).is_some() {
                sender.names.clone_from(&self.names);
            }
        }
    }

    /// Whether every walsender runs these names.
    pub fn all_run(&self, names: &str) -> bool {
        self.senders.values().all(|it| it.names.text == names)
    }

    /// Up to where the walsender of this name lets commits go: as many of those that any walsender counts have it as its own
    /// settings ask for. None if it does not count itself, or if too few are there.
    fn released_by(&self, name: &str) -> Option<usize> {
        let names = &self.senders.get(name)?.names;
        let counted = self.senders.iter();
        let mut counted: Vec<_> = counted
            .filter(|(name, it)| it.names.listed.contains(name))
            .map(|(name, it)| (it.names.listed.iter().position(|of| of == name), it.flushed))
            .collect();
        if !names.listed.iter().any(|it| it == name) {
            return None;
        }
        match names.is_first {
            true => counted.sort_unstable(),
            false => counted.sort_unstable_by_key(|(_, flushed)| std::cmp::Reverse(*flushed)),
        }
        let taken = counted.get(..names.needed)?;
        taken.iter().map(|(_, flushed)| *flushed).min()
    }

    fn released(&self) -> Option<usize> {
        let all = self.senders.keys();
        all.filter_map(|name| self.released_by(name)).max()
    }

    /// The startup process and promotion, one tick, on a disk that takes writes or not. Answers whether it was
    /// promoted just now.
    pub fn recover(
        &mut self,
        disk: &mut Disk,
        writes: bool,
        now: u64,
        random: &mut Random,
    ) -> bool {
        if !self.in_recovery || !self.works(now) || now < self.blocked_until {
            return false;
        }
        // It replays only what the receiver has flushed.
        if self.replay != Replay::Paused {
            self.replayed = disk.flushed;
        }
        let rereads =
            self.reread_at.is_some_and(|at| at <= now) || self.replay == Replay::Requested;
        if rereads {
            self.reread_at = None;
            let changed = self.startup_source != self.visible_source;
            self.startup_source.clone_from(&self.visible_source);
            // Paused, it does not wait for WAL, and a receiver outlives its conninfo.
            if changed && self.replay == Replay::Running {
                self.end_receiver(disk);
                self.retry_at = now + random.between(0, 3);
            }
        }
        // A receiver that outlived its conninfo is dropped once replay goes on.
        if self.replay == Replay::Running
            && self.receiver.as_ref().is_some_and(|receiver| {
                self.startup_source.as_ref().is_none_or(|source| {
                    source.node != receiver.source || source.name != receiver.name
                })
            })
        {
            self.end_receiver(disk);
        }
        if self.replay == Replay::Requested {
            self.replay = Replay::Paused;
        }
        if writes && self.promote_at.is_some_and(|at| at <= now) {
            self.promote(disk);
            return true;
        }
        if self.replay == Replay::Running
            && self.receiver.is_none()
            && now >= self.retry_at
            && let Some(source) = &self.startup_source
        {
            self.receiver = Some(Receiver {
                source: source.node,
                name: source.name.clone(),
                streaming: false,
                last_heard: now,
            });
            self.retry_at = now + 5;
        }
        false
    }

    /// Statements whose clients gave up waiting take effect all the same.
    pub fn carry_out_late(&mut self, now: u64) {
        if !self.answers(now) {
            return;
        }
        let (due, later) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.late = later;
        let due: Vec<(u64, Act)> = due;
        for (_, act) in due {
            match act {
                Act::PauseReplay if self.in_recovery && self.replay == Replay::Running => {
                    self.replay = Replay::Requested;
                }
                Act::ResumeReplay => self.replay = Replay::Running,
                Act::AskPromotion if self.in_recovery => self.promote_at = Some(now + 1),
                _ => {}
            }
        }
    }

    /// Leaves recovery on the first number that no file uses.
    fn promote(&mut self, disk: &mut Disk) {
        self.end_receiver(disk);
        let old = disk.timeline();
        let taken = |n: &u32| disk.real.contains(n) || disk.planted.contains(n);
        let timeline = (old.0 + 1..).find(|n| !taken(n)).expect("a free number");
        disk.left_at.insert(old, Lsn(disk.wal.len() as u64));
        disk.real.insert(timeline);
        disk.wal.push(Record { timeline, value: 0 });
        disk.flush();
        disk.standby_signal = false;
        self.in_recovery = false;
        self.promote_at = None;
        self.replay = Replay::Running;
        self.replayed = disk.wal.len();
    }

    /// A fast shutdown: nobody commits any more, and who waited is told nothing.
    pub fn shut_down(&mut self, now: u64, random: &mut Random) {
        if self.down_at.is_none() && self.postmaster {
            self.down_at = Some(now + random.below(5));
            self.waiting.clear();
        }
    }

    /// The end of a shutdown, one tick: the last checkpoint, which everybody that streams must flush. Answers whether a
    /// checkpoint was written, and whether nothing is left of it.
    pub fn go_down(&mut self, disk: &mut Disk, now: u64) -> (bool, bool) {
        if !self.works(now) || !self.postmaster || self.down_at.is_none_or(|at| now < at) {
            return (false, false);
        }
        let is_first = self.down_at != Some(0);
        if is_first {
            self.down_at = Some(0);
            if !self.in_recovery {
                let timeline = disk.timeline().0;
                disk.wal.push(Record { timeline, value: 0 });
            }
            disk.flush();
        }
        let all = disk.flushed;
        (is_first, self.senders.values().all(|it| it.flushed >= all))
    }

    /// Whether enough walsenders of its own list are connected that a commit could be acknowledged.
    pub fn can_acknowledge(&self, now: u64) -> bool {
        self.commits(now) && (self.names.needed == 0 || self.released().is_some())
    }

    /// The commits that are acknowledged now.
    pub fn acknowledge(&mut self) -> Vec<u32> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let upto = match self.names.needed {
            0 => usize::MAX,
            _ => self.released().unwrap_or(0),
        };
        let mut acknowledged = Vec::new();
        while self.waiting.front().is_some_and(|(lsn, _)| *lsn <= upto) {
            acknowledged.extend(self.waiting.pop_front().map(|(_, value)| value));
        }
        acknowledged
    }
}
