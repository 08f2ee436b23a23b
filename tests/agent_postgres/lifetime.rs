//! From an agent's first start to its restart and the end of its lease.

use std::time::Duration;

use primacy::agent::{self, Locks};
use primacy::duty::Outcome;
use primacy::duty::gate::Refusal;
use primacy::gate::{FolderLock, GateError};
use primacy::host::processes;
use primacy::model::*;
use primacy::recovery::{Action, Evidence};

use crate::now;
use crate::peer::Peer;
use crate::rig::{Rig, id, order};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_promise_does_nothing_until_it_adopted_the_epoch() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.peer.adopt_at(None);
    rig.start(&a);
    let initialise = Action::Initialise {
        incarnation: Incarnation(1),
    };
    let outcome = rig.peer.command(&a, order(1, 1), initialise.clone()).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::NotAdopted));
    rig.peer.adopt_at(Some(order(4, 0)));
    let adopted = |report: &Report| report.promised == Some(order(4, 0));
    rig.peer
        .until_reported("the epoch is adopted", &a, adopted)
        .await;
    let outcome = rig.peer.command(&a, order(3, 9), initialise.clone()).await;
    assert!(
        matches!(outcome, Outcome::Refused(Refusal::Stale { .. })),
        "{outcome:?}"
    );

    // What is not empty is never initialised.
    let data = rig.config(&a).data;
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("precious"), "x").unwrap();
    let outcome = rig.peer.command(&a, order(4, 1), initialise).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);

    // A lost promise is not guessed.
    rig.stop(&a).await;
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::remove_file(rig.config(&a).folder.join("promise.json")).unwrap();
    rig.peer.adopt_at(None);
    rig.start(&a);
    let outcome = rig.peer.command(&a, order(9, 1), Action::Fence).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::NotAdopted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_agent_leaves_postgresql_alone_and_the_end_of_the_lease_stops_it() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    let postmaster = rig.postmaster(&a);
    rig.stop(&a).await;
    rig.start(&a);
    let serves = |report: &Report| {
        report.lease.is_some()
            && matches!(
                report.database,
                Database::Primary {
                    first_commit: Some(_),
                    ..
                }
            )
    };
    rig.peer.until_reported("it serves again", &a, serves).await;
    assert!(postmaster.is_some() && rig.postmaster(&a) == postmaster);

    // No peer grants any more: everything stops with the lease.
    let lease = rig.peer.report(&a).unwrap().lease.unwrap();
    rig.peer.grant_no_more();
    let began = now();
    let ended = |report: &Report| report.database == Database::Stopped(Stopped::LeaseEnded);
    rig.peer.until_reported("the lease ends", &a, ended).await;
    eprintln!("stopped after {:?} of {lease:?}", now().since(began));
    assert!(rig.postmaster(&a).is_none());

    // Without its agent the leash does the same.
    rig.peer.grant(&a, order(1, 5), SHORT);
    let promote = Action::Promote {
        timeline: Timeline(3),
        at_least: WalPosition::default(),
        synchronous_standby_names: String::new(),
        members: [a.clone()].into(),
    };
    let outcome = rig.peer.command(&a, order(1, 5), promote).await;
    assert!(
        matches!(outcome, Outcome::Evidence(Evidence::Promoted { .. })),
        "{outcome:?}"
    );
    rig.stop(&a).await;
    assert!(rig.postmaster(&a).is_some());
    nothing_runs(&mut rig, &a).await;
}

/// A lease that outlives the stop of its agent.
const SHORT: Duration = Duration::from_secs(5);

