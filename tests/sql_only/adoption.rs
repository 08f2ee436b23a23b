//! Found, adopted, watched, forgotten.

use serde_json::json;

use crate::group::Group;
use crate::rig::{Rig, access, is_installed, names, ports, shown};

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
    // One cluster for each history: nobody is shown a plan for another one.
    for (by, name, is_plan) in [(1, "other", false), (0, "demo", true), (0, "other", true)] {
        let mut again = rig.body(by);
        again["name"] = json!(name);
        again["dry_run"] = json!(is_plan);
        let (status, problem) = rig.group.post("/api/v1/adoptions", &again).await;
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("exists")),
            "{problem}"
        );
        let why = problem["detail"].as_str().unwrap();
        let here = "is looked after here already, in cluster demo";
        assert!(why.ends_with(here), "{why}");
        let next = problem["hint"].as_str().unwrap();
        assert!(next.contains("primacy status demo"), "{next}");
    }

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

/// Two that do not know of each other would each promote for themselves.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_installation_looks_after_is_recorded_by_those_alone_who_insist() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    rig.adopt(0).await;
    let other = Group::start_as('b', |_| access(&rig.servers[0])).await;
    let (status, problem) = other.post("/api/v1/adoptions", &rig.body(0)).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("exists")),
        "{problem:#}"
    );
    let why = problem["detail"].as_str().unwrap();
    assert!(
        why.contains("of the group 00000000-0000-0000-0000-00000000000a"),
        "{why}"
    );
    assert_eq!(other.get("/api/v1/clusters").await, json!([]));
    let mut body = rig.body(0);
    body["dry_run"] = json!(true);
    let (_, plan) = other.post("/api/v1/adoptions", &body).await;
    let lacks = plan["lacks"].to_string();
    assert!(lacks.contains("another installation of Primacy"), "{lacks}");
    body["dry_run"] = json!(false);
    body["insist"] = json!(true);
    let (status, done) = other.post("/api/v1/adoptions", &body).await;
    assert_eq!((status, &done["recorded"]), (200, &json!(true)), "{done:#}");
    // One's own sessions are no other installation.
    let own = "/api/v1/clusters/demo";
    assert_eq!(rig.group.delete(own).await.0, 200);
    assert_eq!(other.delete(own).await.0, 200);
    let (status, done) = other.post("/api/v1/adoptions", &body).await;
    assert_eq!(status, 200, "{done:#}");
}

/// Else another one of that kind would be taken for the same installation, and its own other peers for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_configuration_names_no_group_signs_in_as_of_the_one_that_it_is_of() {
    if !is_installed() {
        return;
    }
    let rig = Rig::start(false).await;
    let alone = Group::alone(crate::servers::SECRET).await;
    let (status, done) = alone.post("/api/v1/adoptions", &rig.body(0)).await;
    assert_eq!((status, &done["recorded"]), (200, &json!(true)), "{done:#}");
    let named = "FROM pg_stat_activity WHERE application_name LIKE 'primacy %'";
    let primary = &rig.servers[0];
    primary.until(&format!("SELECT count(*) > 0 {named}")).await;
    let none = "application_name LIKE '%00000000-0000-0000-0000-000000000000'";
    assert_eq!(primary.sql(&format!("SELECT bool_or({none}) {named}")), "f");
}
