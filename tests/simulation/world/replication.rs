//! What the databases do: clients write, standbys stream, commits are acknowledged, data is copied.

use super::*;

/// How many commits may be under way at once.
const CLIENTS: usize = 5;

impl World {
    pub(super) fn copy(&mut self, to: usize, from: usize, act: &Act) {
        let source = &self.hosts[from];
        let serves = source
            .postgres
            .as_ref()
            .is_some_and(|p| p.answers(self.now));
        let linked = self.network.both_ways(End::Host(from), End::Host(to));
        if !serves || !linked {
            let mut effects = Vec::new();
            let why = Err("the source does not answer");
            self.hosts[to].acted(act, why, self.now, &mut effects);
            self.perform(to, effects);
            return;
        }
        let rewind = matches!(act, Act::Rewind { .. });
        let copied = source.disk.clone();
        let target = &mut self.hosts[to];
        if rewind && target.disk.timeline() == copied.timeline() {
            // "No rewind required": the timeline numbers agree, whatever the contents. The recovery before it has
            // written a checkpoint, on the timeline of the source.
            let timeline = target.disk.timeline().0;
            target.disk.wal.push(Record { timeline, value: 0 });
            target.disk.flush();
            let mut effects = Vec::new();
            target.acted(act, Err("it changed nothing"), self.now, &mut effects);
            self.perform(to, effects);
            return;
        }
        target.disk = copied;
        target.disk.flush();
        target.disk.interrupted = rewind && self.random.one_in(20);
    }

    /// A client, or the agent's barrier, writes on this host.
    pub(super) fn write(&mut self, index: usize) -> u32 {
        let host = &mut self.hosts[index];
        let timeline = host.disk.timeline().0;
        let value = self.next_value;
        self.next_value += 1;
        host.disk.wal.push(Record { timeline, value });
        // A primary sends only what it has flushed.
        host.disk.flush();
        let lsn = host.disk.wal.len();
        if let Some(postgres) = &mut host.postgres {
            postgres.waiting.push_back((lsn, value));
        }
        self.events.push(Event::Appended {
            host: index,
            from_timeline: timeline,
        });
        value
    }

    /// The commit with which a durability is confirmed.
    pub(super) fn begin_commit(&mut self, index: usize) {
        let postgres = self.hosts[index].postgres.as_ref();
        if !postgres.is_some_and(|it| it.commits(self.now)) {
            return;
        }
        let value = self.write(index);
        if let Some(agent) = &mut self.hosts[index].agent {
            agent.commit = Some(Commit::Waits(value));
        }
    }

    /// A client commits on this host.
    fn commit(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        match host.disk_fault(self.now).map(|fault| fault.trouble) {
            None => {
                self.write(index);
            }
            Some(Trouble::Full) => {}
            Some(Trouble::Stalled) => {
                // It is written, and its flush hangs; soon every client waits.
                if host.disk.wal.len() < host.disk.flushed + CLIENTS {
                    let flushed = host.disk.flushed;
                    self.write(index);
                    self.hosts[index].disk.flushed = flushed;
                }
            }
        }
    }

