//! Found, adopted, watched, forgotten.

use serde_json::json;

use crate::rig::{Rig, is_installed, names, ports, shown};

const STARTED: &str = "SELECT pg_postmaster_start_time()";

#[tokio::test(flavor = "multi_thread")]
async fn a3_from_one_address_standbys_appear_with_their_own_ports() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    let started: Vec<_> = rig.servers.iter().map(|it| it.sql(STARTED)).collect();
    // pg_stat_replication shows one address for both.
    let clients = "SELECT count(DISTINCT client_addr) FROM pg_stat_replication";
    assert_eq!(rig.servers[0].sql(clients), "1");

    // A plan records nothing.
    let mut body = rig.body(0);
    body["dry_run"] = json!(true);
    let (status, plan) = rig.group.post("/api/v1/adoptions", &body).await;
    assert_eq!(
        (status, &plan["recorded"]),
        (200, &json!(false)),
        "{plan:#}"
    );
    assert_eq!(
        names(&plan),
        [
            "127-0-0-1-".to_owned() + &rig.servers[0].address.port.to_string(),
            "s1".into(),
            "s2".into()
        ]
    );
    assert_eq!(plan["unfound"], json!([]));
    assert_eq!(plan["fence"], "courtesy");
    assert!(
        plan["lacks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["needed"] == false),
        "{plan:#}"
    );
    for (name, server) in ["s1", "s2"].iter().zip(&rig.servers[1..]) {
        let found = plan["instances"].as_array().unwrap();
        let found = found.iter().find(|it| it["name"] == **name).unwrap();
        assert_eq!(found["address"], server.address.to_string());
        assert_eq!(found["source"], rig.servers[0].address.to_string());
    }
    assert_eq!(rig.group.get("/api/v1/clusters").await, json!([]));

    let cluster = rig.adopt(0).await;
    assert_eq!(cluster["fence"], "courtesy");
    let guarantee = cluster["guarantee"].as_str().unwrap();
    assert!(guarantee.contains("late cannot be refused"), "{guarantee}");
    assert_eq!(
        cluster["primary_address"],
        rig.servers[0].address.to_string()
    );
    // One cluster for each history.
    let mut again = rig.body(1);
    again["name"] = json!("other");
    let (status, problem) = rig.group.post("/api/v1/adoptions", &again).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("exists")),
        "{problem}"
    );

    // What commits wait for is recorded, and with it what is guaranteed.
    rig.make_synchronous().await;
    let cluster = rig
        .until("quorum", |it| it["durability"] == "quorum 1")
        .await;
    let guarantee = cluster["guarantee"].as_str().unwrap();
    assert!(
        guarantee.starts_with("no acknowledged commit is lost"),
        "{guarantee}"
    );

    // One comes where nothing speaks for its port: it is told how to make it known.
    let far = ports(1);
    rig.host.ports.lock().unwrap().push(far[0]);
    let fourth = rig.host.standby("far", &rig.servers[0], false).await;
    let is_told = |it: &serde_json::Value| {
        let warnings = it["warnings"].as_array().unwrap();
        let told = "named far whose port is not known: give it with --instance";
        warnings
            .iter()
            .any(|it| it.as_str().unwrap().contains(told))
            || shown(it, "far")["connected"] == true
    };
    rig.until("told of", is_told).await;
    let (status, forgotten) = rig.group.delete("/api/v1/clusters/demo").await;
    assert_eq!((status, &forgotten["name"]), (200, &json!("demo")));
    let mut body = rig.body(0);
    let at = &fourth.address;
    body["instances"] = json!([{"host": at.host, "port": at.port}]);
    let (status, plan) = rig.group.post("/api/v1/adoptions", &body).await;
    assert_eq!(status, 200, "{plan:#}");
    assert_eq!(names(&plan).len(), 4);
    // Whoever goes is seen to be gone.
    rig.until("seen", |it| shown(it, "far")["state"] == "streaming")
        .await;
    fourth.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE false");
    primacy::host::processes::kill_all(&fourth.data, crate::stage::LONG).unwrap();
    rig.until("gone", |it| shown(it, "far")["state"] == "gone")
        .await;

    let (status, _) = rig.group.delete("/api/v1/clusters/demo").await;
    assert_eq!(status, 200);
    let (status, _) = rig.group.delete("/api/v1/clusters/demo").await;
    assert_eq!(status, 404);
    for (server, before) in rig.servers.iter().zip(started) {
        assert_eq!(server.sql(STARTED), before, "nothing was restarted");
    }
}
