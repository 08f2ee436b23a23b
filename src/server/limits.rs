//! Who may be connected. Clients share a number of places, the group and its agents have others, and whoever comes last
//! is let in: if all places are taken, the connection that has been of no use for longest makes room. So neither idle
//! nor slow clients keep a peer or an agent out that is connected, and none of them has to be told from the others first.
//!
//! A connection begins as a client's, also that of a peer: while more newcomers come within its handshake than clients have
//! places, it can be pushed out. It is the group's once a request for the group was answered on it as it wished.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::control::SESSION_PATH;

/// Connections of clients. Each holds at most the headers and the body of one request, some 100 KiB.
const CLIENTS: usize = 1024;
/// The same where the system allows few open files.
const FEWEST_CLIENTS: usize = 64;
/// Connections of other peers, three or four from each, and of agents that begin a session.
const GROUP: usize = 512;
/// Open files that are asked of the system.
const FILES: u64 = 8192;
/// Those of them that clients never get: sessions, the group's connections in both directions, and the log.
const FILES_KEPT: usize = 2048;
/// How long a client may leave an answer unread. Also the end of a connection whose host is gone.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Paths below these are for peers and agents.
const OF_THE_GROUP: [&str; 3] = [raft::PATH_PREFIX, "/internal/v1/", SESSION_PATH];

/// The places of one port. All clones are the same.
#[derive(Clone)]
pub struct Seats(Arc<Mutex<Table>>);

/// How many are connected, and how many had to make room since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Clients.
    pub clients: usize,
    /// Peers, and agents that begin a session.
    pub group: usize,
    /// Connections that made room for others.
    pub displaced: u64,
}

impl Seats {
    pub(super) fn new() -> Seats {
        Seats(Arc::new(Mutex::new(Table {
            clients: clients_of(open_files()),
            ..Table::default()
        })))
    }

    /// How many are connected.
    pub fn counts(&self) -> Counts {
        let table = self.table();
        let group = table.places.values().filter(|it| it.is_of_group).count();
        Counts {
            clients: table.places.len() - group,
            group,
            displaced: table.displaced,
        }
    }

    /// Has `serve` serve a new connection with `routes`, until that ends or has to make room.
    pub(super) fn seated<F, S>(
        &self,
        routes: &Router,
        serve: S,
    ) -> impl Future<Output = ()> + use<F, S>
    where
        F: Future<Output = ()>,
        S: FnOnce(Router) -> F,
    {
        let (number, leaves) = self.table().take();
        let seat = Seat {
            seats: self.clone(),
            number,
        };
        let noting = middleware::from_fn_with_state((self.clone(), number), note);
        let served = serve(Router::new().fallback_service(routes.clone()).layer(noting));
        async move {
            let _seat = seat;
            tokio::select! {
                () = served => {}
                () = leaves.cancelled() => tracing::debug!("a connection made room for another"),
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no holder of the table panics")
    }
}

/// One place; free again when it is dropped.
struct Seat {
    seats: Seats,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.table().places.remove(&self.number);
    }
}

/// Notes what a connection is used for.
async fn note(
    State((seats, number)): State<(Seats, u64)>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_for_group = OF_THE_GROUP.iter().any(|it| path.starts_with(it));
    request.extensions_mut().insert(seats.clone());
    seats.table().touch(number, true);
    let response = next.run(request).await;
    let status = response.status();
    let mut table = seats.table();
    table.touch(number, false);
    let is_served = status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS;
    if is_for_group && is_served {
        table.admit(number);
    }
    response
}

/// Has the kernel end a connection whose other side takes nothing any more.
pub(super) fn bound(stream: &TcpStream) {
    let millis = READ_WITHIN.as_millis() as u32;
    if let Err(error) = set_tcp_user_timeout(stream, millis) {
        tracing::debug!(%error, "a connection has no limit for slow readers");
    }
}

/// How many files this process may open, after it has asked for more.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let (now, most) = (
        limit.current.unwrap_or(FILES),
        limit.maximum.unwrap_or(FILES),
    );
    let wanted = FILES.min(most).max(now);
    let raised = Rlimit {
        current: Some(wanted),
        ..limit
    };
    let files = match wanted > now && setrlimit(Resource::Nofile, raised).is_err() {
        true => now,
        false => wanted,
    };
    usize::try_from(files).unwrap_or(usize::MAX)
}

fn clients_of(files: usize) -> usize {
    files
        .saturating_sub(FILES_KEPT)
        .clamp(FEWEST_CLIENTS, CLIENTS)
}

