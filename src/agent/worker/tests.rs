use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::*;
use crate::agent::example::{order, promise, tools};
use crate::model::{Address, Incarnation, InstanceId, Lineage};
use crate::recovery::{Evidence, Promise, Source, Step};

async fn worker(root: &tempfile::TempDir) -> Worker {
    let tools = tools(root.path());
    let promise = promise(&tools).await;
    let (_, incoming) = mpsc::channel(1);
    let outlets = Outlets {
        reports: watch::Sender::default(),
        health: watch::Sender::default(),
        group: watch::Sender::new(Some("g".to_owned())),
    };
    Worker::new(tools, promise, incoming, outlets)
}

impl Worker {
    async fn fence(&mut self, epoch: u64) {
        let waiter = Waiter {
            session: SessionId { peer: 0, number: 0 },
            id: epoch,
        };
        let step = Step {
            instance: self.tools.hands.instance().clone(),
            order: order(epoch, 1),
            action: Action::Fence,
        };
        self.on_command(waiter, step).await;
    }

    /// A scan for the present command, which does not end.
    fn scan(&mut self) {
        let handle = self.tasks.spawn(std::future::pending());
        self.acting = Some(Acting {
            command: self.commands,
            act: Act::ScanThenPromise,
            handle,
        });
    }

    /// A session with a peer, and what is said over it.
    fn session(&mut self, number: u64) -> (SessionId, mpsc::Receiver<AgentMessage>) {
        let session = SessionId { peer: 0, number };
        let (outbox, said) = mpsc::channel(64);
        let peer = Peer {
            session,
            outbox,
            group: Some("g".to_owned()),
        };
        self.peers.insert(0, peer);
        (session, said)
    }

    async fn told(&mut self, waiter: Waiter, order: Order, action: Action) {
        let step = Step {
            instance: self.tools.hands.instance().clone(),
            order,
            action,
        };
        self.on_command(waiter, step).await;
    }

    /// Settling what was copied ended like this.
    async fn settled(&mut self, result: Result<Option<Outcome>, String>) {
        let act = Act::Settle {
            incarnation: Incarnation(2),
            source: source(),
        };
        let handle = self.tasks.spawn(std::future::pending());
        self.acting = Some(Acting {
            command: self.commands,
            act,
            handle,
        });
        self.on_acted(result).await;
    }

    fn obeys(&self) -> Option<Order> {
        self.running.as_ref().map(|it| it.admission.order())
    }
}

fn source() -> Source {
    Source {
        instance: InstanceId::new("pg-b").unwrap(),
        address: Address {
            host: "127.0.0.1".to_owned(),
            port: 1,
        },
        identity: None,
        epoch: Epoch(2),
        application_name: String::new(),
        lineage: Lineage {
            current: Timeline(2),
            left_at: BTreeMap::new(),
        },
    }
}

fn scanned(worker: &Worker) -> Outcome {
    Outcome::Evidence(Evidence::Promised {
        instance: worker.tools.hands.instance().clone(),
        promise: Promise {
            incarnation: None,
            position: None,
            running: false,
        },
    })
}

#[tokio::test]
async fn an_act_of_an_older_command_is_no_answer_to_a_newer_one() {
    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root).await;
    worker.fence(2).await;
    worker.scan();
    worker.fence(3).await;
    let found = scanned(&worker);
    worker.on_acted(Ok(Some(found))).await;
    assert_eq!(worker.obeys(), Some(order(3, 1)), "it must look for itself");
    worker.scan();
    let found = scanned(&worker);
    worker.on_acted(Ok(Some(found))).await;
    assert_eq!(worker.obeys(), None);
}

#[tokio::test]
async fn an_act_that_hangs_holds_up_no_answer_to_a_newer_command() {
    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root).await;
    worker.fence(2).await;
    worker.scan();
    let late = clock::boottime().after(Duration::from_secs(3600));
    worker.give_up_late(late).await;
    assert_eq!(worker.obeys(), Some(order(2, 1)), "its own has a deadline");
    worker.fence(3).await;
    worker.give_up_late(clock::boottime()).await;
    assert_eq!(worker.obeys(), Some(order(3, 1)), "in time");
    worker.give_up_late(late).await;
    assert_eq!(worker.obeys(), None);
    assert!(worker.acting.is_some(), "nothing is begun beside it");
}

