//! What happens by itself, and what somebody does by hand.

use std::collections::BTreeSet;

use primacy::model::{Epoch, SyncRule};
use primacy::state::SqlChange;

use super::{Add, DETACHED, NAMES, PEERS, PRIMARY, STANDBY, World, id};

impl World {
    /// Writes, streams, crashes, starts, and cuts of the network.
    pub(super) fn nature(&self, add: &mut Add<'_>) {
        for (it, name) in NAMES.iter().enumerate() {
            let server = &self.servers[it];
            // Whoever is set on it writes to a quiet primary, too.
            let may_write = server.is_primary() && (!server.is_quiet || self.bounds.is_quorum);
            if may_write && self.happened.commits < self.bounds.commits {
                add(format!("{name} writes"), &|next| next.write(it));
            }
            let source = &self.servers[server.follows];
            if self.streams(it)
                && (server.wal.len(), server.timeline) != (source.wal.len(), source.timeline)
            {
                add(format!("{name} receives"), &|next| next.receive(it));
            }
            if server.is_told && server.is_alive {
                add(format!("{name} opens"), &|next| next.servers[it].open(true));
            }
            if server.is_alive && self.happened.crashes < self.bounds.crashes {
                add(format!("{name} dies"), &|next| {
                    next.happened.crashes += 1;
                    next.servers[it].is_alive = false;
                    next.servers[it].is_told = false;
                });
            }
            if !server.is_alive {
                add(format!("{name} is started"), &|next| {
                    next.servers[it].is_alive = true;
                });
            }
        }
        for (it, name) in NAMES.iter().enumerate() {
            if self.servers[it].old_names.is_some() {
                add(format!("{name} reads its settings"), &|next| {
                    next.servers[it].old_names = None;
                });
            }
        }
        if self.failed.is_some() {
            add("time passes".to_owned(), &|next| next.failed = None);
        }
        self.network(add);
    }

    fn network(&self, add: &mut Add<'_>) {
        let may_cut = self.happened.cuts < self.bounds.cuts;
        for peer in 0..PEERS {
            // Of the standbys only what the leader reaches matters to it.
            for it in if peer == 0 { 0..2 } else { 0..1 } {
                let is_reached = self.servers[it].reached_by[peer];
                if !is_reached || may_cut {
                    let word = if is_reached { "loses" } else { "reaches" };
                    add(format!("peer {peer} {word} {}", NAMES[it]), &|next| {
                        next.servers[it].reached_by[peer] = !is_reached;
                        next.happened.cuts += u8::from(is_reached);
                    });
                }
            }
        }
        for (it, name) in NAMES.iter().enumerate().skip(1) {
            let has_link = self.servers[it].has_link;
            if !has_link || may_cut {
                let what = format!("the link of p and {name} is {}", !has_link);
                add(what, &|next| {
                    next.servers[it].has_link = !has_link;
                    next.happened.cuts += u8::from(has_link);
                });
            }
        }
    }

    pub(super) fn write(&mut self, it: usize) {
        let commit = self.happened.commits;
        self.happened.commits += 1;
        let server = &mut self.servers[it];
        server.wal.push(commit);
        let waits_for_nobody = |names: &BTreeSet<usize>| names.is_empty();
        if self.bounds.is_quorum && server.goes_by().any(waits_for_nobody) {
            self.unguarded.insert(commit);
        }
    }

    fn receive(&mut self, it: usize) {
        let from = self.servers[it].follows;
        let source = self.servers[from].clone();
        let server = &mut self.servers[it];
        let has = server.wal.len();
        server.wal.extend_from_slice(&source.wal[has..]);
        (server.timeline, server.left_at) = (source.timeline, source.left_at.clone());
        let cluster = &self.record().cluster;
        let is_recorded = cluster.primary == Some(id(from));
        let is_suspect = cluster.suspects.contains(&id(from));
        let server = &mut self.servers[it];
        server.is_loose &= !is_recorded;
        // What one of its names has flushed is acknowledged; what somebody does with a copy beside it concerns nobody.
        let is_one = is_recorded || !server.is_loose && (is_suspect || source.is_ours);
        if source.is_primary() && source.goes_by().any(|names| names.contains(&it)) && is_one {
            match self.record().cluster.rule {
                SyncRule::Any { .. } => self.acknowledged.extend(source.wal),
                SyncRule::Async | SyncRule::Unclear { .. } => self.unguarded.extend(source.wal),
            }
        }
    }

    /// What people do: a switchover is asked for, or somebody changes a server behind the leader's back.
    pub(super) fn hands(&self, add: &mut Add<'_>) {
        if self.happened.switchovers < self.bounds.switchovers {
            for (it, name) in NAMES.iter().enumerate() {
                let seen: Epoch = self.record().cluster.epoch;
                add(
                    format!("somebody wants {name} to be the primary"),
                    &|next| {
                        next.happened.switchovers += 1;
                        next.propose(SqlChange::Begin {
                            seen,
                            cause: String::new(),
                            named: Some(id(it)),
                        });
                    },
                );
            }
        }
        self.data(add);
        if self.happened.names < self.bounds.names {
            self.names(add);
        }
        if self.happened.hands < self.bounds.hands {
            self.meddling(add);
        }
    }

    /// Somebody has commits of the primary wait for nobody, or for both standbys again.
    fn names(&self, add: &mut Add<'_>) {
        for names in [BTreeSet::new(), BTreeSet::from([1, 2])] {
            if self.servers[0].is_primary() && self.servers[0].names != names {
                add(format!("commits of p shall wait for {names:?}"), &|next| {
                    next.happened.names += 1;
                    let server = &mut next.servers[0];
                    server.old_names = Some(server.names.clone());
                    server.names = names.clone();
                });
            }
        }
    }

    fn meddling(&self, add: &mut Add<'_>) {
        for (it, name) in NAMES.iter().enumerate() {
            let server = &self.servers[it];
            if server.is_alive && server.role != PRIMARY {
                add(format!("somebody promotes {name}"), &|next| {
                    next.happened.hands += 1;
                    let server = &mut next.servers[it];
                    server.open(server.is_told);
                });
            }
            if server.is_quiet {
                add(format!("somebody lets {name} accept writes"), &|next| {
                    next.happened.hands += 1;
                    next.servers[it].is_quiet = false;
                });
            }
            if server.is_alive && server.role == DETACHED {
                add(format!("somebody has {name} receive again"), &|next| {
                    next.happened.hands += 1;
                    next.servers[it].role = STANDBY;
                    next.servers[it].is_loose = true;
                });
            }
            if server.role == PRIMARY {
                for (source, from) in NAMES.iter().enumerate().filter(|(at, _)| *at != it) {
                    add(
                        format!("somebody makes {name} a standby of {from}"),
                        &|next| {
                            next.happened.hands += 1;
                            let server = &mut next.servers[it];
                            (server.role, server.follows) = (STANDBY, source);
                            (server.is_alive, server.is_ours, server.is_loose) =
                                (true, false, true);
                        },
                    );
                }
            }
        }
    }
}
