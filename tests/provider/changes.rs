//! What is changed.

use std::time::Duration;

use primacy::model::{Address, Epoch, Position, Role, SyncPolicy};
use primacy::provider::simulated::Written;
use primacy::provider::{DatabaseProvider, Extent, Operation, Outcome, ProviderError};

use crate::stage::{LONG, Stage, arrives, operation, status, until, until_caught_up};

const CONNINFO: &str = "SHOW primary_conninfo";

async fn source<S: Stage>(stage: &S, of: &Address) -> Option<Address> {
    let facts = stage.provider().discover(of, LONG).await.unwrap();
    facts.source.map(|it| it.address)
}

fn is_precondition<T>(result: Result<T, ProviderError>) -> bool {
    matches!(result, Err(ProviderError::Precondition(_)))
}

pub async fn a7_another_source_changes_host_and_port_alone<S: Stage>(stage: &S) {
    let [p1, s1, s2] = stage.addresses();
    let provider = stage.provider();
    until_caught_up(stage, s1).await;
    let before = provider.discover(s1, LONG).await.unwrap().source.unwrap();
    let written = stage.sql(s1, CONNINFO).await;
    assert!(is_precondition(
        provider.reparent(&operation(), s1, s1).await
    ));
    let refused = provider.reparent(&operation(), p1, s1).await;
    assert!(matches!(
        refused,
        Err(ProviderError::WrongRole {
            found: Role::Primary
        })
    ));
    provider.reparent(&operation(), s1, s2).await.unwrap();
    until(stage, "it follows its new source", || async {
        let running = provider.is_replica_running(s1, LONG).await.unwrap();
        running && source(stage, s1).await.as_ref() == Some(s2)
    })
    .await;
    let after = provider.discover(s1, LONG).await.unwrap().source.unwrap();
    assert_eq!((&after.user, &after.slot), (&before.user, &before.slot));
    assert_eq!(after.application_name, before.application_name);
    if let (Some(written), Some(now)) = (written, stage.sql(s1, CONNINFO).await) {
        let port = |of: &Address| format!("port={}", of.port);
        assert_eq!(now, written.replace(&port(p1), &port(s2)));
        let sender = "SELECT sender_port FROM pg_stat_wal_receiver";
        assert_eq!(stage.sql(s1, sender).await.unwrap(), s2.port.to_string());
    }
    let cascade = provider.discover(s2, LONG).await.unwrap();
    let names: Vec<_> = cascade
        .replicas
        .iter()
        .map(|it| &it.application_name)
        .collect();
    assert_eq!(names, ["s1"]);
    arrives(stage, p1, s1).await;
    // Nobody follows who follows him.
    assert!(is_precondition(
        provider.reparent(&operation(), s2, s1).await
    ));
    // What is so already is a success.
    provider.reparent(&operation(), s1, s2).await.unwrap();
    stage.kill(s2).await;
    until(stage, "it does not run without its source", || async {
        !provider.is_replica_running(s1, LONG).await.unwrap()
    })
    .await;
    assert!(is_precondition(
        provider.reparent(&operation(), s1, s2).await
    ));
    // A standby is demoted by following.
    provider.demote(&operation(), s1, p1).await.unwrap();
    arrives(stage, p1, s1).await;
}

pub async fn a8_read_only_is_a_courtesy<S: Stage>(stage: &S) {
    let [p1, s1, _] = stage.addresses();
    let provider = stage.provider();
    assert!(!provider.is_read_only(p1, LONG).await.unwrap());
    for _ in 0..2 {
        provider
            .set_read_only(&operation(), p1, true)
            .await
            .unwrap();
    }
    assert!(provider.is_read_only(p1, LONG).await.unwrap());
    assert_eq!(stage.write(p1).await, Written::Refused);
    provider
        .set_read_only(&operation(), p1, false)
        .await
        .unwrap();
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
    assert!(!provider.capabilities("15").unwrap().durable_fence);
    let fenced = provider.fence(&operation(), p1).await.unwrap();
    assert_eq!(fenced, Outcome::Applied);
    assert_eq!(stage.write(p1).await, Written::Refused);
    let on_a_standby = provider.fence(&operation(), s1).await;
    assert!(matches!(
        on_a_standby,
        Err(ProviderError::WrongRole {
            found: Role::Standby
        })
    ));
    // Standbys go on: only clients were ended.
    until_caught_up(stage, s1).await;
}

