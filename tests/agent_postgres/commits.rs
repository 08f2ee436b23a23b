//! Settings of the database that take commits out of what the standbys guarantee.

use primacy::model::Report;

use crate::rig::{Rig, id};

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_weaken_commits_are_reported() {
    let mut rig = Rig::new().await;
    let a = id("pg-a");
    rig.primary(&a, "").await;
    let reports = |rig: &Rig, expected: &[&str]| {
        let expected: Vec<_> = expected.iter().map(|&it| it.to_owned()).collect();
        let peer = rig.peer.clone();
        async move {
            let told = |report: &Report| report.weak_commits == expected;
            let a = id("pg-a");
            peer.until_reported("the weak commits are told", &a, told)
                .await;
        }
    };
    let settings = "CREATE ROLE \"my app\"; CREATE ROLE safe; CREATE DATABASE shop;
        ALTER ROLE \"my app\" SET synchronous_commit = off;
        ALTER ROLE \"my app\" SET work_mem = '1MB';
        ALTER ROLE safe SET synchronous_commit = remote_apply;
        ALTER ROLE safe IN DATABASE shop SET synchronous_commit = local;
        ALTER DATABASE shop SET synchronous_commit = remote_write";
    for statement in settings.split(';') {
        rig.sql(&a, statement).await;
    }
    let weak = [
        "database shop: synchronous_commit = remote_write",
        "role \"my app\": synchronous_commit = off",
        "role safe in database shop: synchronous_commit = local",
    ];
    reports(&rig, &weak).await;

    for statement in [
        "DROP DATABASE shop",
        "ALTER ROLE \"my app\" RESET ALL",
        "ALTER ROLE ALL SET synchronous_commit = false",
    ] {
        rig.sql(&a, statement).await;
    }
    reports(&rig, &["every role: synchronous_commit = false"]).await;
    rig.sql(&a, "ALTER ROLE ALL SET synchronous_commit = yes")
        .await;
    reports(&rig, &[]).await;
    rig.sql(&a, "ALTER SYSTEM SET synchronous_commit = local")
        .await;
    rig.sql(&a, "SELECT pg_reload_conf()").await;
    let everybody = "sessions without a setting of their own: synchronous_commit = local";
    reports(&rig, &[everybody]).await;
}
