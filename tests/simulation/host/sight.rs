//! What a look at the host shows.

use super::*;

impl Host {
    pub fn observe(&self, tick: u64) -> Local {
        let now = self.now(tick);
        let agent = self.agent.as_ref();
        let data = if self.disk.exists {
            Data::Cluster {
                identity: IDENTITY,
                incarnation: self
                    .disk
                    .incarnation
                    .filter(|(owner, _)| *owner == self.index)
                    .map(|(_, incarnation)| incarnation),
                standby_signal: self.disk.standby_signal,
                ends_at: self.postgres.is_none().then(|| self.disk.end()),
                lineage: self.disk.lineage(),
                highest_timeline: self.disk.highest_timeline(),
                unusable: self
                    .disk
                    .interrupted
                    .then(|| "a rewind of its data was interrupted".to_owned()),
            }
        } else {
            Data::Empty
        };
        Local {
            now,
            instance: self.id.clone(),
            data,
            is_running: self.postgres.is_some(),
            has_postmaster: self.postgres.as_ref().is_some_and(|p| p.postmaster),
            session: self
                .postgres
                .as_ref()
                .filter(|p| p.answers(tick))
                .map(|p| self.session(p, tick)),
            lease: agent.and_then(|agent| agent.lease_epoch(now)),
            is_armed: agent.is_some_and(|agent| agent.armed.is_some()),
            promotion_asked: agent
                .and_then(|a| a.promise.as_ref())
                .is_some_and(|promise| promise.promotion_asked),
        }
    }

    fn session(&self, postgres: &Postgres, tick: u64) -> Session {
        let streams = postgres
            .receiver
            .as_ref()
            .filter(|r| r.streaming)
            .map(|receiver| {
                let silent = (tick - receiver.last_heard.min(tick)) * TICK;
                (receiver.name.clone(), Duration::from_millis(silent))
            });
        Session {
            in_recovery: postgres.in_recovery,
            source: postgres.visible_source.as_ref().map(|source| SourceSeen {
                address: self.addresses[source.node].clone(),
                application_name: source.name.clone(),
            }),
            restores: false,
            synchronous_standby_names: postgres.names.text.clone(),
            commits_wait: true,
            read_only_default: false,
            receivers: usize::from(postgres.receiver.is_some()),
            has_received: streams.is_some(),
            streams,
            replay: postgres.replay,
            position: WalPosition {
                timeline: self.disk.timeline(),
                lsn: primacy::model::Lsn(if postgres.in_recovery {
                    postgres.replayed as u64
                } else {
                    self.disk.wal.len() as u64
                }),
            },
        }
    }
}