pub async fn a17_who_is_detached_follows_nobody_until_reattached<S: Stage>(stage: &S) {
    let [p1, s1, _] = stage.addresses();
    let provider = stage.provider();
    arrives(stage, p1, s1).await;
    let written = stage.sql(s1, CONNINFO).await;
    provider.stop_replication(&operation(), s1).await.unwrap();
    assert!(is_precondition(provider.detach(&operation(), s1).await));
    provider.start_replication(&operation(), s1).await.unwrap();
    for _ in 0..2 {
        provider.detach(&operation(), s1).await.unwrap();
    }
    let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
    assert!(
        stage
            .sql(s1, receivers)
            .await
            .is_none_or(|count| count == "0")
    );
    let facts = provider.discover(s1, LONG).await.unwrap();
    assert_eq!((facts.role, facts.source), (Role::Detached, None));
    assert!(!facts.status.io_thread_running && facts.status.lag == -1);
    let rows = stage.rows(s1).await;
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
    stage.pass(Duration::from_millis(500)).await;
    assert_eq!(
        stage.rows(s1).await,
        rows,
        "it can be read and receives nothing"
    );
    let primary = provider.discover(p1, LONG).await.unwrap();
    let names: Vec<_> = primary
        .replicas
        .iter()
        .map(|it| &it.application_name)
        .collect();
    assert_eq!(names, ["s2"]);
    for _ in 0..2 {
        provider.reattach(&operation(), s1).await.unwrap();
    }
    until_caught_up(stage, s1).await;
    assert_eq!(stage.rows(s1).await, rows + 1);
    assert_eq!(stage.sql(s1, CONNINFO).await, written);
    let refused = provider.detach(&operation(), p1).await;
    assert!(matches!(
        refused,
        Err(ProviderError::WrongRole {
            found: Role::Primary
        })
    ));
}

pub async fn a18_commits_wait_for_whom_they_are_told_to<S: Stage>(stage: &S) {
    let [p1, s1, s2] = stage.addresses();
    let provider = stage.provider();
    let any = |n: u8| SyncPolicy::Any {
        n,
        of: ["s1", "s2"].map(str::to_owned).into(),
    };
    assert!(is_precondition(
        provider.set_sync(&operation(), p1, &any(3)).await
    ));
    let semi_sync = SyncPolicy::SemiSync {
        wait_for: 1,
        timeout: LONG,
    };
    let unsupported = provider.set_sync(&operation(), p1, &semi_sync).await;
    assert!(matches!(
        unsupported,
        Err(ProviderError::Unsupported { .. })
    ));
    for _ in 0..2 {
        provider.set_sync(&operation(), p1, &any(1)).await.unwrap();
    }
    let state = provider.get_sync(p1, LONG).await.unwrap();
    assert_eq!((state.policy, state.waiting), (Some(any(1)), 0));
    assert!(state.commits_wait);
    let facts = provider.discover(p1, LONG).await.unwrap();
    assert!(
        facts.replicas.iter().all(|it| it.sync_state == "quorum"),
        "{facts:?}"
    );
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
    provider.prove_sync(p1, &any(1), LONG).await.unwrap();
    assert!(is_precondition(
        provider.prove_sync(p1, &any(2), LONG).await
    ));
    let on_a_standby = provider.prove_sync(s1, &any(1), LONG).await;
    assert!(matches!(on_a_standby, Err(ProviderError::WrongRole { .. })));
    stage.kill(s1).await;
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
    stage.kill(s2).await;
    // Strict: it waits for as long as it takes.
    assert_eq!(stage.write(p1).await, Written::Waits);
    assert_eq!(provider.get_sync(p1, LONG).await.unwrap().waiting, 1);
    let in_vain = provider
        .prove_sync(p1, &any(1), Duration::from_secs(3))
        .await;
    assert!(matches!(in_vain, Err(ProviderError::Timeout { .. })));
    // Degraded: who waits is let go, and nobody waits any more.
    provider
        .set_sync(&operation(), p1, &SyncPolicy::Async)
        .await
        .unwrap();
    until(stage, "nobody waits", || async {
        provider.get_sync(p1, LONG).await.unwrap().waiting == 0
    })
    .await;
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
}

