//! Clients that propose all the time and never lose count of what they were told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use raft::{Key, Numbered, Once, ProposeError, Role};
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::company::{Company, DEADLINE, Handles, runtime};

/// What may happen to the peers while clients propose, and so to a proposal.
#[derive(Debug, Clone, Copy)]
pub enum Amid {
    /// Peers die. What became of a proposal may be unknown, and an election decides who takes it next.
    Deaths,
    /// Peers stop in order. No outcome is unknown. A peer refuses only because it does not lead: it names who does or is
    /// about to, or for a moment nobody, once it has voted for its successor and has not heard from it yet. The
    /// successor takes the proposal within this time of its first attempt; one that is still refused then has failed.
    HandOvers(Duration),
}

impl Amid {
    fn within(self) -> Duration {
        match self {
            Self::Deaths => DEADLINE,
            Self::HandOvers(within) => within,
        }
    }
}

impl Company {
    /// Clients that propose numbers until they are stopped, while peers die.
    pub fn clients(&self, count: u64) -> Clients {
        self.clients_amid(count, Amid::Deaths)
    }

    /// Clients that propose numbers until they are stopped. Each number is below a million times their count.
    pub fn clients_amid(&self, count: u64, amid: Amid) -> Clients {
        let runtime = runtime();
        let (stop, longest) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for client in 0..count {
            let (stop, longest) = (stop.clone(), longest.clone());
            let work = client_loop(client, self.handles(), amid, stop, longest);
            tasks.spawn_on(work, runtime.handle());
        }
        Clients {
            runtime,
            tasks,
            stop,
            longest,
        }
    }
}

pub struct Clients {
    runtime: Runtime,
    tasks: JoinSet<Vec<u64>>,
    stop: Arc<AtomicBool>,
    longest: Arc<AtomicU64>,
}

impl Clients {
    /// The longest time from the first attempt to the acknowledgement since the last question, in milliseconds.
    pub fn longest_wait(&self) -> u64 {
        self.longest.swap(0, Relaxed)
    }

    /// Ends them, and gives every number that was acknowledged; panics if a proposal failed.
    pub fn stop(self) -> Vec<u64> {
        self.stop.store(true, Relaxed);
        let told = self.runtime.block_on(self.tasks.join_all());
        self.runtime.shutdown_background();
        told.concat()
    }
}

async fn client_loop(
    client: u64,
    handles: Handles,
    amid: Amid,
    stop: Arc<AtomicBool>,
    longest: Arc<AtomicU64>,
) -> Vec<u64> {
    let mut told = vec![];
    for serial in 0.. {
        if stop.load(Relaxed) {
            return told;
        }
        let number = client * 1_000_000 + serial;
        let began = Instant::now();
        propose(&handles, client, number, amid).await;
        let waited = u64::try_from(began.elapsed().as_millis()).unwrap();
        longest.fetch_max(waited, Relaxed);
        told.push(number);
        sleep(Duration::from_millis(1)).await;
    }
    unreachable!("the serials do not end")
}

/// Proposes one number until it is acknowledged, under one key, at whichever peer leads. Panics if that fails, as `amid`
/// has it.
pub async fn propose(handles: &Handles, client: u64, number: u64, amid: Amid) {
    let mut key = Key {
        client: [0; 16],
        serial: number,
    };
    key.client[..8].copy_from_slice(&client.to_be_bytes());
    let mut since = None;
    let began = Instant::now();
    let mut next = None;
    // Who refused it, and whom it named.
    let mut refused: Vec<(u64, Option<u64>)> = vec![];
    let in_time = |refused: &[(u64, Option<u64>)]| {
        let waited = began.elapsed();
        assert!(
            waited < amid.within(),
            "{number} was not acknowledged within {waited:?}, refused by {refused:?}"
        );
    };
    loop {
        in_time(&refused);
        let chosen = {
            let handles = handles.lock().unwrap();
            let named = next.take().and_then(|id| handles.get(&id).cloned());
            named.or_else(|| {
                let led = handles
                    .values()
                    .find(|it| it.watch().borrow().role == Role::Leader);
                led.cloned()
            })
        };
        let Some(consensus) = chosen else {
            sleep(Duration::from_millis(2)).await;
            continue;
        };
        let applied = consensus.watch().borrow().applied_index.unwrap_or(0);
        let command = Numbered {
            key,
            about: number,
            since: *since.get_or_insert(applied),
            command: number,
        };
        match consensus.propose(command).await {
            Ok(applied) => match applied.reply {
                Once::Applied(_) => return in_time(&refused),
                other => panic!("{number}: {other:?}"),
            },
            Err(ProposeError::NotLeader { leader }) => {
                refused.push((consensus.id(), leader));
                next = leader;
            }
            // Whether it was applied is not known: the same key makes it safe to ask again.
            Err(ProposeError::Unknown | ProposeError::Stopped(_))
                if matches!(amid, Amid::Deaths) => {}
            Err(error) => panic!("{number}: {error}, after it was refused by {refused:?}"),
        }
        sleep(Duration::from_millis(2)).await;
    }
}
