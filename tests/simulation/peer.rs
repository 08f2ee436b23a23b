//! Peers: each keeps its own sightings; one is elected; one that was deposed may believe in itself for
//! a while. The log itself is abstracted: a proposal takes effect only if its proposer still leads.

use std::collections::BTreeMap;

use primacy::duty::Tenure;
use primacy::model::{InstanceId, Order, Sighting, Timestamp};
use primacy::state::{Change, ClusterState};

/// A step that was sent and is not answered yet.
pub struct Flight {
    pub id: u64,
    pub host: usize,
    pub name: &'static str,
    pub order: Order,
    pub rejoining: Option<InstanceId>,
    pub expires: u64,
}

/// A renewal that waits for a heartbeat round to a majority.
pub struct Renewal {
    pub due: u64,
    pub host: usize,
    pub session: u32,
    pub serial: u64,
    pub arrived: Timestamp,
    /// The order recorded when it arrived.
    pub order: Order,
    pub term: u64,
    /// Whether it asks for the longer lease of a planned stop.
    pub for_stop: bool,
}

pub struct Peer {
    pub alive: bool,
    pub frozen: bool,
    /// Since when it believes that it leads, and what it granted.
    pub tenure: Option<Tenure>,
    pub renewals: Vec<Renewal>,
    /// Requests for a longer lease whose record is on its way.
    pub stops: Vec<(Change, Renewal)>,
    /// The tick at which a deposed leader notices.
    pub believes_until: u64,
    /// What a deposed leader has applied; the true leader has applied everything.
    pub applied: Option<ClusterState>,
    /// Since when it was neither dead nor frozen.
    pub awake_since: Timestamp,
    pub sightings: BTreeMap<InstanceId, Sighting>,
    pub sessions: BTreeMap<usize, u32>,
    /// When the last report of each host was sent.
    pub last_report: BTreeMap<usize, u64>,
    pub flights: Vec<Flight>,
    pub next_command: u64,
    pub looks: BTreeMap<InstanceId, (Timestamp, usize)>,
    pub restart_at: Option<u64>,
    pub thaw_at: Option<u64>,
}

impl Peer {
    pub fn new() -> Self {
        Peer {
            alive: true,
            frozen: false,
            tenure: None,
            renewals: Vec::new(),
            stops: Vec::new(),
            believes_until: 0,
            applied: None,
            awake_since: Timestamp(0),
            sightings: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_report: BTreeMap::new(),
            flights: Vec::new(),
            next_command: 0,
            looks: BTreeMap::new(),
            restart_at: None,
            thaw_at: None,
        }
    }

    pub fn works(&self) -> bool {
        self.alive && !self.frozen
    }

    pub fn crash(&mut self) {
        let next_command = self.next_command;
        *self = Peer {
            alive: false,
            next_command,
            ..Peer::new()
        };
    }
}
