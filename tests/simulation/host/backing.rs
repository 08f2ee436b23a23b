//! Agents among themselves: who backs a primary that its peers do not reach.

use primacy::model::{Database, DiskTrouble, Report};

use super::*;

impl Host {
    /// Asks the others, once the lease was not renewed in time, for a primary that serves.
    pub(super) fn ask_backers(&mut self, tick: u64, effects: &mut Vec<Effect>) {
        let now = self.now(tick);
        let works = |it: &Report| {
            let fails = it.disk.as_ref().is_some_and(DiskTrouble::is_failure);
            matches!(it.database, Database::Primary { .. }) && !fails
        };
        if !self.report(tick).as_ref().is_some_and(works) {
            return;
        }
        let agent = self.agent.as_mut().expect("it works");
        let (lease, length) = (agent.live_lease(now), agent.lease.length());
        if agent
            .backing
            .ask_at(lease, length)
            .is_none_or(|at| now < at)
        {
            return;
        }
        let (epoch, backers) = agent.backing.ask(now);
        let (session, receiving) = (agent.session, backers.receiving);
        effects.extend(backers.agents.values().map(|address| Effect::Say {
            to: usize::from(address.port),
            session,
            talk: Talk::Ask {
                epoch,
                sent: now,
                receiving,
            },
        }));
        // Where nobody else is, nobody is needed.
        self.count_backers(tick, effects);
    }

    /// What another agent says; `session` is that of the agent which asked.
    pub fn hear_agent(
        &mut self,
        from: usize,
        session: u32,
        by: &InstanceId,
        talk: Talk,
        tick: u64,
    ) -> Vec<Effect> {
        let now = self.now(tick);
        let mut effects = Vec::new();
        let Some(agent) = self.agent.as_mut().filter(|agent| !agent.frozen) else {
            return effects;
        };
        match talk {
            Talk::Ask { receiving, .. } if receiving && !hears(agent) => {}
            Talk::Ask { epoch, sent, .. } => {
                let given = agent.word.give(agent.promise.as_ref(), epoch, now);
                let Some(record) = given.ok().filter(|record| self.keeps(record, tick)) else {
                    return effects;
                };
                self.persist(record);
                effects.push(Effect::Say {
                    to: from,
                    session,
                    talk: Talk::Backed { epoch, sent },
                });
            }
            Talk::Backed { epoch, sent } if agent.session == session => {
                agent.backing.backed(by, epoch, sent, now);
                self.count_backers(tick, &mut effects);
            }
            Talk::Backed { .. } => {}
        }
        effects
    }

    fn count_backers(&mut self, tick: u64, effects: &mut Vec<Effect>) {
        let now = self.now(tick);
        let agent = self.agent.as_mut().expect("it heard");
        let until = agent.backing.until().filter(|until| *until > now);
        let lives = agent.live_lease(now).is_some() && agent.disarm_at.is_none();
        let backed = until
            .filter(|_| lives)
            .and_then(|it| agent.lease.backed(it));
        if let Some(lease) = backed {
            agent.arming.push((tick, lease, false));
            effects.push(Effect::Backed);
        }
    }
}

fn hears(agent: &Agent) -> bool {
    let session = agent
        .known
        .as_ref()
        .and_then(|it| it.local.session.as_ref());
    let heard = session.and_then(|it| it.streams.as_ref());
    heard.is_some_and(|(_, silent)| *silent < DEAF_AFTER)
}
