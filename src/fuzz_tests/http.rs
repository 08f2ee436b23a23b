//! The bodies and headers of the HTTP API, and what a peer or tool is answered.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{json, keeps_json};
use crate::http::change;
use crate::http::clusters::{DurabilityBody, MemberBody, NewClusterBody, checked};
use crate::http::invitations::{GuestBody, GuestKind};
use crate::http::membership::{InvitationBody, TransferBody};
use crate::http::problem::Problem;
use crate::http::tokens::TokenBody;
use crate::http::views::{ClusterView, LeaderView, PeerView, RecoveryView};
use crate::model::{AccessRole, ClusterName, InstanceId, Reads};
use crate::server::control::Looked;
use crate::server::leaving::Word;

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
