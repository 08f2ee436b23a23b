//! What becomes of the data of servers: it is copied anew, restored, put back with its volume, or only touched.

use std::collections::BTreeMap;

use super::{Add, NAMES, STANDBY, World};

impl World {
    pub(super) fn data(&self, add: &mut Add<'_>) {
        let (happened, bounds) = (&self.happened, &self.bounds);
        // Before copies are recorded each of them counts, as the status says.
        let are_recorded = self.record().cluster.copies.len() == NAMES.len();
        if happened.copies < bounds.copies && are_recorded {
            self.copies(add);
        }
        if happened.rollbacks < bounds.rollbacks && are_recorded {
            self.rollbacks(add);
        }
        if happened.touches < bounds.touches {
            self.touches(add);
        }
    }

    /// The data of a server is replaced, and it is started as a standby.
    fn copies(&self, add: &mut Add<'_>) {
        for (it, name) in NAMES.iter().enumerate() {
            if self.servers[it].is_primary() {
                continue;
            }
            for (from, source) in NAMES.iter().enumerate().filter(|(from, _)| *from != it) {
                if self.servers[from].is_alive {
                    add(format!("{name} is copied anew from {source}"), &|next| {
                        let of = next.servers[from].clone();
                        next.servers[it].follows = from;
                        next.replace(it, (of.timeline, of.wal, of.left_at));
                    });
                }
            }
            add(format!("{name} is restored from an old backup"), &|next| {
                next.replace(it, (1, vec![], BTreeMap::new()));
            });
        }
    }

    pub(super) fn replace(&mut self, it: usize, of: (u32, Vec<u8>, BTreeMap<u32, usize>)) {
        self.happened.copies += 1;
        let server = &mut self.servers[it];
        (server.timeline, server.wal, server.left_at) = of;
        server.copy += 1;
        self.start_as_standby(it);
    }

    /// Its volume is put back: the data is old, and the times of its files are as they were.
    fn rollbacks(&self, add: &mut Add<'_>) {
        for (it, name) in NAMES.iter().enumerate() {
            if !self.servers[it].is_primary() {
                add(format!("the volume of {name} is put back"), &|next| {
                    next.happened.rollbacks += 1;
                    let server = &mut next.servers[it];
                    (server.timeline, server.wal, server.left_at) = (1, vec![], BTreeMap::new());
                    server.is_rolled_back = true;
                    next.start_as_standby(it);
                });
            }
        }
    }

    /// The entries of its files are changed, while it runs or before it is started as the standby that it was.
    fn touches(&self, add: &mut Add<'_>) {
        for (it, name) in NAMES.iter().enumerate() {
            add(format!("the files of {name} are touched"), &|next| {
                next.happened.touches += 1;
                next.servers[it].touched += 1;
            });
            if self.servers[it].role == STANDBY {
                let what = format!("{name} is started again over files that were touched");
                add(what, &|next| {
                    next.happened.touches += 1;
                    next.servers[it].touched += 1;
                    next.start_as_standby(it);
                });
            }
        }
    }

    fn start_as_standby(&mut self, it: usize) {
        let server = &mut self.servers[it];
        server.starts += 1;
        self.goals[it] = None;
        (server.is_alive, server.role) = (true, STANDBY);
        (server.is_told, server.is_ours, server.is_quiet) = (false, false, false);
        // It begins to follow whom its copy did, which may have been revoked.
        server.is_loose = true;
    }
}