#[tokio::test]
async fn what_fails_again_and_again_is_told_and_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root).await;
    let (session, mut said) = worker.session(1);
    let rebuild = Action::Rebuild {
        source: source(),
        incarnation: Incarnation(2),
        keep_old: false,
    };
    let full = || Err("no space".to_owned());
    let waiter = |id| Waiter { session, id };
    worker.told(waiter(1), order(2, 1), rebuild.clone()).await;
    worker.settled(full()).await;
    assert!(
        said.try_recv().is_err(),
        "once may be no more than a moment"
    );
    for id in 1..4 {
        worker.settled(full()).await;
        let outcome = Outcome::Failed("no space".to_owned());
        assert_eq!(
            said.try_recv().ok(),
            Some(AgentMessage::Outcome { id, outcome })
        );
        assert!(said.try_recv().is_err());
        assert_eq!(worker.obeys(), Some(order(2, id as u32)), "it goes on");
        let again = order(2, id as u32 + 1);
        worker.told(waiter(id + 1), again, rebuild.clone()).await;
    }
    worker.settled(Ok(None)).await;
    worker.settled(full()).await;
    assert!(said.try_recv().is_err(), "it went well in between");
}

#[tokio::test]
async fn questions_do_not_pile_up_while_nothing_can_be_seen() {
    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root).await;
    worker.look_failed("the disk hangs".to_owned());
    for session in [1, 2] {
        let (session, mut said) = worker.session(session);
        for id in 0..1_000 {
            let epoch = Epoch(2);
            let ask = Action::Ask { epoch };
            let waiter = Waiter { session, id };
            worker.told(waiter, order(1, 0), ask).await;
            assert!(said.try_recv().is_err());
        }
        let waiting = worker.questions.iter().map(|question| match question {
            Question::Ask(waiter, _) | Question::Locate(waiter, _) => (waiter.session, waiter.id),
        });
        let newest = (992..1_000).map(|id| (session, id));
        assert!(waiting.eq(newest), "{:?}", worker.questions);
    }
}

#[tokio::test]
async fn looks_that_fail_become_rarer() {
    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root).await;
    for pause in [50, 100, 200, 400, 800, 1_000, 1_000] {
        let now = clock::boottime();
        worker.look_failed("the disk hangs".to_owned());
        let pause = Duration::from_millis(pause);
        assert_eq!(worker.look_pause, pause);
        assert!(worker.look_due() >= now.after(pause));
    }
    worker.trouble = None;
    worker.look_failed("it hangs again".to_owned());
    assert_eq!(worker.look_pause, Duration::from_millis(50));
}

/// Over a slow link several grants come before the leash has echoed the first, which may have to start it.
#[tokio::test]
async fn a_lease_waits_until_the_leash_has_echoed_the_one_before() {
    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root).await;
    worker.fence(2).await;
    let now = clock::boottime();
    let length = Duration::from_secs(10);
    let sent = [0, 20, 40].map(|ms| now.after(Duration::from_millis(ms)));
    let serials = sent.map(|at| worker.lease.request(at).unwrap());
    let [first, _, last] = sent.map(|at| Lease::granted(order(2, 2), at, length));
    let tasks = worker.tasks.len();
    for serial in serials {
        worker.on_granted(serial, order(2, 2), length).await;
    }
    assert_eq!(worker.tasks.len(), tasks + 1);
    worker.on_armed(worker.releases, first, Ok(()));
    assert_eq!(worker.lease.ends_at(), Some(first.until));
    assert_eq!(worker.tasks.len(), tasks + 2, "the last of those that wait");
    worker.on_armed(worker.releases, last, Ok(()));
    assert_eq!(worker.lease.ends_at(), Some(last.until));
    assert_eq!(worker.tasks.len(), tasks + 2);
    // One that the leash did not take holds up no other.
    worker.on_granted(serials[2], order(2, 2), length).await;
    worker.on_granted(serials[2], order(2, 3), length).await;
    worker.on_armed(worker.releases, last, Err("it is busy".to_owned()));
    assert_eq!(worker.tasks.len(), tasks + 4);
    // What waits under an epoch that is over is not taken.
    worker.on_granted(serials[2], order(2, 3), length).await;
    worker.fence(3).await;
    worker.on_armed(worker.releases, last, Ok(()));
    assert_eq!(worker.lease.ends_at(), Some(last.until));
    assert_eq!(worker.tasks.len(), tasks + 4);
}

