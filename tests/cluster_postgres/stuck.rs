//! A primary that lives and does not serve.

use super::*;

/// Every process of its PostgreSQL is stopped; its agent lives, says so, and kills it when it is fenced.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgresql_is_replaced_although_its_agent_lives() {
    let Some(dev) = Dev::up().await else { return };
    let before = dev.until("healthy", is_healthy).await;
    let old = before["primary"].as_str().unwrap().to_owned();
    let others = dev.others(&before, &old);
    let acknowledged = Acknowledged::default();
    let open = connect(&dev.address_of(&before, &old)).await.unwrap();
    create_table(&open).await;
    let mut writer = JoinSet::new();
    let noted = acknowledged.clone();
    writer.spawn(async move { write(&open, 0, &noted).await });
    acknowledged.some().await;

    let freeze = Instant::now();
    dev.done(&["dev", "freeze", &old, "--only", "postgres"]);
    let (new, client) = first_to_acknowledge(&others, 1_000_000, &acknowledged).await;
    let took_ms = freeze.elapsed().as_millis();
    eprintln!("{new} acknowledges {took_ms} ms after {old} froze");

    let after = dev
        .until("healthy with another primary", |cluster| {
            is_healthy(cluster) && cluster["primary"] == *new
        })
        .await;
    assert_eq!(shown(&after, &old)["role"], "standby");
    writer.join_next().await.unwrap().unwrap();
    assert_eq!(lost(&client, &acknowledged).await, Vec::<i32>::new());
    let history = dev.history();
    let mut handovers = history.as_array().unwrap().iter();
    let replaced = handovers.find(|it| it["kind"] == "handover" && it["from"] == *old);
    let cause = replaced.unwrap()["cause"].as_str().unwrap();
    assert!(cause.contains("does not answer its agent"), "{history}");
}
