//! What is seen.

use std::time::Duration;

use primacy::model::{Address, Position, PositionOrder, Role, SyncPolicy, Timeline};
use primacy::provider::simulated::Written;
use primacy::provider::{DatabaseProvider, Extent, Gtid, Phase, ProviderError};

use crate::stage::{LONG, Stage, arrives, operation, status, until, until_caught_up};

pub async fn a4_one_cluster_however_its_sources_are_written<S: Stage>(stage: &S) {
    let [p1, s1, s2] = stage.addresses();
    let mut systems = vec![];
    for (at, role, name) in [
        (p1, Role::Primary, None),
        (s1, Role::Standby, Some("s1")),
        (s2, Role::Standby, Some("s2")),
    ] {
        let facts = stage.provider().discover(at, LONG).await.unwrap();
        assert_eq!((&facts.address, facts.own_port), (at, at.port));
        assert_eq!(facts.role, role);
        assert_eq!(facts.timeline, Some(Timeline(1)));
        systems.push(facts.system);
        let source = facts.source.as_ref();
        assert_eq!(source.map(|it| &it.address), name.map(|_| p1));
        assert_eq!(source.map(|it| it.application_name.as_str()), name);
        if let Some(source) = source {
            assert_eq!(source.slot.as_deref(), name);
        }
        let names = facts.replicas.iter().map(|it| it.application_name.as_str());
        let names: Vec<_> = names.collect();
        match role {
            Role::Primary => assert_eq!(names, ["s1", "s2"]),
            Role::Standby | Role::Detached => assert!(names.is_empty(), "{names:?}"),
        }
        assert!(
            stage
                .provider()
                .capabilities(&facts.version)
                .unwrap()
                .promote
        );
    }
    assert!(systems.iter().all(|it| *it == systems[0]), "{systems:?}");
}

pub async fn a5_lag_rises_with_silence_and_not_with_idleness<S: Stage>(stage: &S) {
    let [p1, s1, s2] = stage.addresses();
    arrives(stage, p1, s1).await;
    until_caught_up(stage, s1).await;
    for _ in 0..5 {
        stage.pass(Duration::from_secs(1)).await;
        let seen = status(stage, s1).await;
        assert_eq!((seen.lag, seen.caught_up), (0, Some(true)), "{seen:?}");
    }
    assert_eq!(status(stage, p1).await.lag, 0);
    // What is not applied makes it rise.
    stage
        .provider()
        .stop_replication(&operation(), s2)
        .await
        .unwrap();
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
    until(stage, "the lag rises", || async {
        status(stage, s2).await.lag >= 2
    })
    .await;
    stage.freeze(p1, true).await;
    until(stage, "its silence is seen", || async {
        status(stage, s1).await.lag == -1
    })
    .await;
    for _ in 0..4 {
        stage.pass(Duration::from_millis(500)).await;
        let seen = status(stage, s1).await;
        assert!(seen.lag == -1 && !seen.replica_running, "{seen:?}");
    }
    stage.freeze(p1, false).await;
    until_caught_up(stage, s1).await;
    assert_eq!(status(stage, s1).await.lag, 0);
}

pub async fn a6_positions_are_numbers_of_one_timeline<S: Stage>(stage: &S) {
    let [p1, s1, _] = stage.addresses();
    let provider = stage.provider();
    let before = status(stage, p1).await;
    assert!(!before.replica_running && !before.io_thread_running && !before.sql_thread_running);
    assert_eq!((before.received.clone(), before.caught_up), (None, None));
    if let Some(lsn) = stage.sql(p1, "SELECT pg_current_wal_lsn()").await {
        assert_eq!(status(stage, p1).await.position, lsn);
    }
    arrives(stage, p1, s1).await;
    let after = status(stage, p1).await.applied.unwrap();
    let before = before.applied.unwrap();
    for (a, b, expected) in [
        (&before, &after, PositionOrder::Behind),
        (&after, &before, PositionOrder::Ahead),
        (&after, &after, PositionOrder::Equal),
    ] {
        assert_eq!(provider.compare(a, b), expected);
    }
    let reached = provider
        .wait_position(s1, Extent::Applied, &after, LONG)
        .await;
    assert_ne!(
        provider.compare(&reached.unwrap(), &after),
        PositionOrder::Behind
    );
    let Position::Wal(at) = after else {
        panic!("{after:?}");
    };
    let elsewhere = Position::Wal(primacy::model::WalPosition {
        timeline: at.timeline.next(),
        ..at
    });
    assert_eq!(
        provider.compare(&after, &elsewhere),
        PositionOrder::Incomparable
    );
    let foreign = Position::MysqlGtid("x:1-2".to_owned());
    assert_eq!(
        provider.compare(&after, &foreign),
        PositionOrder::Incomparable
    );
    let waited = provider
        .wait_position(s1, Extent::Applied, &foreign, LONG)
        .await;
    assert!(
        matches!(waited, Err(ProviderError::Precondition(_))),
        "{waited:?}"
    );
}

