//! How the acts of a duty change the host.

use super::*;

impl Host {
    /// What an act does at its beginning, and how many ticks it takes.
    pub(super) fn begin(&mut self, act: &Act, tick: u64, random: &mut Random) -> u64 {
        match act {
            Act::Look | Act::Finish(_) | Act::Renew => 0,
            Act::StopAll => {
                self.kill_postgres(tick, random);
                0
            }
            Act::Rewind { .. } => {
                self.disk.incarnation = None;
                self.disk.interrupted = true;
                random.between(10, 60)
            }
            Act::Clone { .. } => random.between(20, 150),
            _ if tick < self.slow_until => random.between(5, 60),
            _ => random.below(3),
        }
    }

    /// What an act does at its end; an outcome ends the duty. Errors: in words.
    pub(super) fn perform(
        &mut self,
        act: &Act,
        tick: u64,
        random: &mut Random,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Outcome>, &'static str> {
        if !self.writes(tick) && writes_files(act) {
            return Err("the disk takes no writes");
        }
        match act {
            // Every database is made by its agent here, and names are in force at once.
            Act::Look | Act::Finish(_) | Act::Renew | Act::TakeIn(_) | Act::ProveWaiting => {}
            // It was acknowledged.
            Act::Commit => {}
            Act::ProveSenders {
                synchronous_standby_names: names,
            } => {
                let postgres = self.postgres.as_ref().filter(|it| it.answers(tick));
                let postgres = postgres.ok_or("no server answers")?;
                if !postgres.all_run(names) {
                    return Err("a walsender does not run the names in force yet");
                }
            }
            Act::StopAll => {
                let ran = self.agent.as_ref().and_then(|it| it.known.as_ref());
                let ran = ran.is_some_and(|known| known.local.is_running);
                self.all_stopped(tick, ran.then_some(Stopped::Ordered));
            }
            Act::ScanThenPromise => return Ok(Some(self.promise(tick, effects))),
            Act::Plant { below } => {
                let from = self.disk.highest_timeline().0 + 1;
                self.disk.planted.extend(from..below.0);
            }
            Act::Initialise { incarnation } => {
                if !self.disk.exists {
                    self.disk = Disk {
                        exists: true,
                        wal: vec![crate::disk::Record {
                            timeline: 1,
                            value: 0,
                        }],
                        flushed: 1,
                        real: [1].into(),
                        incarnation: Some((self.index, *incarnation)),
                        standby_signal: true,
                        ..Disk::default()
                    };
                }
            }
            Act::Rewind { source } | Act::Clone { source } => {
                let source = self.node(&source.address);
                let act = act.clone();
                effects.push(Effect::CopyFrom { source, act });
            }
            Act::Settle { incarnation, .. } => {
                self.disk.incarnation = Some((self.index, *incarnation));
                self.disk.interrupted = false;
                self.disk.names = String::new();
                self.disk.source = None;
                self.disk.standby_signal = true;
            }
            Act::StartStandby { source } => {
                if self.postgres.is_some() {
                    return Err("processes work in the data folder");
                }
                let now = self.now(tick);
                let leased = self.agent.as_ref().and_then(|it| it.lease_epoch(now));
                if leased.is_none() {
                    // Or the end of an old lease would kill the standby.
                    self.deadline = None;
                }
                self.disk.standby_signal = true;
                let highest = self.disk.real.last().copied().unwrap_or(0);
                self.disk.planted.retain(|n| *n < highest);
                self.disk.source = source.as_ref().map(|source| SourceConf {
                    node: self.node(&source.address),
                    name: source.application_name.clone(),
                });
                self.postgres = Some(Postgres::start(&mut self.disk, tick, random));
            }
            Act::EmptySources
            | Act::PauseReplay
            | Act::ResumeReplay
            | Act::TerminateReceivers
            | Act::ConfigurePrimary { .. }
            | Act::PointAt { .. }
            | Act::AskPromotion
            | Act::Checkpoint => self.sql(act, tick, random)?,
            Act::ShutDown => {
                let running = self.agent.as_ref().and_then(|it| it.running.as_ref());
                effects.extend(running.map(|it| Effect::ToldToShutDown { order: it.order }));
                if let Some(postgres) = &mut self.postgres {
                    postgres.shut_down(tick, random);
                }
            }
        }
        Ok(None)
    }

