//! The bodies and headers of the HTTP API, and what a peer or tool is answered.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{json, keeps_json};
use crate::http::adoptions::{AdoptionBody, PlaceBody};
use crate::http::change;
use crate::http::creation::{DurabilityBody, MemberBody, NewClusterBody, checked};
use crate::http::directives::{AcknowledgeBody, BlockBody, HoldBody, PriorityBody, RuleBody};
use crate::http::durability::ChangeDurabilityBody;
use crate::http::explain::ExplanationView;
use crate::http::failovers::FailoverBody;
use crate::http::invitations::{GuestBody, GuestKind};
use crate::http::membership::{InvitationBody, TransferBody};
use crate::http::problem::Problem;
use crate::http::switchovers::SwitchoverBody;
use crate::http::tokens::TokenBody;
use crate::http::views::{
    AdoptionView, ClusterView, LeaderView, PauseView, PeerView, ProblemView, RecoveryView,
};
use crate::model::{
    AccessRole, ClusterName, FenceDemand, InstanceId, Opinion, Priority, PromotionRule, Reads,
};
use crate::server::control::Looked;
use crate::server::leaving::Word;
use crate::server::publish::consul::Entry;
use crate::server::sql_only::Thought;
use crate::server::upgrade::Told;
use crate::state::NewHold;

fn body<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[test]
fn fuzz_new_cluster() {
    let member = MemberBody {
        host: "10.0.0.1".to_owned(),
        port: 5432,
        health_host: None,
        health_port: 8008,
        zone: "z1".to_owned(),
    };
    let members = ["a", "b", "c"].map(|name| (name.to_owned(), member.clone()));
    let example = NewClusterBody {
        name: "main".to_owned(),
        durability: DurabilityBody::Quorum(1),
        reads: Reads::Strict,
        members: members.into(),
        first: "a".to_owned(),
    };
    json("http: new cluster", &example).run(body::<NewClusterBody>, |new| {
        keeps_json(new.clone());
        if let Ok((name, new)) = checked(new) {
            assert!(new.members.contains_key(&new.first), "{name}");
        }
    });
}

#[test]
fn fuzz_small_bodies() {
    let invitation = InvitationBody {
        address: "10.0.0.4:7001".to_owned(),
        secret_sha256: "ab".repeat(32),
    };
    json("http: invitation", &invitation).run(body::<InvitationBody>, keeps_json);
    let transfer = TransferBody { to: Some(2) };
    json("http: transfer", &transfer).run(body::<TransferBody>, keeps_json);
    let cluster = ClusterName::new("main").unwrap();
    let guest = GuestBody {
        guest: GuestKind::Agent {
            cluster: cluster.clone(),
            instance: InstanceId::new("a").unwrap(),
        },
        secret_sha256: "ab".repeat(32),
    };
    json("http: guest", &guest).run(body::<GuestBody>, keeps_json);
    let token = TokenBody {
        name: "ci".to_owned(),
        role: AccessRole::Viewer,
        clusters: Some([cluster].into()),
        secret_sha256: "ab".repeat(32),
        expires_in_seconds: 3_600,
    };
    json("http: token", &token).run(body::<TokenBody>, keeps_json);
}

#[test]
fn fuzz_bodies_of_operators() {
    let hold = HoldBody {
        seconds: 3_600,
        owner: "ann".to_owned(),
        reason: "a new disk".to_owned(),
    };
    json("http: hold", &hold).run(body::<HoldBody>, |it| {
        keeps_json(it.clone());
        let hold = NewHold::from(it.clone());
        assert_eq!(hold.length.as_secs(), it.seconds);
    });
    let rule = RuleBody {
        rule: PromotionRule::PreferNot,
        seconds: Some(60),
    };
    json("http: promotion rule", &rule).run(body::<RuleBody>, keeps_json);
    let block = BlockBody { seconds: Some(60) };
    json("http: block", &block).run(body::<BlockBody>, keeps_json);
    let priority = PriorityBody {
        priority: Priority(-7),
    };
    json("http: priority", &priority).run(body::<PriorityBody>, keeps_json);
    let acknowledge = AcknowledgeBody {
        owner: "ann".to_owned(),
        comment: "seen".to_owned(),
    };
    json("http: acknowledgement", &acknowledge).run(body::<AcknowledgeBody>, keeps_json);
}

#[test]
fn fuzz_adoption() {
    let address = |port| PlaceBody {
        host: "10.0.0.1".to_owned(),
        port,
    };
    let adoption = AdoptionBody {
        address: address(Some(5432)),
        instances: vec![address(None)],
        name: Some("main".to_owned()),
        fence: FenceDemand::Required,
        dry_run: true,
        insist: true,
    };
    json("http: adoption", &adoption).run(body::<AdoptionBody>, keeps_json);
    let switchover = SwitchoverBody {
        to: Some("b".to_owned()),
        owner: Some("ann".to_owned()),
        reason: Some("a new disk".to_owned()),
        seconds: Some(60),
    };
    json("http: switchover", &switchover).run(body::<SwitchoverBody>, keeps_json);
    let durability = ChangeDurabilityBody {
        durability: DurabilityBody::Quorum(2),
        owner: Some("ann".to_owned()),
        reason: Some("a third standby".to_owned()),
    };
    json("http: durability", &durability).run(body::<ChangeDurabilityBody>, keeps_json);
}

#[test]
fn fuzz_failover() {
    let failover = FailoverBody {
        accept_loss: true,
        up_to: Some("2:0/3000060".to_owned()),
        old_is_off: false,
        owner: "ann".to_owned(),
        reason: "the zone is gone".to_owned(),
    };
    json("http: forced failover", &failover).run(body::<FailoverBody>, keeps_json);
}

