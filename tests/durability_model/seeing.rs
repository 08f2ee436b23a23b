//! What leaders are told, and what the agent of the primary sees on its host.

use std::time::Duration;

use primacy::duty::{Data, Local, Replay, Session};
use primacy::model::cluster::application_name;
use primacy::model::{
    Database, Incarnation, Lsn, Receiver, Report, Sighting, SystemIdentifier, Timestamp, View,
    WalPosition,
};

use super::leading::{Product, others};
use super::world::World;

impl Product {
    /// What agents have just said.
    pub fn view(&self, world: &World) -> View {
        let now = Timestamp(100_000);
        let cluster = &self.state(world).cluster;
        let primary_id = cluster.primary.clone().unwrap();
        let at = |lsn: u8| WalPosition {
            timeline: cluster.timeline,
            lsn: Lsn(u64::from(lsn)),
        };
        let sighting = |database| Sighting {
            report: Report {
                promised: None,
                incarnation: Some(Incarnation(1)),
                identity: Some(SystemIdentifier(1)),
                database,
                lease: None,
                disk: None,
                weak_commits: vec![],
                insecure: false,
                read_only_default: false,
                commits_waiting: 0,
                lag: None,
            },
            received_at: now,
            connected: true,
            answer: None,
            failure: None,
        };
        let primary = sighting(Database::Primary {
            position: at(world.log),
            synchronous_standby_names: self.texts.get(world.loaded.text).clone(),
            first_commit: None,
        });
        let standbys = others(self.state(world))
            .into_iter()
            .zip(&world.standbys)
            .map(|(id, it)| {
                let streaming = Receiver::Streaming {
                    application_name: application_name(&id, Incarnation(1), cluster.epoch),
                    silent_for: Duration::ZERO,
                };
                let receiver = it.sender.as_ref().map_or(Receiver::None, |_| streaming);
                let database = Database::Standby {
                    flushed: at(it.flushed),
                    replayed: Lsn(0),
                    receiver,
                };
                (id, sighting(database))
            });
        View {
            now,
            instances: standbys.chain([(primary_id, primary)]).collect(),
            leases_lapse_at: now.after(Duration::from_secs(10)),
            longer_leases_lapsed: true,
            peers: 3,
            ..View::default()
        }
    }

    /// What the agent of the primary sees.
    pub fn local(&self, world: &World) -> Local {
        let cluster = &self.state(world).cluster;
        let primary_id = cluster.primary.clone().unwrap();
        Local {
            now: Timestamp(100_000),
            instance: primary_id,
            data: Data::Empty,
            is_running: true,
            has_postmaster: true,
            session: Some(Session {
                in_recovery: false,
                source: None,
                restores: false,
                synchronous_standby_names: self.texts.get(world.loaded.text).clone(),
                commits_wait: true,
                read_only_default: false,
                receivers: 0,
                streams: None,
                has_received: false,
                replay: Replay::Running,
                position: WalPosition {
                    timeline: cluster.timeline,
                    lsn: Lsn(u64::from(world.log)),
                },
            }),
            lease: Some(cluster.epoch),
            is_armed: true,
            promotion_asked: false,
        }
    }
}