/// Waits until no process of an instance is left.
async fn nothing_runs(rig: &mut Rig, instance: &InstanceId) {
    let data = rig.config(instance).data;
    let nothing = |_: &Peer| processes::of(&data).unwrap().is_empty().then_some(());
    rig.peer.until("nothing runs", nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gives_the_longer_lease_of_its_planned_stop_up_when_it_is_back() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    let postmaster = rig.postmaster(&a);
    // Much longer than the test waits for its end.
    rig.peer
        .grant_stop(&a, order(1, 7), Duration::from_secs(3600));
    rig.stop(&a).await;
    let note = rig.config(&a).folder.join("lease.json");
    let note = std::fs::read_to_string(note).unwrap();
    assert!(note.contains('7'), "{note}");

    rig.peer.grant(&a, order(1, 2), SHORT);
    rig.start(&a);
    rig.peer
        .until("the longer lease is given up", |peer| {
            (peer.given_up(&a) == Some(order(1, 7))).then_some(())
        })
        .await;
    assert!(postmaster.is_some() && rig.postmaster(&a) == postmaster);

    // The leash has forgotten it as well: no peer answers the next stop, and an ordinary lease is soon over.
    rig.stop(&a).await;
    assert!(rig.postmaster(&a) == postmaster);
    nothing_runs(&mut rig, &a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_back_speaks_for_stops_that_were_never_granted() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    // The peers record its request, but the grant is lost.
    rig.stop(&a).await;
    rig.peer.adopt_at(Some(order(1, 9)));
    rig.start(&a);
    let given_up = |peer: &Peer| peer.given_up(&a).filter(|stop| *stop == order(1, 9));
    rig.peer.until("it speaks for the stop", given_up).await;
    assert!(rig.postmaster(&a).is_some());
    // The leash holds an ordinary lease: it ends as one.
    rig.peer.grant_no_more();
    let ended = |report: &Report| report.database == Database::Stopped(Stopped::LeaseEnded);
    rig.peer.until_reported("the lease ends", &a, ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_locks_of_an_agent_outlive_it() {
    let mut rig = Rig::new().await;
    let config = rig.config(&id("pg-a"));
    let folder = config.folder.clone();
    let mut locks = Locks::default();
    let ended = agent::run(config.clone(), &mut locks, std::future::ready(()));
    ended.await.unwrap();
    let second = FolderLock::take(&folder);
    assert!(
        matches!(second, Err(GateError::Locked { .. })),
        "{second:?}"
    );
    drop(locks);
    let mut locks = Locks::default();
    let ended = agent::run(config, &mut locks, std::future::ready(()));
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_read_its_data_says_so() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    rig.stop(&a).await;
    let data = rig.config(&a).data;
    processes::kill_all(&data, Duration::from_secs(10)).unwrap();
    std::fs::rename(data.join("pg_wal"), data.join("pg_wal.lost")).unwrap();
    rig.start(&a);
    let stopped = |report: &Report| report.database == Database::Stopped(Stopped::Found);
    let report = rig.peer.until_reported("it is stopped", &a, stopped).await;
    assert_eq!((report.identity, report.incarnation), (None, None));
    std::fs::rename(data.join("pg_wal.lost"), data.join("pg_wal")).unwrap();
    let known = |report: &Report| report.incarnation == Some(Incarnation(1));
    rig.peer
        .until_reported("the data is known", &a, known)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_raft_group_is_not_given_to_this_one() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    rig.stop(&a).await;
    let config = rig.config(&a);
    processes::kill_all(&config.data, Duration::from_secs(10)).unwrap();
    // The promise is lost, and the peers were set up anew.
    let promise = config.folder.join("promise.json");
    std::fs::remove_file(&promise).unwrap();
    let note = config.data.join("primacy.incarnation");
    let text = std::fs::read_to_string(&note).unwrap();
    assert!(text.contains("group-1"), "{text}");
    std::fs::write(&note, text.replace("group-1", "group-0")).unwrap();
    rig.start(&a);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let report = rig.peer.report(&a);
    assert!(report.is_none_or(|it| it.promised.is_none()) && !promise.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_data_folder_is_fenced() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    let data = rig.config(&a).data;
    let renamed = data.with_extension("renamed");
    std::fs::rename(&data, &renamed).unwrap();
    assert!(!processes::of(&renamed).unwrap().is_empty());
    let outcome = rig.peer.command(&a, order(2, 1), Action::Fence).await;
    assert!(
        matches!(outcome, Outcome::Evidence(Evidence::Promised { .. })),
        "{outcome:?}"
    );
    assert!(processes::of(&renamed).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn first_data_that_was_not_finished_is_made_anew() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    let data = rig.config(&a).data;
    let fresh = data.with_file_name("pg-a-data.initialising");
    let initialise = Action::Initialise {
        incarnation: Incarnation(1),
    };
    // Somebody else's, at first.
    std::fs::create_dir(&fresh).unwrap();
    std::fs::write(fresh.join("precious"), "x").unwrap();
    rig.start_adopted(&a).await;
    let absent = |report: &Report| report.database == Database::Absent;
    rig.peer.until_reported("no data is seen", &a, absent).await;
    // Dropped in the middle of initdb, as by the end of the agent.
    rig.peer.begin(&a, order(1, 1), initialise.clone()).await;
    rig.peer
        .until("initdb works", |_| {
            fresh.join("PG_VERSION").exists().then_some(())
        })
        .await;
    rig.stop(&a).await;
    assert!(fresh.exists() && !data.exists());
    std::fs::write(fresh.join("half"), "x").unwrap();

    rig.start_adopted(&a).await;
    rig.peer.until_reported("no data is seen", &a, absent).await;
    let outcome = rig.peer.command(&a, order(1, 2), initialise).await;
    assert!(
        matches!(outcome, Outcome::Evidence(Evidence::Initialised { .. })),
        "{outcome:?}"
    );
    assert!(!fresh.exists() && !data.join("half").exists());
    let siblings = std::fs::read_dir(data.parent().unwrap()).unwrap().flatten();
    let old = siblings.filter(|it| {
        let name = it.file_name().into_string().unwrap();
        name.starts_with("pg-a-data.initialising.old-")
    });
    let old: Vec<_> = old.map(|it| it.path()).collect();
    assert_eq!(old.len(), 1, "only what was not ours is kept: {old:?}");
    assert!(old[0].join("precious").exists());
}
