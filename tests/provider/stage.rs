//! Where a behaviour is shown: a primary, two standbys `s1` and `s2` that stream from it, and what can be done to them
//! from outside.

use std::future::Future;
use std::time::Duration;

use primacy::model::{Address, Epoch, ReplicationStatus};
use primacy::provider::simulated::Written;
use primacy::provider::{DatabaseProvider, Operation};

/// Enough for anything on a machine that is busy.
pub const LONG: Duration = Duration::from_secs(30);

pub trait Stage: Sync {
    type Provider: DatabaseProvider;

    fn provider(&self) -> &Self::Provider;
    /// The primary, `s1`, `s2`.
    fn addresses(&self) -> &[Address; 3];
    /// A client commits one row.
    fn write(&self, at: &Address) -> impl Future<Output = Written> + Send;
    /// How many rows a client reads.
    fn rows(&self, at: &Address) -> impl Future<Output = u64> + Send;
    /// Time passes.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send;
    /// Stops every process of it, or lets them go on.
    fn freeze(&self, at: &Address, is_frozen: bool) -> impl Future<Output = ()> + Send;
    /// Kills every process of it.
    fn kill(&self, at: &Address) -> impl Future<Output = ()> + Send;
    /// What a client of PostgreSQL is answered; nothing where there is none.
    fn sql(&self, at: &Address, statement: &str) -> impl Future<Output = Option<String>> + Send;
}

/// An operation of the first epoch.
pub fn operation() -> Operation {
    Operation {
        epoch: Epoch(1),
        recovery: "a test".to_owned(),
        within: LONG,
        dry_run: false,
    }
}

/// Looks again until it is so.
pub async fn until<S: Stage, F: Future<Output = bool>>(
    stage: &S,
    what: &str,
    mut is_so: impl FnMut() -> F,
) {
    let pause = Duration::from_millis(50);
    for _ in 0..LONG.as_millis() / pause.as_millis() {
        if is_so().await {
            return;
        }
        stage.pass(pause).await;
    }
    panic!("it did not happen: {what}");
}

pub async fn status<S: Stage>(stage: &S, of: &Address) -> ReplicationStatus {
    let status = stage.provider().get_replication_status(of, LONG).await;
    status.unwrap()
}

/// Waits until a standby has applied everything of a source that it hears.
pub async fn until_caught_up<S: Stage>(stage: &S, of: &Address) {
    until(stage, "it has caught up", || async {
        let status = stage.provider().get_replication_status(of, LONG).await;
        status.is_ok_and(|it| it.replica_running && it.caught_up == Some(true))
    })
    .await;
}

/// Commits a row at `at` and waits until `seen_at` shows it.
pub async fn arrives<S: Stage>(stage: &S, at: &Address, seen_at: &Address) {
    assert_eq!(stage.write(at).await, Written::Acknowledged);
    let rows = stage.rows(at).await;
    until(stage, "the row arrives", || async {
        stage.rows(seen_at).await == rows
    })
    .await;
}