/// A deposed leader's word to shut down does not outlive its session, before PostgreSQL was told.
#[tokio::test]
async fn a_shutdown_that_nobody_waits_for_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root).await;
    let (session, _said) = worker.session(1);
    let waiter = Waiter { session, id: 1 };
    worker.told(waiter, order(2, 3), Action::ShutDown).await;
    assert_eq!(worker.obeys(), Some(order(2, 3)));
    worker.on_incoming(Incoming::Closed(session)).await;
    assert_eq!(worker.obeys(), None);

    // Another leader joined: it goes on.
    let (session, _said) = worker.session(2);
    worker
        .told(Waiter { session, id: 1 }, order(2, 3), Action::ShutDown)
        .await;
    let other = SessionId { peer: 1, number: 0 };
    let (outbox, _heard) = mpsc::channel(8);
    let peer = Peer {
        session: other,
        outbox,
        group: Some("g".to_owned()),
    };
    worker.peers.insert(1, peer);
    let joined = Waiter {
        session: other,
        id: 1,
    };
    worker.told(joined, order(2, 3), Action::ShutDown).await;
    worker.on_incoming(Incoming::Closed(session)).await;
    assert_eq!(worker.obeys(), Some(order(2, 3)));
    // One that gave it up has a newer order admitted; what comes late is refused.
    let configure = || Action::Configure {
        synchronous_standby_names: String::new(),
        members: [].into(),
    };
    worker.told(joined, order(2, 4), configure()).await;
    assert_eq!(worker.obeys(), Some(order(2, 4)));
    worker.told(joined, order(2, 3), Action::ShutDown).await;
    assert_eq!(worker.obeys(), Some(order(2, 4)));
    let action = worker.running.as_ref().map(|it| it.action.name());
    assert_eq!(action, Some("configure"));
}

/// From then on it ends, whoever changes their mind, and says so.
#[tokio::test]
async fn a_server_that_was_told_to_go_down_does_not_serve() {
    let mut known = Known {
        is_going_down: true,
        ..Known::default()
    };
    let now = clock::boottime();
    (known.looked_at, known.processes_at) = (now, Some(now));
    known.processes.is_running = true;
    known.processes.postmaster = Some(7);
    let says = known.report(now).database;
    assert!(
        matches!(says, crate::model::Database::Unresponsive { .. }),
        "{says:?}"
    );
    known.postmaster_ended(Stopped::Ordered);
    assert!(!known.is_going_down);

    let root = tempfile::tempdir().unwrap();
    let mut worker = worker(&root).await;
    let (session, mut said) = worker.session(1);
    let waiter = Waiter { session, id: 1 };
    worker.told(waiter, order(2, 3), Action::ShutDown).await;
    let mut local = crate::duty::local::example::running_standby();
    local.lease = Some(Epoch(2));
    local.session.as_mut().unwrap().in_recovery = false;
    let duty = &mut worker.running.as_mut().unwrap().duty;
    assert_eq!(duty.next(&local), Act::Checkpoint);
    assert_eq!(duty.next(&local), Act::ShutDown);
    let configure = Action::Configure {
        synchronous_standby_names: String::new(),
        members: [].into(),
    };
    worker.told(waiter, order(2, 4), configure).await;
    worker.on_incoming(Incoming::Closed(session)).await;
    let action = worker.running.as_ref().map(|it| it.action.name());
    assert_eq!(action, Some("shut down"));
    let refused = said.try_recv().unwrap();
    assert!(
        matches!(&refused, AgentMessage::Outcome { outcome: Outcome::Failed(why), .. } if why.contains("shut down")),
        "{refused:?}"
    );
}
