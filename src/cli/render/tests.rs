//! What people read.

use super::cluster::health;
use super::*;
use crate::http::views::{DurabilityChangeView, FindingView, HoldView};

#[test]
fn columns_are_aligned() {
    let rows = vec![columns(["A", "LONG"]), columns(["longer", "b"])];
    assert_eq!(table(&rows), "A       LONG\nlonger  b\n");
    assert_eq!(bytes(1536), "1.5 kB");
}

#[test]
fn a_problem_shows_its_evidence_and_what_follows() {
    let problem = |since: Option<&str>| ProblemView {
        cluster: Some("demo".to_owned()),
        finding: FindingView {
            code: "Some".to_owned(),
            text: "1 of 2".to_owned(),
            instances: vec!["a".to_owned()],
            since: since.map(str::to_owned),
            actionable: false,
            remedy: "Primacy waits".to_owned(),
        },
    };
    let text = problems(&[problem(Some("2026-01-01T00:00:00Z")), problem(None)]);
    let expected = "\
demo  Some since 2026-01-01T00:00:00Z: 1 of 2
      Primacy waits
demo  Some: 1 of 2
      Primacy waits
";
    assert_eq!(text, expected);
    assert_eq!(problems(&[]), "no problems\n");
    // As the API writes them.
    let text = serde_json::to_string(&problem(None)).unwrap();
    assert!(text.starts_with(r#"{"cluster":"demo","code":"Some","text":"1 of 2","#));
    assert_eq!(
        serde_json::from_str::<ProblemView>(&text).unwrap(),
        problem(None)
    );
}

#[test]
fn a_creation_shows_its_first_primary_alone() {
    let recovery = |kind: &str, from: Option<&str>, to: Option<&str>| RecoveryView {
        id: 1,
        kind: kind.to_owned(),
        epoch: 1,
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        cause: "why".to_owned(),
        began_at: None,
        took_ms: None,
        outcome: None,
        verdict: None,
        entries: vec![],
    };
    let text = history(&[
        recovery("creation", None, Some("a")),
        recovery("handover", Some("a"), Some("b")),
        recovery("rejoin", Some("a"), None),
    ]);
    let expected = "\
WHEN  KIND      FROM -> TO  EPOCH  TOOK  WHY  OUTCOME
-     creation  a           1      -     why  under way
-     handover  a -> b      1      -     why  under way
-     rejoin    a           1      -     why  under way
";
    assert_eq!(text, expected);
}
fn instance(name: &str, role: &str, state: &str) -> InstanceView {
    InstanceView {
        name: name.to_owned(),
        zone: "z1".to_owned(),
        host: "h".to_owned(),
        port: 5432,
        health: "h:8008".to_owned(),
        assignment: "standby".to_owned(),
        role: role.to_owned(),
        state: state.to_owned(),
        timeline: Some(2),
        lsn: Some("0/40".to_owned()),
        lag_bytes: Some(0),
        lease_remaining_ms: (name == "a").then_some(7000),
        planned_stop_until: None,
        standing: "voter".to_owned(),
        incarnation: 1,
        downtime: None,
        promotion_rule: "neutral".to_owned(),
        promotion_rule_until: None,
        rejoin: None,
        age_ms: Some(100),
        connected: true,
        failure: None,
    }
}

fn view(primary: Option<&str>, phase: &str, instances: Vec<InstanceView>) -> ClusterView {
    ClusterView {
        name: "demo".to_owned(),
        system_identifier: None,
        reads: "fast".to_owned(),
        durability: "quorum 1".to_owned(),
        standby_acks: 1,
        fence: "agents".to_owned(),
        guarantee: String::new(),
        epoch: 1,
        timeline: 2,
        primary: primary.map(str::to_owned),
        primary_address: None,
        phase: phase.to_owned(),
        pause: None,
        priority: 0,
        block_seconds: None,
        blocked: None,
        switchover: None,
        durability_change: None,
        instances,
        findings: vec![FindingView {
            code: "Some".to_owned(),
            text: "finding".to_owned(),
            instances: vec![],
            since: None,
            actionable: false,
            remedy: "Primacy waits".to_owned(),
        }],
        waiting: vec![],
        under_way: vec![],
        warnings: vec!["of a peer".to_owned(), "of an agent".to_owned()],
    }
}

#[test]
fn a_primary_that_is_away_is_not_called_serving() {
    let at = |primary, phase: &str, role: &str, state: &str| {
        let instances = vec![
            instance("a", role, state),
            instance("b", "standby", "streaming"),
        ];
        health(&view(primary, phase, instances))
    };
    let a = Some("a");
    assert_eq!(at(a, "serving", "primary", "running"), "DEGRADED");
    assert_eq!(at(a, "serving", "none", "silent"), "PRIMARY SILENT");
    assert_eq!(at(a, "promoting", "none", "silent"), "PROMOTING");
    assert_eq!(at(None, "no_primary", "none", "died"), "NO PRIMARY");
    let mut well = view(a, "serving", vec![instance("a", "primary", "running")]);
    well.findings.clear();
    assert_eq!(health(&well), "HEALTHY");
}

#[test]
fn a_change_of_durability_says_what_it_waits_for_and_what_takes_it_back() {
    let mut changing = view(Some("a"), "serving", vec![]);
    changing.durability_change = Some(DurabilityChangeView {
        to: "quorum 2".to_owned(),
        owner: "ana".to_owned(),
        reason: "why".to_owned(),
        phase: "confirming".to_owned(),
        waits_for: "a commit".to_owned(),
        taken_back_by: "primacy cluster durability demo quorum:1".to_owned(),
    });
    let text = clusters(&[changing], &[]);
    let wait =
        "WAIT  durability: a commit; taken back by `primacy cluster durability demo quorum:1`\n";
    assert!(text.contains(wait), "{text}");
}

#[test]
fn who_is_away_is_named_and_not_taken_for_present() {
    let instances = vec![
        instance("a", "none", "silent"),
        instance("b", "standby", "streaming"),
    ];
    let clustered = view(Some("a"), "serving", instances);
    let peers = [peer(1, true, "leader"), peer(2, false, "unknown")];
    let expected = "\
demo   PRIMARY SILENT   sys -   epoch 1   quorum 1
INSTANCE  ZONE  ROLE            STATE      TL  LSN   LAG  LEASE     SEEN   COUNTS
a         z1    none (primary)  silent     2   0/40  -    <= 7.0 s  0.1 s  yes
b         z1    standby         streaming  2   0/40  0 B  -         0.1 s  yes
WARN  Some: finding
WARN  of an agent
peers 1/2 (leader 1, term 3)
WARN  peer 2 at h:7002 does not answer
WARN  of a peer
";
    assert_eq!(clusters(std::slice::from_ref(&clustered), &peers), expected);
    let [leads, away] = peers.clone();
    let with_newcomers = [
        leads,
        away,
        peer(4, false, "invited"),
        peer(5, false, "joining"),
    ];
    let text = clusters(std::slice::from_ref(&clustered), &with_newcomers);
    assert_eq!(text, expected, "who is only invited is missed by nobody");

    let heading = "WARN  stale, from peer 1; 1 of 2 peers answer, a majority is missing: no failover, \
            and the primary stops when its lease ends\n";
    let unled = expected.replace("(leader 1, term 3)", "(no leader)");
    let text = stale("1", std::slice::from_ref(&clustered), peers.to_vec());
    assert_eq!(text, format!("{heading}{unled}"));
    let without_agents = ClusterView {
        fence: "courtesy".to_owned(),
        ..clustered.clone()
    };
    let first = |seen: &[ClusterView]| {
        let text = stale("1", seen, peers.to_vec());
        text.lines().next().unwrap().to_owned()
    };
    let go_on = "; databases without agents go on as they are";
    let mixed = first(&[clustered, without_agents.clone()]);
    assert_eq!(mixed, format!("{}{go_on}", heading.trim_end()));
    let heading =
        "WARN  stale, from peer 1; 1 of 2 peers answer, a majority is missing: no failover";
    assert_eq!(first(&[without_agents]), format!("{heading}{go_on}"));
    let text = stale(
        "1",
        &[],
        vec![peer(1, true, "leader"), peer(2, true, "candidate")],
    );
    let expected = "\
WARN  stale, from peer 1; 2 of 2 peers answer, none leads: no failover until one is elected
no clusters yet: primacy cluster create --help tells of those with agents; primacy cluster adopt HOST takes one without
peers 2/2 (no leader)
WARN  of a peer
";
    assert_eq!(text, expected);
}

fn peer(id: u64, reachable: bool, role: &str) -> PeerView {
    PeerView {
        id,
        address: format!("h:700{id}"),
        group: (id == 2).then(|| "3f0c6a52-7d1e-4b59-9a43-5c2f8e6d1b70".to_owned()),
        zone: None,
        reachable,
        role: role.to_owned(),
        leader: Some(1),
        term: Some(3),
        lease_remaining_ms: None,
        last_log_index: None,
        applied_index: None,
        vote: true,
        behind: None,
        feature_level_spoken: Some(1),
        feature_level: Some(1),
        invited_until: None,
        configuration: None,
        warnings: (id == 1)
            .then(|| "of a peer".to_owned())
            .into_iter()
            .collect(),
    }
}

#[test]
fn a_lease_is_shown_with_whoever_holds_it_and_a_leader_without_one_is_told_apart() {
    let leads = PeerView {
        lease_remaining_ms: Some(310),
        zone: Some("z1".to_owned()),
        behind: Some(0),
        ..peer(1, true, "leader")
    };
    let invited = PeerView {
        invited_until: Some("2026-01-01T00:00:00Z".to_owned()),
        vote: false,
        term: None,
        ..peer(4, false, "invited")
    };
    let text = super::peers(&[
        leads,
        peer(2, true, "leader"),
        peer(3, false, "unknown"),
        invited,
    ]);
    let expected = "\
PEER  ADDRESS  ZONE  ROLE                                LEASE  VOTE  BEHIND  TERM  LAST LOG  APPLIED
1     h:7001   z1    leader                              0.3 s  yes   0       3     -         -
2     h:7002   -     leader                              none   yes   -       3     -         -
3     h:7003   -     unreachable                         -      yes   -       3     -         -
4     h:7004   -     invited until 2026-01-01T00:00:00Z  -      no    -       -     -         -
group 3f0c6a52-7d1e-4b59-9a43-5c2f8e6d1b70
WARN  of a peer
";
    assert_eq!(text, expected);
}

#[test]
fn without_agents_the_address_of_each_instance_is_shown() {
    let mut instances = vec![
        instance("a", "primary", "running"),
        instance("b", "standby", "streaming"),
    ];
    for (it, host) in instances.iter_mut().zip(["db1.example", "fd00::2"]) {
        it.host = host.to_owned();
        it.lease_remaining_ms = None;
    }
    let view = ClusterView {
        fence: "courtesy".to_owned(),
        ..view(Some("a"), "serving", instances)
    };
    let expected = "\
INSTANCE  ROLE     STATE      TL  LSN   LAG  SEEN   COUNTS  ADDRESS
a         PRIMARY  running    2   0/40  0 B  0.1 s  yes     db1.example:5432
b         standby  streaming  2   0/40  0 B  0.1 s  yes     [fd00::2]:5432
";
    let text = cluster(&view);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_pause_is_shown_on_every_screen_and_is_no_trouble() {
    let hold = HoldView {
        since: "s".to_owned(),
        until: "u".to_owned(),
        owner: "ana".to_owned(),
        reason: "patch".to_owned(),
        everywhere: true,
    };
    let mut a = instance("a", "primary", "running");
    a.downtime = Some(hold.clone());
    a.promotion_rule = "must_not".to_owned();
    let mut view = view(Some("a"), "serving", vec![a]);
    view.findings[0].code = "Paused".to_owned();
    view.pause = Some(hold);
    let text = cluster(&view);
    for line in [
        "demo   HEALTHY ",
        "PAUSE every cluster until u by ana: patch\n",
        "DOWN  a in downtime until u by ana: patch\n",
        "RULE  a: must_not\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains("WARN"), "{text}");
}

#[test]
fn a_connection_string_names_the_primary_first_and_a_deposed_one_last() {
    let mut instances = vec![
        instance("a", "primary", "running"),
        instance("b", "standby", "streaming"),
        instance("c", "primary", "running"),
    ];
    let hosts = ["10.0.0.1", "fd00::2", "/run/postgresql"];
    for (it, host) in instances.iter_mut().zip(hosts) {
        (it.host, it.port) = (host.to_owned(), 5432);
    }
    let dsn = |primary| dsn(&view(primary, "serving", instances.clone()));
    let rest = "/?target_session_attrs=read-write&connect_timeout=2";
    let hosts = "%2Frun%2Fpostgresql:5432,[fd00::2]:5432,10.0.0.1:5432";
    assert_eq!(dsn(Some("c")), format!("postgresql://{hosts}{rest}"));
    let nobody = dsn(None);
    assert!(
        nobody.starts_with("postgresql://[fd00::2]:5432,"),
        "{nobody}"
    );
}