pub async fn a9_a_pause_stops_applying_and_not_receiving<S: Stage>(stage: &S) {
    let [p1, s1, _] = stage.addresses();
    let provider = stage.provider();
    until_caught_up(stage, s1).await;
    for _ in 0..2 {
        provider.stop_replication(&operation(), s1).await.unwrap();
    }
    let state = stage
        .sql(s1, "SELECT pg_get_wal_replay_pause_state()")
        .await;
    assert!(state.is_none_or(|state| state == "paused"));
    let seen = status(stage, s1).await;
    assert!(seen.io_thread_running && seen.apply_paused, "{seen:?}");
    assert!(
        !seen.sql_thread_running && !seen.replica_running,
        "{seen:?}"
    );
    assert!(!provider.is_replica_running(s1, LONG).await.unwrap());
    let rows = stage.rows(s1).await;
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
    let written = status(stage, p1).await.applied.unwrap();
    let received = provider
        .wait_position(s1, Extent::Received, &written, LONG)
        .await;
    assert_ne!(
        provider.compare(&received.unwrap(), &written),
        PositionOrder::Behind
    );
    let within = Duration::from_secs(2);
    let applied = provider
        .wait_position(s1, Extent::Applied, &written, within)
        .await;
    let behind = applied.unwrap_err();
    assert!(matches!(behind, ProviderError::NotCaughtUp { behind_bytes } if behind_bytes > 0));
    assert!(behind.retryable() && !behind.evidence_of_death());
    assert_eq!(stage.rows(s1).await, rows);
    for _ in 0..2 {
        provider.start_replication(&operation(), s1).await.unwrap();
    }
    until_caught_up(stage, s1).await;
    assert_eq!(stage.rows(s1).await, rows + 1);
    assert!(provider.is_replica_running(s1, LONG).await.unwrap());
    // On a primary there is nothing to stop, and nothing to be done to start.
    let refused = provider.stop_replication(&operation(), p1).await;
    assert!(matches!(
        refused,
        Err(ProviderError::WrongRole {
            found: Role::Primary
        })
    ));
    provider.start_replication(&operation(), p1).await.unwrap();
}

pub async fn a19_errors_say_what_they_are_evidence_of<S: Stage>(stage: &S) {
    let [p1, s1, _] = stage.addresses();
    let provider = stage.provider();
    let question = Gtid::Executed;
    let unsupported = provider.gtid(p1, &question, LONG).await.unwrap_err();
    assert!(matches!(unsupported, ProviderError::Unsupported { .. }));
    assert!(!unsupported.retryable() && !unsupported.outcome_unknown());
    let alone = provider.demote(&operation(), p1, s1).await.unwrap_err();
    assert!(
        matches!(alone, ProviderError::AgentRequired { .. }),
        "{alone}"
    );
    assert_eq!(stage.write(p1).await, Written::Acknowledged);
    let nobody = Address {
        host: "127.0.0.1".to_owned(),
        port: 1,
    };
    let error = provider.discover(&nobody, LONG).await.unwrap_err();
    assert!(error.nobody_listens() && error.evidence_of_death() && error.retryable());
    // A session that was kept does not hide that it stands still.
    stage.freeze(p1, true).await;
    let within = Duration::from_millis(300);
    let mut silent = provider.is_read_only(p1, within).await.unwrap_err();
    if let ProviderError::Timeout { phase, .. } = silent
        && phase == Phase::Query
    {
        assert!(!silent.evidence_of_death(), "a session that is slow");
        silent = provider.is_read_only(p1, within).await.unwrap_err();
    }
    assert!(
        silent.evidence_of_death() && !silent.outcome_unknown(),
        "{silent}"
    );
    stage.freeze(p1, false).await;
    until(stage, "it answers again", || async {
        provider.is_read_only(p1, LONG).await.is_ok()
    })
    .await;
    stage.kill(p1).await;
    let dead = provider.discover(p1, LONG).await.unwrap_err();
    assert!(dead.nobody_listens() && dead.evidence_of_death(), "{dead}");
    let refused = provider
        .set_read_only(&operation(), p1, true)
        .await
        .unwrap_err();
    assert!(refused.evidence_of_death() && !refused.outcome_unknown());
}

pub async fn a_commit_shows_that_the_disk_takes_writes<S: Stage>(stage: &S) {
    let [p1, s1, _] = stage.addresses();
    let provider = stage.provider();
    provider.probe_write(p1, LONG).await.unwrap();
    // It says nothing of standbys, of tables, and of what sessions may write that do not say otherwise.
    let rows = stage.rows(p1).await;
    let nobody = SyncPolicy::Any {
        n: 1,
        of: ["nobody".to_owned()].into(),
    };
    provider.set_sync(&operation(), p1, &nobody).await.unwrap();
    provider
        .set_read_only(&operation(), p1, true)
        .await
        .unwrap();
    provider.probe_write(p1, LONG).await.unwrap();
    assert_eq!(stage.rows(p1).await, rows);
    let refused = provider.probe_write(s1, LONG).await;
    assert!(
        matches!(refused, Err(ProviderError::WrongRole { .. })),
        "{refused:?}"
    );
}