    pub(super) fn databases(&mut self) {
        for index in 0..self.hosts.len() {
            let host = &mut self.hosts[index];
            if let Some(agent_at) = host.restart_agent_at
                && agent_at <= self.now
                && !host.leash_frozen
            {
                host.restart_agent_at = None;
                host.start_agent(self.now);
            }
            let writes = host.writes(self.now);
            if writes {
                host.wrote_at = self.now;
            }
            let Some(postgres) = &mut host.postgres else {
                continue;
            };
            if postgres.is_gone(self.now) {
                host.postgres = None;
                continue;
            }
            postgres.carry_out_late(self.now);
            if postgres.works(self.now) {
                postgres.read_settings(self.now);
            }
            let promoted = postgres.recover(&mut host.disk, writes, self.now, &mut self.random);
            if promoted {
                let timeline = host.disk.timeline().0;
                self.events.push(Event::Promoted {
                    host: index,
                    timeline,
                });
                self.events.push(Event::Appended {
                    host: index,
                    from_timeline: timeline,
                });
                self.say(|| format!("host {index} is promoted on timeline {timeline}"));
            }
        }
        for index in 0..self.hosts.len() {
            self.stream(index);
        }
        for index in 0..self.hosts.len() {
            self.forget_lost_walsenders(index);
            self.go_down(index);
            let commits = self.hosts[index]
                .postgres
                .as_ref()
                .is_some_and(|p| p.commits(self.now));
            if commits && !self.is_quiet && self.now.is_multiple_of(2) && self.random.chance(70) {
                self.commit(index);
            }
            let trouble = self.hosts[index].disk_fault(self.now).map(|it| it.trouble);
            let Host { postgres, disk, .. } = &mut self.hosts[index];
            let Some(postgres) = postgres
                .as_mut()
                .filter(|p| p.commits(self.now) && trouble != Some(Trouble::Stalled))
            else {
                continue;
            };
            // What waited for the disk is flushed before it is acknowledged.
            disk.flush();
            let acknowledged = postgres.acknowledge();
            for value in acknowledged {
                self.acknowledge(index, value);
            }
        }
    }

    /// A server that was told to shut down ends once everybody that streams from it has all of its WAL.
    fn go_down(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let takes_writes = host.writes(self.now);
        let Some(postgres) = host.postgres.as_mut().filter(|_| takes_writes) else {
            return;
        };
        let (is_written, is_down) = postgres.go_down(&mut host.disk, self.now);
        if is_down {
            host.postgres = None;
        }
        if is_written {
            let from_timeline = host.disk.timeline().0;
            self.events.push(Event::Appended {
                host: index,
                from_timeline,
            });
        }
    }

    /// What a forced election leaves behind was given up by an operator's word, if it lies beyond what that spoke of.
    pub(super) fn lose_what_was_accepted(&mut self, candidate: &InstanceId, accepted: WalPosition) {
        let host = self.hosts.iter().find(|host| host.id == *candidate);
        let Some(host) = host else { return };
        let held: BTreeSet<u32> = host.disk.wal.iter().map(|record| record.value).collect();
        self.acknowledged
            .retain(|(value, at)| held.contains(value) || *at <= accepted);
    }

    pub(super) fn acknowledge(&mut self, index: usize, value: u32) {
        let host = &mut self.hosts[index];
        let timeline = host.disk.timeline().0;
        if let Some(agent) = &mut host.agent
            && let Some((_, epoch)) = agent.barrier.take_if(|(barrier, _)| *barrier == value)
        {
            agent.first_commit = Some((epoch, Lsn(host.disk.wal.len() as u64)));
            agent.next_report = self.now;
        }
        if let Some(agent) = &mut host.agent
            && agent.commit == Some(Commit::Waits(value))
        {
            agent.commit = Some(Commit::Acknowledged);
        }
        let ends = host.disk.wal.iter().rposition(|it| it.value == value);
        let at = host.disk.at(ends.map_or(0, |index| index + 1));
        self.acknowledged.push((value, at));
        self.events.push(Event::Acknowledged {
            host: index,
            value,
            timeline,
        });
    }

