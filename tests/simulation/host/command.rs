//! What the agent makes of a command: the gate, and what is running already.

use super::*;

/// Of the lease that an agent gives itself where only the renewal may.
const LEASE_LENGTH: Duration = Duration::from_secs(10);

impl Host {
    pub(super) fn command(
        &mut self,
        from: usize,
        id: u64,
        step: Step,
        tick: u64,
        random: &mut Random,
    ) -> Vec<Effect> {
        let now = self.now(tick);
        let agent = self.agent.as_ref().expect("it received");
        let reply = |outcome| {
            vec![Effect::Send {
                to: from,
                message: AgentMessage::Outcome { id, outcome },
            }]
        };
        let is_question = matches!(step.action, Action::Ask { .. } | Action::Locate { .. });
        if is_question && tick < self.blind_until {
            // It is answered from a look, and none succeeds.
            return vec![];
        }
        if let Action::Ask { epoch } = step.action {
            let hears = self.postgres.as_ref().is_some_and(|p| {
                p.receiver.as_ref().is_some_and(|r| {
                    r.streaming
                        && (tick - r.last_heard.min(tick)) * TICK < DEAF_AFTER.as_millis() as u64
                })
            });
            return reply(Outcome::Answer(Answer {
                epoch,
                would_promise: would_promise(agent, epoch, now),
                hears_primary: hears,
                incarnation: self.observe(tick).incarnation(),
            }));
        }
        let record = match gate::admit(
            agent.promise.as_ref(),
            step.order,
            agent.word.remaining(now),
        ) {
            Ok(record) => record,
            Err(refusal) => return reply(Outcome::Refused(refusal)),
        };
        if !self.keeps(&record, tick) {
            let why = "the promise cannot be kept on disk".to_owned();
            let reply = reply(Outcome::Failed(why));
            if step.action == Action::Fence && self.postgres.is_some() {
                self.stop(Stopped::Ordered, tick, random);
            }
            return reply;
        }
        self.persist(record);
        if let Action::Locate { .. } = step.action {
            let local = self.observe(tick);
            let is_primary = local.lease == Some(step.order.epoch)
                && local
                    .session
                    .as_ref()
                    .is_some_and(|session| !session.in_recovery);
            return reply(if is_primary {
                Outcome::At(self.disk.end().lsn)
            } else {
                Outcome::Failed("it is not the primary".to_owned())
            });
        }
        let agent = self.agent.as_mut().expect("it received");
        if let Some(running) = &mut agent.running
            && running.action == step.action
            && running.order.epoch == step.order.epoch
        {
            running.order = step.order;
            running.reply_to.push((from, id));
            return vec![];
        }
        if broken!(OnlyRenewalGrants) && matches!(step.action, Action::Promote { .. }) {
            let lease = Lease::granted(step.order, now, LEASE_LENGTH);
            agent.lease.hold(lease);
            self.deadline = Some(lease.until);
        }
        let mut effects = Vec::new();
        if step.action == Action::Fence {
            effects.push(Effect::FenceAdmitted { order: step.order });
            if std::mem::take(&mut self.dies_at_fence) {
                effects.push(Effect::Crash);
            }
        }
        let agent = self.agent.as_mut().expect("it received");
        let sets_names = matches!(
            step.action,
            Action::Configure { .. } | Action::Confirm { .. }
        );
        let is_going_down = agent
            .running
            .as_ref()
            .is_some_and(|it| it.duty.shuts_down() == Some(true));
        if let Action::Confirm { .. } = step.action {
            agent.backing.forget(agent.lease.last_serial());
        }
        if is_going_down && sets_names {
            effects.extend(reply(Outcome::Failed("it is being shut down".to_owned())));
            return effects;
        }
        if agent.running.is_some() {
            // What can be dropped in the middle is dropped; everything else runs to its end.
            let is_droppable = |(_, act): &mut (u64, Act)| {
                matches!(
                    act,
                    Act::Clone { .. }
                        | Act::Rewind { .. }
                        | Act::Initialise { .. }
                        | Act::Checkpoint
                        | Act::ProveSenders { .. }
                        | Act::Commit
                )
            };
            if agent.acting.take_if(is_droppable).is_some() {
                agent.trust_from_now(tick);
            }
            let why = format!("replaced by command {}", step.order);
            self.finish(Outcome::Failed(why), tick, &mut effects);
        }
        let agent = self.agent.as_mut().expect("it received");
        agent.looks.anew(tick);
        if let Some(duty) = Duty::new(&step.action, step.order, now) {
            agent.running = Some(Running {
                first_look: agent.looks.count + 1,
                order: step.order,
                deadline: tick + step.action.timeout().as_millis().min(30_000) as u64 / TICK,
                action: step.action,
                duty,
                reply_to: vec![(from, id)],
            });
        }
        effects
    }
}

fn would_promise(agent: &Agent, epoch: Epoch, now: Timestamp) -> bool {
    gate::would_promise(agent.promise.as_ref(), epoch, agent.word.remaining(now))
        && !agent.backing.carries(now)
}