    fn node(&self, address: &Address) -> usize {
        let known = self.addresses.iter().position(|a| a == address);
        known.expect("a known address")
    }

    fn promise(&mut self, tick: u64, effects: &mut Vec<Effect>) -> Outcome {
        let running = self.agent.as_ref().and_then(|a| a.running.as_ref());
        effects.extend(running.map(|it| Effect::Fenced { order: it.order }));
        let mut position = self.disk.exists.then(|| self.disk.end());
        if broken!(ScannedPosition)
            && let (Some(position), Some(postgres)) = (&mut position, &self.postgres)
            && postgres.in_recovery
        {
            *position = self.disk.at(postgres.remembered);
        }
        Outcome::Evidence(Evidence::Promised {
            instance: self.id.clone(),
            promise: Promise {
                incarnation: self.observe(tick).incarnation(),
                position,
                running: self.postgres.is_some(),
            },
        })
    }

    /// Acts that need a server that answers.
    fn sql(&mut self, act: &Act, tick: u64, random: &mut Random) -> Result<(), &'static str> {
        let node = match act {
            Act::PointAt { source } => Some(self.node(&source.address)),
            _ => None,
        };
        let Some(postgres) = &mut self.postgres else {
            return Err("no server runs");
        };
        if !postgres.answers(tick) || random.one_in(150) {
            // The statement may have reached the server all the same.
            if random.chance(50) {
                let late = tick + random.between(1, 60);
                postgres.late.push((late, act.clone()));
            }
            return Err("no answer in time");
        }
        match act {
            Act::EmptySources => {
                self.disk.source = None;
                postgres.reload(&self.disk, tick, random);
            }
            Act::PauseReplay if postgres.replay == Replay::Running => {
                postgres.replay = Replay::Requested;
            }
            Act::ResumeReplay => postgres.replay = Replay::Running,
            Act::TerminateReceivers => {
                postgres.end_receiver(&mut self.disk);
                postgres.retry_at = tick + random.between(1, 5);
            }
            Act::ConfigurePrimary {
                synchronous_standby_names,
                ..
            } => {
                self.disk.source = None;
                if !(broken!(OwnSynchronousNames) && postgres.in_recovery) {
                    self.disk.names.clone_from(synchronous_standby_names);
                }
                postgres.reload(&self.disk, tick, random);
            }
            Act::PointAt { source } => {
                self.disk.source = node.map(|node| SourceConf {
                    node,
                    name: source.application_name.clone(),
                });
                postgres.reload(&self.disk, tick, random);
            }
            Act::AskPromotion => {
                // Most take a moment; now and then one completes long after it was asked for.
                let takes = if random.one_in(3) {
                    random.between(50, 300)
                } else {
                    random.between(1, 5)
                };
                postgres.promote_at = Some(tick + takes);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the data folder must take a write for it.
fn writes_files(act: &Act) -> bool {
    match act {
        Act::EmptySources
        | Act::Plant { .. }
        | Act::ConfigurePrimary { .. }
        | Act::StartStandby { .. }
        | Act::PointAt { .. }
        | Act::Initialise { .. }
        | Act::Rewind { .. }
        | Act::Clone { .. }
        | Act::Settle { .. }
        | Act::Checkpoint
        | Act::TakeIn(_) => true,
        Act::Look
        | Act::StopAll
        | Act::PauseReplay
        | Act::ResumeReplay
        | Act::TerminateReceivers
        | Act::ScanThenPromise
        | Act::Renew
        | Act::AskPromotion
        | Act::ProveWaiting
        | Act::ProveSenders { .. }
        | Act::Commit
        | Act::ShutDown
        | Act::Finish(_) => false,
    }
}