    /// Streaming replication into this host, one tick.
    pub(super) fn stream(&mut self, index: usize) {
        let Some(postgres) = &self.hosts[index].postgres else {
            return;
        };
        let Some(receiver) = &postgres.receiver else {
            return;
        };
        if !postgres.works(self.now) {
            return;
        }
        let source_index = receiver.source;
        let source_works = self.hosts[source_index]
            .postgres
            .as_ref()
            .is_some_and(|p| p.works(self.now));
        let source_runs = self.hosts[source_index].postgres.is_some();
        let hears = !self
            .network
            .is_cut(End::Host(source_index), End::Host(index));
        let is_heard = !self
            .network
            .is_cut(End::Host(index), End::Host(source_index));
        // It looks at the clock every 100 ms.
        let deaf = self.now - receiver.last_heard > 50 && self.now % 5 == index as u64;
        let is_promoted =
            self.hosts[source_index].disk.timeline() != self.hosts[index].disk.timeline();
        let own_end = self.hosts[index].disk.end();
        let source_end = self.hosts[source_index].disk.end();
        let mut drop_receiver = deaf || (hears && !source_runs);
        let may = source_index != index
            && self.hosts[source_index].disk.lineage().contains(own_end)
            && own_end.lsn <= source_end.lsn;
        if source_works && hears && is_heard && !drop_receiver {
            drop_receiver = !may;
        }
        if drop_receiver {
            let name = receiver.name.clone();
            let host = &mut self.hosts[index];
            let postgres = host.postgres.as_mut().expect("seen above");
            postgres.end_receiver(&mut host.disk);
            postgres.retry_at = self.now + self.random.between(3, 8);
            if is_heard && let Some(source) = &mut self.hosts[source_index].postgres {
                source.senders.remove(&name);
            }
            return;
        }
        if !(source_works && hears) || self.random.one_in(8) {
            return;
        }
        let name = receiver.name.clone();
        let is_new = !receiver.streaming;
        if is_new
            && !(is_heard
                && self.hosts[source_index]
                    .postgres
                    .as_ref()
                    .is_some_and(|p| p.postmaster && p.down_at.is_none()))
        {
            return;
        }
        let source = &self.hosts[source_index].disk;
        let sent = source.flushed.max(own_end.lsn.0 as usize);
        let missing: Vec<Record> = source.wal[own_end.lsn.0 as usize..sent].to_vec();
        let (left_at, real, planted) = {
            let disk = &self.hosts[source_index].disk;
            (
                disk.left_at.clone(),
                disk.real.clone(),
                disk.planted.clone(),
            )
        };
        let host = &mut self.hosts[index];
        if !host.writes(self.now) {
            // It hears its source, and cannot keep what it is sent.
            if let Some(receiver) = host.postgres.as_mut().and_then(|p| p.receiver.as_mut()) {
                receiver.last_heard = self.now;
            }
            return;
        }
        if is_promoted {
            // It fetches the history files that it lacks.
            host.disk.left_at.extend(left_at);
            host.disk.real.extend(real);
            host.disk.planted.extend(planted);
        }
        if !missing.is_empty() {
            let from_timeline = source_end.timeline.0;
            self.events.push(Event::Appended {
                host: index,
                from_timeline,
            });
        }
        host.disk.wal.extend(missing);
        // What is written is not flushed yet, and counts for nothing before.
        if self.random.chance(60) {
            host.disk.flush();
        }
        let flushed = host.disk.flushed;
        let postgres = host.postgres.as_mut().expect("seen above");
        postgres.remembered = flushed;
        if let Some(receiver) = &mut postgres.receiver {
            receiver.streaming = true;
            receiver.last_heard = self.now;
        }
        if is_heard && let Some(source) = &mut self.hosts[source_index].postgres {
            source.hear(name, flushed);
        }
    }

    /// A walsender ends when its receiver does, as far as its host can tell.
    pub(super) fn forget_lost_walsenders(&mut self, index: usize) {
        let Some(postgres) = &self.hosts[index].postgres else {
            return;
        };
        if postgres.senders.is_empty() || postgres.frozen {
            return;
        }
        let connected: BTreeSet<String> = self
            .hosts
            .iter()
            .filter_map(|host| host.postgres.as_ref()?.receiver.as_ref())
            .filter(|receiver| receiver.source == index && receiver.streaming)
            .map(|receiver| receiver.name.clone())
            .collect();
        if let Some(postgres) = &mut self.hosts[index].postgres {
            postgres.senders.retain(|name, _| connected.contains(name));
        }
    }
}
