//! How the acts of a duty change the host.

use super::*;

impl Host {
    pub(super) fn act(&mut self, tick: u64, random: &mut Random, effects: &mut Vec<Effect>) {
        let agent = self.agent.as_mut().expect("it works");
        let act = match agent.acting.take() {
            Some((until, act)) if until > tick => {
                agent.acting = Some((until, act));
                return;
            }
            Some((_, act)) => act,
            None => {
                let local = self.observe(tick);
                let agent = self.agent.as_mut().expect("it works");
                let Some(running) = &mut agent.running else {
                    return;
                };
                if tick > running.deadline {
                    self.finish(
                        Outcome::Failed("it took too long".to_owned()),
                        tick,
                        effects,
                    );
                    return;
                }
                let act = running.duty.next(&local);
                let takes = self.begin(&act, random);
                if takes > 0 {
                    self.agent.as_mut().expect("it works").acting = Some((tick + takes, act));
                    return;
                }
                act
            }
        };
        self.perform(act, tick, random, effects);
    }

    /// What an act does at its beginning, and how many ticks it takes.
    pub(super) fn begin(&mut self, act: &Act, random: &mut Random) -> u64 {
        match act {
            Act::Look | Act::Finish(_) | Act::Renew => 0,
            Act::Rewind { .. } => {
                self.disk.incarnation = None;
                self.disk.interrupted = true;
                random.between(10, 60)
            }
            Act::Clone { .. } => random.between(20, 150),
            _ => random.below(3),
        }
    }

    pub(super) fn perform(
        &mut self,
        act: Act,
        tick: u64,
        random: &mut Random,
        effects: &mut Vec<Effect>,
    ) {
        let index_of = |address: &Address, all: &[Address]| {
            all.iter()
                .position(|a| a == address)
                .expect("a known address")
        };
        match act {
            Act::Look => {}
            Act::Finish(outcome) => self.finish(outcome, tick, effects),
            Act::StopAll => self.stop_all(tick, Stopped::Ordered),
            Act::Renew => {
                let agent = self.agent.as_mut().expect("it works");
                if tick >= agent.next_renewal {
                    agent.next_renewal = tick + 3;
                    self.renew(tick, effects);
                }
            }
            Act::ScanThenPromise => {
                let order = self
                    .agent
                    .as_ref()
                    .and_then(|a| a.running.as_ref())
                    .map(|r| r.order);
                effects.extend(order.map(|order| Effect::Fenced { order }));
                let mut position = self.disk.exists.then(|| self.disk.end());
                if broken!(ScannedPosition)
                    && let (Some(position), Some(postgres)) = (&mut position, &self.postgres)
                    && postgres.in_recovery
                {
                    position.lsn = primacy::model::Lsn(postgres.remembered as u64);
                    position.timeline = primacy::model::Timeline(
                        self.disk.wal[..postgres.remembered]
                            .last()
                            .map_or(1, |r| r.timeline),
                    );
                }
                let promise = Promise {
                    incarnation: self.observe(tick).incarnation(),
                    position,
                    running: self.postgres.is_some(),
                };
                let evidence = Evidence::Promised {
                    instance: self.id.clone(),
                    promise,
                };
                self.finish(Outcome::Evidence(evidence), tick, effects);
            }
            Act::Plant { below } => {
                let from = self.disk.highest_timeline().0 + 1;
                self.disk.planted.extend(from..below.0);
            }
            Act::Initialise { incarnation } => {
                if !self.disk.exists {
                    self.disk = Disk {
                        exists: true,
                        wal: vec![crate::postgres::Record {
                            timeline: 1,
                            value: 0,
                        }],
                        real: [1].into(),
                        incarnation: Some((self.index, incarnation)),
                        ..Disk::default()
                    };
                }
            }
            Act::Rewind { source } => {
                let source = index_of(&source.address, &self.addresses);
                effects.push(Effect::CopyFrom {
                    source,
                    rewind: true,
                });
            }
            Act::Clone { source } => {
                let source = index_of(&source.address, &self.addresses);
                effects.push(Effect::CopyFrom {
                    source,
                    rewind: false,
                });
            }
            Act::Settle { incarnation, .. } => {
                self.disk.incarnation = Some((self.index, incarnation));
                self.disk.interrupted = false;
                self.disk.names = String::new();
                self.disk.source = None;
                self.disk.standby_signal = true;
            }
            Act::StartStandby { source } => {
                if self.postgres.is_some() {
                    return;
                }
                self.disk.standby_signal = true;
                let highest = self.disk.real.last().copied().unwrap_or(0);
                self.disk.planted.retain(|n| *n < highest);
                self.disk.source = source.map(|source| crate::postgres::SourceConf {
                    node: index_of(&source.address, &self.addresses),
                    name: source.application_name,
                });
                self.postgres = Some(Postgres::start(&self.disk, tick, random));
                if let Some(promise) = self.agent.as_ref().and_then(|a| a.promise.clone())
                    && promise.promotion_asked
                {
                    self.persist(PromiseRecord {
                        promotion_asked: false,
                        ..promise
                    });
                }
            }
            Act::EmptySources
            | Act::PauseReplay
            | Act::ResumeReplay
            | Act::TerminateReceivers
            | Act::ConfigurePrimary { .. }
            | Act::PointAt { .. }
            | Act::AskPromotion => self.sql(act, tick, random, effects),
        }
    }

    /// Acts that need a server that answers.
    pub(super) fn sql(
        &mut self,
        act: Act,
        tick: u64,
        random: &mut Random,
        effects: &mut Vec<Effect>,
    ) {
        let answers = self.postgres.as_ref().is_some_and(|p| p.answers(tick));
        if !answers || random.one_in(150) {
            let agent = self.agent.as_mut().expect("it works");
            let outcome = agent
                .running
                .as_mut()
                .and_then(|running| running.duty.failed(&act, "no answer"));
            if let Some(outcome) = outcome {
                self.finish(outcome, tick, effects);
            }
            return;
        }
        if act == Act::AskPromotion
            && let Some(promise) = self.agent.as_ref().and_then(|a| a.promise.clone())
        {
            self.persist(PromiseRecord {
                promotion_asked: true,
                ..promise
            });
        }
        let postgres = self.postgres.as_mut().expect("it answers");
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
                postgres.receiver = None;
                postgres.retry_at = tick + random.between(1, 5);
            }
            Act::ConfigurePrimary {
                synchronous_standby_names,
                ..
            } => {
                self.disk.source = None;
                if !(broken!(OwnSynchronousNames) && postgres.in_recovery) {
                    self.disk.names = synchronous_standby_names;
                }
                postgres.reload(&self.disk, tick, random);
            }
            Act::PointAt { source } => {
                let node = self.addresses.iter().position(|a| *a == source.address);
                self.disk.source = Some(crate::postgres::SourceConf {
                    node: node.expect("a known address"),
                    name: source.application_name,
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
    }
}