/// Who sits where.
#[derive(Default)]
struct Table {
    /// How many places clients have.
    clients: usize,
    places: BTreeMap<u64, Place>,
    next: u64,
    /// Counts uses.
    uses: u64,
    displaced: u64,
}

struct Place {
    is_of_group: bool,
    /// A request is being answered; else the next one is waited for.
    is_busy: bool,
    /// The higher, the later it was last used.
    used: u64,
    leaves: CancellationToken,
}

impl Table {
    /// A new connection: a client's.
    fn take(&mut self) -> (u64, CancellationToken) {
        self.next += 1;
        self.uses += 1;
        let leaves = CancellationToken::new();
        let place = Place {
            is_of_group: false,
            is_busy: false,
            used: self.uses,
            leaves: leaves.clone(),
        };
        self.places.insert(self.next, place);
        self.make_room(false, self.clients);
        (self.next, leaves)
    }

    fn touch(&mut self, number: u64, is_busy: bool) {
        self.uses += 1;
        if let Some(place) = self.places.get_mut(&number) {
            place.is_busy = is_busy;
            place.used = self.uses;
        }
    }

    /// It is the group's.
    fn admit(&mut self, number: u64) {
        if let Some(place) = self.places.get_mut(&number) {
            place.is_of_group = true;
        }
        self.make_room(true, GROUP);
    }

    /// Those that wait for a request go first, and of these the one that was not used for longest.
    fn make_room(&mut self, of_group: bool, limit: usize) {
        let of_kind = || self.places.iter().filter(|it| it.1.is_of_group == of_group);
        if of_kind().count() <= limit {
            return;
        }
        let newest = self.uses;
        let others = of_kind().filter(|(_, place)| place.used != newest);
        let first = others.min_by_key(|(_, place)| (place.is_busy, place.used));
        if let Some(number) = first.map(|(number, _)| *number)
            && let Some(place) = self.places.remove(&number)
        {
            place.leaves.cancel();
            self.displaced += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(clients: usize) -> Table {
        Table {
            clients,
            ..Table::default()
        }
    }

    #[test]
    fn whoever_was_of_no_use_for_longest_makes_room_for_whoever_comes() {
        let mut table = table(3);
        let (idle, idle_leaves) = table.take();
        let (busy, busy_leaves) = table.take();
        let (used, used_leaves) = table.take();
        table.touch(busy, true);
        table.touch(used, true);
        table.touch(used, false);
        let (_, first) = table.take();
        assert!(idle_leaves.is_cancelled() && !table.places.contains_key(&idle));
        let (_, second) = table.take();
        assert!(used_leaves.is_cancelled() && !first.is_cancelled());
        let (_, third) = table.take();
        assert!(first.is_cancelled() && !second.is_cancelled() && !third.is_cancelled());
        // One that is busy is the last to go.
        assert!(!busy_leaves.is_cancelled());
        for number in table.places.keys().copied().collect::<Vec<_>>() {
            table.touch(number, true);
        }
        let (newest, newest_leaves) = table.take();
        assert!(busy_leaves.is_cancelled() && !newest_leaves.is_cancelled());
        assert_eq!((table.places.len(), table.displaced), (3, 4));
        assert!(table.places.contains_key(&newest));
    }

    #[test]
    fn clients_never_take_the_places_of_the_group() {
        let mut table = table(2);
        let peers: Vec<_> = (0..5).map(|_| table.take()).collect();
        for (number, _) in &peers[3..] {
            table.touch(*number, true);
            table.touch(*number, false);
            table.admit(*number);
        }
        for _ in 0..1000 {
            table.take();
        }
        assert!(peers[3..].iter().all(|(_, leaves)| !leaves.is_cancelled()));
        // Whoever says that it is of the group and then does nothing makes room as well.
        for _ in 0..GROUP {
            let (number, _) = table.take();
            table.touch(peers[4].0, false);
            table.touch(number, false);
            table.admit(number);
        }
        assert!(peers[3].1.is_cancelled() && !peers[4].1.is_cancelled());
        let group = table.places.values().filter(|it| it.is_of_group).count();
        // The last but one of the clients: each that came made room, then went over to the group.
        assert_eq!((group, table.places.len()), (GROUP, GROUP + 1));
    }

    #[test]
    fn where_few_files_may_be_open_there_are_few_clients() {
        for (files, clients) in [(8192, 1024), (3000, 952), (1024, 64), (0, 64)] {
            assert_eq!(clients_of(files), clients, "{files}");
        }
        assert!(open_files() > 0);
    }
}
