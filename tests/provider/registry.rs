//! Clusters of several engines in one process, each behind the same calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use primacy::model::{ClusterName, SyncPolicy};
use primacy::provider::postgres::Password;
use primacy::provider::{
    DatabaseProvider, Engine, Gtid, Provider, ProviderError, Providers, Simulated,
};
use primacy::security::DatabaseTls;

use crate::servers::{SECRET, login};
use crate::stage::{LONG, Stage, operation, until_caught_up};
use crate::trio::Trio;

/// Of the database provider abstraction that others know.
const NAMES: [&str; 5] = [
    "ReplicaRunning",
    "SQLThreadRunning",
    "IOThreadRunning",
    "Position",
    "Lag",
];

fn is_unsupported<T: std::fmt::Debug>(answer: &Result<T, ProviderError>, verb: &str) -> bool {
    match answer {
        Err(error @ ProviderError::Unsupported { operation, .. }) => {
            assert!(error.to_string().contains(operation));
            assert!(!error.retryable() && !error.outcome_unknown() && !error.evidence_of_death());
            true
        }
        other => panic!("{verb}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a50_one_process_holds_clusters_of_two_engines() {
    let trio = Trio::start().await;
    until_caught_up(&trio, &trio.addresses()[1]).await;
    // The same addresses: a cluster is known by its name and by nothing else.
    let [primary, standby, _] = trio.addresses();
    let simulated = Simulated::default();
    simulated.add_primary(primary);
    simulated.add_standby(standby, "s1", primary);
    simulated.advance(Duration::from_secs(1));

    let (orders, shop) = (
        ClusterName::new("orders").unwrap(),
        ClusterName::new("shop").unwrap(),
    );
    let known = login(Password::Text(SECRET.to_owned()), DatabaseTls::disabled());
    assert!(Engine::named("mysql").is_none() && Engine::named("").is_none());
    let postgresql = Engine::named("postgresql").unwrap();
    let mut providers = Providers::default();
    let made = providers.of(&orders, 1, || postgresql.provider(known.clone()));
    assert_eq!(made.provider_name(), postgresql.name());
    providers.of(&shop, 1, || Provider::Simulated(simulated));
    let nobody = || panic!("there is one");
    assert!(Arc::ptr_eq(&made, &providers.of(&orders, 1, nobody)));
    // Adopted again, it begins anew with its epochs.
    let again = providers.of(&orders, 2, || postgresql.provider(known.clone()));
    assert!(!Arc::ptr_eq(&made, &again));
    providers.forget(&[orders.clone()].into());
    providers.of(&orders, 2, || postgresql.provider(known.clone()));
    let mut get = |cluster: &ClusterName| {
        let adopted_at = if *cluster == orders { 2 } else { 1 };
        providers.of(cluster, adopted_at, || panic!("there is one"))
    };

    let (mut engines, mut ours) = (BTreeSet::new(), BTreeSet::new());
    for cluster in [&orders, &shop] {
        let provider = get(cluster);
        engines.insert(provider.provider_name());
        for (at, runs) in [(primary, false), (standby, true)] {
            let status = provider.get_replication_status(at, LONG).await.unwrap();
            assert_eq!(status.replica_running, runs, "{cluster} {at}: {status:?}");
            let json = serde_json::to_value(&status).unwrap();
            let (others, of_us): (Vec<_>, Vec<_>) = json
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .partition(|name| name.starts_with(char::is_uppercase));
            assert_eq!(
                BTreeSet::from_iter(others.iter().map(String::as_str)),
                BTreeSet::from(NAMES)
            );
            ours.insert(of_us);
        }
        // A change of one cluster is none of the other.
        provider
            .set_read_only(&operation(), primary, cluster == &shop)
            .await
            .unwrap();
    }
    assert_eq!(engines.len(), 2, "{engines:?}");
    assert_eq!(ours.len(), 1, "the same of every engine: {ours:?}");
    for (cluster, is_read_only) in [(&orders, false), (&shop, true)] {
        let provider = get(cluster);
        let found = provider.is_read_only(primary, LONG).await.unwrap();
        assert_eq!(found, is_read_only, "{cluster}");
    }

    // What an engine has not, it says, and changes nothing.
    for cluster in [&orders, &shop] {
        let provider = get(cluster);
        let executed = provider.gtid(primary, &Gtid::Executed, LONG).await;
        assert!(is_unsupported(&executed, "gtid"));
    }
    let postgresql = get(&orders);
    let before = postgresql.get_sync(primary, LONG).await.unwrap();
    let semi = SyncPolicy::SemiSync {
        wait_for: 1,
        timeout: Duration::from_secs(1),
    };
    let set = postgresql.set_sync(&operation(), primary, &semi).await;
    assert!(is_unsupported(&set, "set_sync"));
    assert_eq!(
        postgresql.get_sync(primary, LONG).await.unwrap().policy,
        before.policy
    );
    assert!(is_unsupported(
        &postgresql.capabilities("9.6.24"),
        "capabilities"
    ));
}

/// Of PostgreSQL; there are no such sets to subtract.
#[tokio::test(flavor = "multi_thread")]
async fn a51_errant_transactions_are_unsupported_on_postgresql() {
    let trio = Trio::start().await;
    let [primary, standby, _] = trio.addresses();
    let question = Gtid::Errant {
        against: primary.clone(),
    };
    let errant = trio.provider().gtid(standby, &question, LONG).await;
    assert!(is_unsupported(&errant, "gtid"));
    let facts = trio.provider().discover(standby, LONG).await.unwrap();
    let capabilities = trio.provider().capabilities(&facts.version).unwrap();
    assert!(!capabilities.gtid);
}
