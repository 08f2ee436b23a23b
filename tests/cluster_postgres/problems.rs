//! What is wrong with a cluster is told, with numbers and with what follows, until it is mended.

use tokio_postgres::NoTls;

use super::*;

impl Dev {
    /// The exit code of the verb, and what it shows.
    fn problems(&self) -> (Option<i32>, Vec<Value>) {
        let told = self.run(&["problems", "--output", "json"]);
        let shown = serde_json::from_slice(&told.stdout).unwrap_or_default();
        (told.status.code(), shown)
    }

    /// The problem of this code, once it is told as wanted, and since when: that is known once it is recorded.
    async fn until_problem(&self, code: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            let (exit, shown) = self.problems();
            let is_it = |it: &&Value| it["code"] == code && it["since"].is_string() && wanted(it);
            if let Some(found) = shown.iter().find(is_it) {
                assert_eq!((exit, &found["cluster"]), (Some(8), &"demo".into()));
                assert!(found["remedy"].as_str().is_some_and(|it| it.len() > 20));
                return found.clone();
            }
            assert!(Instant::now() < deadline, "{code} is not told: {shown:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until_no_problem(&self) {
        let deadline = Instant::now() + WITHIN;
        while self.problems().0 != Some(0) {
            assert!(Instant::now() < deadline, "{:?}", self.problems());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The superuser, who logs in on the host alone.
    async fn superuser(&self, cluster: &Value, instance: &str) -> Client {
        let port = shown(cluster, instance)["port"].as_u64().unwrap();
        let mut config = Config::new();
        config
            .host_path(self.folder.join(instance).join("agent/run"))
            .port(port.try_into().unwrap())
            .user("postgres")
            .dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "the session's driver ends with its client"
        )]
        tokio::spawn(connection);
        client
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_problems_are_told_while_they_last() {
    let Some(dev) = Dev::up().await else { return };
    let cluster = dev.until("healthy", is_healthy).await;
    dev.until_no_problem().await;
    assert_eq!(dev.done(&["problems", "demo"]), "no problems");
    assert_eq!(dev.run(&["problems", "other"]).status.code(), Some(4));
    let primary = cluster["primary"].as_str().unwrap().to_owned();
    let [first, second] = <[_; 2]>::try_from(dev.others(&cluster, &primary)).unwrap();

    let superuser = dev.superuser(&cluster, &primary).await;
    let set = "ALTER SYSTEM SET default_transaction_read_only = on";
    superuser.batch_execute(set).await.unwrap();
    let reload = "SELECT pg_reload_conf()";
    superuser.batch_execute(reload).await.unwrap();
    let told = dev.until_problem("PrimaryReadOnly", |_| true).await;
    assert_eq!(told["instances"], serde_json::json!([primary]));
    assert_eq!(told["actionable"], false);
    let text = dev.run(&["problems", "demo"]);
    assert_eq!(text.status.code(), Some(8));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("demo  PrimaryReadOnly since 20"), "{text}");
    assert!(text.contains("\n      if nobody wants that: ALTER SYSTEM RESET"));
    let reset = "ALTER SYSTEM RESET default_transaction_read_only";
    superuser.batch_execute(reset).await.unwrap();
    superuser.batch_execute(reload).await.unwrap();
    dev.until_no_problem().await;

    // The host of one standby hangs, then that of the other.
    let client = dev.session().await;
    create_table(&client).await;
    dev.done(&["dev", "freeze", &first.0]);
    let told = dev.until_problem("StandbyNotReplicating", |_| true).await;
    assert_eq!(told["instances"], serde_json::json!([first.0]));
    let words = told["text"].as_str().unwrap();
    assert!(
        words.starts_with("1 of 2 standbys does not stream from the primary"),
        "{words}"
    );
    insert(&client, 1).await.unwrap();
    dev.done(&["dev", "freeze", &second.0]);
    let told = dev
        .until_problem("AllStandbyNotReplicating", |_| true)
        .await;
    assert_eq!(told["instances"], serde_json::json!([first.0, second.0]));
    let mut writer = JoinSet::new();
    writer.spawn(async move { insert(&client, 2).await });
    let told = dev
        .until_problem("PrimaryBlockedOnSync", |told| {
            let words = told["text"].as_str().unwrap();
            words.ends_with("1 session waits")
        })
        .await;
    let words = told["text"].as_str().unwrap();
    assert!(words.contains("they need 1 of the standbys, 0 are known to stream"));
    assert_eq!(told["instances"], serde_json::json!([primary]));
    let (_, all) = dev.problems();
    assert!(all.iter().all(|it| it["actionable"] == false), "{all:?}");

    for (name, _) in [&first, &second] {
        dev.done(&["dev", "thaw", name]);
    }
    let written = tokio::time::timeout(WITHIN, writer.join_next()).await;
    written.unwrap().unwrap().unwrap().unwrap();
    dev.until_no_problem().await;
    let after = dev.until("healthy", is_healthy).await;
    assert_eq!(
        (&after["primary"], &after["epoch"]),
        (&cluster["primary"], &cluster["epoch"])
    );

    // Nobody is left who could act, or be asked.
    for name in ["a", "b", "c"] {
        dev.done(&["dev", "freeze", name]);
    }
    // The last one to fall silent may be the first to be noticed.
    let told = dev
        .until_problem("DeadPrimaryAndSomeStandbys", |told| {
            let words = told["text"].as_str().unwrap();
            words.ends_with("of 2 standbys 0 can be reached and 0 stream from it")
        })
        .await;
    assert_eq!(told["actionable"], false);
    for name in ["a", "b", "c"] {
        dev.done(&["dev", "thaw", name]);
    }
    dev.until_no_problem().await;
}
