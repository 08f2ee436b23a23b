//! Carrying out a plan: install, wait, heal, write down. It decides nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ground::{Ground, Undo};
use super::plan::Strike;
use super::{Outcome, Record};
use crate::clock::{self, Moment};

const POLL: Duration = Duration::from_millis(10);
/// What ends so soon is healed before anything else begins: to find out whom that strikes may take a while.
const SOON_MS: u64 = 3_000;

/// A fault that waits to be healed.
struct Active {
    record: usize,
    until: Moment,
    undo: Undo,
}

/// Carries out `plan` from now on; returns when all of it was healed. Once `stop` is set it begins nothing more and
/// heals at once. `tell` hears of each record when it was installed and when it was healed.
pub fn run(
    ground: &mut Ground,
    plan: &[Strike],
    stop: &AtomicBool,
    mut tell: impl FnMut(&Record),
) -> Vec<Record> {
    let began = clock::now();
    let mut records: Vec<Record> = vec![];
    let mut active: Vec<Active> = vec![];
    let mut left = plan.iter().peekable();
    loop {
        let stopped = stop.load(Ordering::SeqCst);
        let now = clock::now();
        let is_over = |fault: &mut Active| stopped || fault.until <= now;
        for fault in active.extract_if(.., is_over).collect::<Vec<_>>() {
            let result = ground.heal(fault.undo);
            let record = &mut records[fault.record];
            record.healed = Some(clock::now());
            record.trouble = result.err().map(|error| format!("{error:#}"));
            tell(record);
        }
        let is_free = active.iter().all(|it| it.until > later(now, SOON_MS));
        let next = left.next_if(|it| !stopped && is_free && later(began, it.at_ms) <= now);
        if let Some(strike) = next {
            let (record, undo) = begin(ground, strike);
            tell(&record);
            active.push(Active {
                record: records.len(),
                until: later(record.installed, strike.lasts_ms),
                undo,
            });
            records.push(record);
            continue;
        }
        if active.is_empty() && (stopped || left.peek().is_none()) {
            return records;
        }
        std::thread::sleep(POLL);
    }
}

fn begin(ground: &mut Ground, strike: &Strike) -> (Record, Undo) {
    let host = ground.host(strike.target);
    let began = clock::now();
    let (outcome, undo) = match &host {
        Some(host) => ground.install(strike, host),
        None => {
            let why = format!("nobody is known to be {:?}", strike.target);
            (Outcome::Skipped(why), Undo::Nothing)
        }
    };
    let record = Record {
        fault: strike.fault,
        target: strike.target,
        host: host.unwrap_or_default(),
        began,
        installed: clock::now(),
        outcome,
        healed: None,
        trouble: None,
    };
    (record, undo)
}

fn later(moment: Moment, ms: u64) -> Moment {
    Moment(moment.0 + ms * 1_000_000)
}