pub async fn a19_a_promotion_is_one_and_the_others_follow_a39_on_its_timeline<S: Stage>(stage: &S) {
    let [p1, s1, s2] = stage.addresses();
    let provider = stage.provider();
    arrives(stage, p1, s1).await;
    let refused = provider.promote(&operation(), p1).await;
    assert!(matches!(
        refused,
        Err(ProviderError::WrongRole {
            found: Role::Primary
        })
    ));
    // As a copy of a primary that was asked to be quiet would have it.
    provider
        .set_read_only(&operation(), s1, true)
        .await
        .unwrap();
    let seen = status(stage, s1).await;
    let (before, applied) = (seen.received.unwrap(), seen.applied.unwrap());
    let rows = stage.rows(s1).await;
    stage.kill(p1).await;
    until(stage, "its source is missed", || async {
        !provider.is_replica_running(s1, LONG).await.unwrap()
    })
    .await;
    // Without a source, too, it is known on which timeline it is.
    assert_eq!(status(stage, s1).await.received, Some(before.clone()));
    let promoted = provider.promote(&operation(), s1).await.unwrap();
    let (Position::Wal(old), Position::Wal(new)) = (&applied, &promoted) else {
        panic!("{promoted:?}");
    };
    assert!(
        new.timeline > old.timeline && new.lsn >= old.lsn,
        "{old} {new}"
    );
    let facts = provider.discover(s1, LONG).await.unwrap();
    assert_eq!(
        (facts.role, facts.timeline),
        (Role::Primary, Some(new.timeline))
    );
    assert!(!facts.read_only_default);
    assert_eq!(stage.write(s1).await, Written::Acknowledged);
    assert_eq!(stage.rows(s1).await, rows + 1);
    let again = provider.promote(&operation(), s1).await;
    assert!(matches!(
        again,
        Err(ProviderError::WrongRole {
            found: Role::Primary
        })
    ));
    provider.reparent(&operation(), s2, s1).await.unwrap();
    let reached = provider
        .wait_position(s2, Extent::Applied, &promoted, LONG)
        .await;
    assert!(matches!(reached, Ok(Position::Wal(at)) if at.timeline == new.timeline));
    until_caught_up(stage, s2).await;
    arrives(stage, s1, s2).await;
    let on_the_old = provider
        .wait_position(s2, Extent::Applied, &before, LONG)
        .await;
    assert!(
        matches!(on_the_old, Err(ProviderError::Diverged { .. })),
        "{on_the_old:?}"
    );
}

pub async fn a19_an_older_epoch_and_a_dry_run_change_nothing<S: Stage>(stage: &S) {
    let [p1, s1, s2] = stage.addresses();
    let provider = stage.provider();
    until_caught_up(stage, s1).await;
    let tried = Operation {
        epoch: Epoch(9),
        dry_run: true,
        ..operation()
    };
    let any = SyncPolicy::Any {
        n: 1,
        of: ["s1".to_owned()].into(),
    };
    provider.set_read_only(&tried, p1, true).await.unwrap();
    provider.stop_replication(&tried, s1).await.unwrap();
    provider.promote(&tried, s1).await.unwrap();
    provider.reparent(&tried, s1, s2).await.unwrap();
    provider.detach(&tried, s1).await.unwrap();
    provider.set_sync(&tried, p1, &any).await.unwrap();
    assert_eq!(
        provider.fence(&tried, p1).await.unwrap(),
        Outcome::NotApplied
    );
    assert!(!provider.is_read_only(p1, LONG).await.unwrap());
    let facts = provider.discover(s1, LONG).await.unwrap();
    assert_eq!(facts.role, Role::Standby);
    assert!(facts.status.replica_running);
    assert_eq!(facts.source.map(|it| it.address).as_ref(), Some(p1));
    let state = provider.get_sync(p1, LONG).await.unwrap();
    assert_eq!(state.policy, Some(SyncPolicy::Async));
    // What was only tried burns no epoch; what was done does.
    let second = Operation {
        epoch: Epoch(2),
        ..operation()
    };
    provider.set_read_only(&second, p1, false).await.unwrap();
    let late = provider
        .set_read_only(&operation(), p1, true)
        .await
        .unwrap_err();
    assert!(matches!(
        late,
        ProviderError::FencedOut { current: Epoch(2) }
    ));
    assert!(!late.retryable() && !late.outcome_unknown());
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
}

pub async fn a_revoked_standby_receives_nothing_and_says_where_it_ends<S: Stage>(stage: &S) {
    let [p1, s1, s2] = stage.addresses();
    let provider = stage.provider();
    let refused = provider.revoke(&operation(), p1).await;
    assert!(matches!(refused, Err(ProviderError::WrongRole { .. })));
    arrives(stage, p1, s1).await;
    // One that is paused takes no notice of another source by itself.
    provider.stop_replication(&operation(), s1).await.unwrap();
    let end = provider.revoke(&operation(), s1).await.unwrap().unwrap();
    let facts = provider.discover(s1, LONG).await.unwrap();
    assert_eq!(facts.role, Role::Detached);
    assert_eq!(facts.status.received, Some(end.clone()));
    assert!(facts.status.apply_paused && !facts.status.io_thread_running);
    let rows = stage.rows(s1).await;
    arrives(stage, p1, s2).await;
    assert_eq!(stage.rows(s1).await, rows);
    // What is so already is a success.
    let again = provider.revoke(&operation(), s1).await.unwrap();
    assert_eq!(again, Some(end));
    provider.reattach(&operation(), s1).await.unwrap();
    provider.start_replication(&operation(), s1).await.unwrap();
    arrives(stage, p1, s1).await;
}
