use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::*;
use crate::agent::example::{order, promise, tools};
use crate::recovery::{Promise, Step};

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

    fn obeys(&self) -> Option<Order> {
        self.running.as_ref().map(|it| it.admission.order())
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
    worker.give_up_late(late);
    assert_eq!(worker.obeys(), Some(order(2, 1)), "its own has a deadline");
    worker.fence(3).await;
    worker.give_up_late(clock::boottime());
    assert_eq!(worker.obeys(), Some(order(3, 1)), "in time");
    worker.give_up_late(late);
    assert_eq!(worker.obeys(), None);
    assert!(worker.acting.is_some(), "nothing is begun beside it");
}