/// Method, path and headers of a change, as lines; then its body.
#[test]
fn fuzz_origin() {
    let read = |bytes: &[u8]| {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let uri = String::from_utf8_lossy(lines.next()?).parse::<Uri>().ok()?;
        // hyper takes a hundred.
        let headers = lines.take(100).map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
        });
        let headers = headers.collect::<Option<HeaderMap>>()?;
        change::origin(&Method::POST, &uri, &headers, bytes).ok()
    };
    fuzz::target("http: change")
        .example("/api/v1/clusters\nidempotency-key:one\nprimacy-since:7")
        .words(&[
            "idempotency-key:",
            "primacy-since:",
            "\n",
            "-",
            "18446744073709551616",
        ])
        .run(read, |origin| assert_eq!(origin.key.serial, 0));
}

fn answer<T: Serialize + DeserializeOwned>(name: &str, example: &T) {
    json(name, example).run(body::<T>, keeps_json);
}

#[test]
fn fuzz_answers() {
    let problem = Problem::new(StatusCode::CONFLICT, "exists", "there is one").hint("look");
    answer("answer: problem", &problem);
    answer("answer: look", &Looked { heard: true });
    let word = Word {
        beginning: 0,
        group: "g".to_owned(),
        removed: true,
    };
    answer("answer: word", &word);
    let thought = Thought {
        opinion: Opinion::Unsure,
    };
    answer("answer: opinion", &thought);
    let told = serde_json::json!({"id": 3, "feature_level_spoken": 3});
    json("answer: feature level", &told).run(body::<Told>, drop);
}

#[test]
fn fuzz_answers_to_tools() {
    let leader = LeaderView {
        leader: 1,
        address: "a:1".to_owned(),
        term: 3,
        since: Some("2026-01-01T00:00:00Z".to_owned()),
        lease_remaining_ms: Some(300),
        lease_until: None,
        answered_by: 2,
    };
    answer("answer: leader", &leader);
    let peer = r#"[{"id":1,"address":"a:1","zone":null,"reachable":true,"role":"leader","leader":1,"term":1,
        "lease_remaining_ms":1,"last_log_index":1,"applied_index":1,"vote":true,"behind":null,"warnings":["x"]}]"#;
    let peers: Vec<PeerView> = serde_json::from_str(peer).unwrap();
    answer("answer: peers", &peers);
    let cluster = r#"{"name":"main","system_identifier":"7","durability":"quorum 1","reads":"strict","standby_acks":1,
        "epoch":3,"timeline":2,"primary":"a","primary_address":"a:5432","phase":"serving","instances":[{"name":"a",
        "zone":"z1","host":"a","port":5432,"health":"a:8008","assignment":"primary","role":"primary","state":"running",
        "timeline":2,"lsn":"0/5000000","lag_bytes":0,"lease_remaining_ms":900,"planned_stop_until":null,
        "standing":"voter","incarnation":1,"rejoin":"copying","age_ms":20,"connected":true,"failure":"x"}],
        "findings":[{"code":"c","text":"t"}],"waiting":[{"instance":"a","code":"c","text":"t"}],
        "under_way":[{"instance":"a","action":"promote","order":"3.1"}],"warnings":["w"]}"#;
    let cluster: ClusterView = serde_json::from_str(cluster).unwrap();
    answer("answer: cluster", &cluster);
    let recoveries = r#"[{"id":1,"kind":"handover","epoch":3,"from":"a","to":"b","cause":"x","began_at":"2026-01-01T00:00:00Z",
        "took_ms":250,"outcome":"promoted","entries":[{"at_ms":1,"at":"2026-01-01T00:00:00Z","event":"e","detail":"d"}]}]"#;
    let recoveries: Vec<RecoveryView> = serde_json::from_str(recoveries).unwrap();
    answer("answer: recoveries", &recoveries);
}

#[test]
fn fuzz_answers_about_databases() {
    let adoption = r#"{"name":"main","recorded":true,"system_identifier":"7","fence":"courtesy","durability":"async","guarantee":"g",
        "primary":"a","instances":[{"name":"a","address":"a:5432","role":"primary","source":null,"application_name":"a",
        "version":"15.18","timeline":2}],"unfound":["u"],"lacks":[{"address":"a:5432","what":"w","mend":"m","needed":true}]}"#;
    let adoption: AdoptionView = serde_json::from_str(adoption).unwrap();
    answer("answer: adoption", &adoption);
    let pause = r#"{"paused":true,"pause":{"since":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z","owner":"ann",
        "reason":"r","everywhere":true}}"#;
    let pause: PauseView = serde_json::from_str(pause).unwrap();
    answer("answer: pause", &pause);
    let problems = r#"[{"cluster":"main","code":"c","text":"t","instances":["a"],"since":"2026-01-01T00:00:00Z",
        "actionable":true,"remedy":"r"}]"#;
    let problems: Vec<ProblemView> = serde_json::from_str(problems).unwrap();
    answer("answer: problems", &problems);
}

#[test]
fn fuzz_explanation() {
    let said = r#"{"to":"b","code":null,"text":null,"loss_bytes":0,"lease_wait_ms":10000,"candidates":[{"name":"b",
        "lsn":"0/5000000","behind_bytes":7,"promotion_rule":"neutral","obstacle":null}]}"#;
    let said: ExplanationView = serde_json::from_str(said).unwrap();
    answer("answer: explanation", &said);
}

#[test]
fn fuzz_answer_of_consul() {
    let entries = r#"[{"LockIndex":0,"Key":"pg/primary/main/epoch","Flags":40,"Value":"Nw==","CreateIndex":3,"ModifyIndex":9},
        {"Key":"x","Value":null,"ModifyIndex":1}]"#;
    let entries: Vec<Entry> = serde_json::from_str(entries).unwrap();
    answer("answer: consul", &entries);
}
