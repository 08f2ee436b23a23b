//! Who may call what: every route, asked by every kind of caller.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use primacy::clock;
use primacy::http::authorisation::{RULES, Rule};
use primacy::model::{AccessRole, ClusterName, InstanceId, PeerId, Scope};
use primacy::security::authority::CertificateAuthority;
use primacy::security::{BearerToken, Credentials, Expected, Files, Tls, Who, Wire};
use primacy::server::Peer;
use primacy::server::calls::{CallError, Calls};
use primacy::server::hex::hex;
use raft::GroupId;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::demo;
use super::group::{GROUP, Group, WITHIN, calls_of, tls_of, tool};

/// The paths that the router of a peer has, as it shows itself.
static ROUTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes what is routed.
pub fn note(router: &Router) {
    let shown = format!("{router:?}");
    let quoted = shown.split('"').skip(1).step_by(2);
    let paths = quoted
        .filter(|text| text.len() > 1 && text.starts_with('/') && !text.contains("__private"));
    ROUTED.lock().unwrap().extend(paths.map(str::to_owned));
}

pub fn serving(peer: Arc<Peer>) -> Router {
    let router = (primacy::http::PORT.serving)(peer);
    note(&router);
    router
}

pub fn anonymous(authority: &CertificateAuthority) -> Calls {
    Calls::over(wire_of_nobody(authority))
}

pub fn wire_of_nobody(authority: &CertificateAuthority) -> Wire {
    let trusted = [authority.certificate().clone()];
    let nobody = Credentials::anonymous(authority.group(), &trusted).unwrap();
    Wire::Tls(Tls::new(nobody))
}

fn agent() -> Who {
    Who::Agent {
        cluster: ClusterName::new("demo").unwrap(),
        instance: InstanceId::new("a").unwrap(),
    }
}

/// What a caller is told: the status and the code of the problem.
pub async fn asks(
    calls: &Calls,
    address: &str,
    (method, path): (&Method, &str),
    (token, body): (Option<&str>, &str),
) -> Result<(u16, String), CallError> {
    let mut request = Request::builder().method(method.clone()).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = Full::new(Bytes::from(body.to_owned()));
    let answer = calls.send(address, request.body(body).unwrap(), WITHIN);
    let answer = answer.await?;
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    if answer.status() == 401 {
        assert!(answer.headers().contains_key("www-authenticate"));
    }
    Ok((answer.status().as_u16(), code))
}

/// A token with this role, made by an admin.
async fn token(group: &Group, name: &str, role: &str, clusters: &Value) -> String {
    let everywhere = Scope::Everything;
    let life = Duration::from_secs(3600);
    let minted = BearerToken::mint(name, AccessRole::Viewer, everywhere, 0, life);
    let (token, record) = minted.unwrap();
    let body = json!({
        "name": name, "role": role, "clusters": clusters,
        "secret_sha256": hex(&record.hash.0), "expires_in_seconds": 3600,
    });
    let (status, made) = group.post(1, "/api/v1/tokens", &body).await;
    assert_eq!(status, 201, "{made}");
    assert!(made["clusters"] == *clusters && made["expired"] == false);
    token.reveal()
}

/// Whether a caller may call what has this rule.
type May = Box<dyn Fn(Rule) -> bool>;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_those_of_its_rule_and_nobody_else() {
    let group = Group::start().await;
    let routed = ROUTED.lock().unwrap().clone();
    assert!(routed.len() > 20, "{routed:?}");
    // A route without a rule would be nobody's.
    let ruled: BTreeSet<_> = RULES
        .iter()
        .map(|(_, path, _)| (*path).to_owned())
        .collect();
    let lacking: Vec<_> = routed.difference(&ruled).collect();
    assert!(lacking.is_empty(), "without a rule: {lacking:?}");

    let (status, _) = group.post(1, "/api/v1/clusters", &demo("demo")).await;
    assert_eq!(status, 201);
    let mut other = demo("other");
    for member in ["a", "b", "c"] {
        other["members"][member]["host"] = json!("127.0.0.2");
    }
    let (status, made) = group.post(1, "/api/v1/clusters", &other).await;
    assert_eq!(status, 201, "{made}");
    let authority = &group.authority;
    let nobody = anonymous(authority);
    let scoped = token(&group, "scoped", "viewer", &json!(["demo"])).await;
    let viewer = token(&group, "viewer", "viewer", &Value::Null).await;
    let operator = token(&group, "operator", "operator", &Value::Null).await;
    let admin = token(&group, "admin", "admin", &Value::Null).await;
    let by_certificate = |who| calls_of(authority, who);
    use AccessRole::{Admin, Operator, Viewer};
    // Whether the rule lets the caller in.
    type Lets = fn(Rule) -> bool;
    let role = |least: AccessRole| {
        move |rule: Rule| match rule {
            Rule::Open => true,
            Rule::Installation(needs) | Rule::Cluster(needs) | Rule::Listed(needs) => {
                needs <= least
            }
            Rule::Peers | Rule::FormerPeers | Rule::Agents | Rule::Holders => false,
        }
    };
    let (lets_viewer, lets_operator, lets_admin) = (role(Viewer), role(Operator), role(Admin));
    let only_open: Lets = |rule| rule == Rule::Open;
    let callers: Vec<(&str, Calls, Option<&str>, May)> = vec![
        ("nobody", nobody.clone(), None, Box::new(only_open)),
        (
            "a viewer's certificate",
            by_certificate(tool(Viewer)),
            None,
            Box::new(lets_viewer),
        ),
        (
            "an operator's certificate",
            by_certificate(tool(Operator)),
            None,
            Box::new(lets_operator),
        ),
        (
            "an admin's certificate",
            by_certificate(tool(Admin)),
            None,
            Box::new(lets_admin),
        ),
        (
            "a viewer's token",
            nobody.clone(),
            Some(&viewer),
            Box::new(lets_viewer),
        ),
        (
            "an operator's token",
            nobody.clone(),
            Some(&operator),
            Box::new(lets_operator),
        ),
        (
            "an admin's token",
            nobody.clone(),
            Some(&admin),
            Box::new(lets_admin),
        ),
        // The token decides, not the certificate.
        (
            "an admin with a viewer's token",
            by_certificate(tool(Admin)),
            Some(&viewer),
            Box::new(lets_viewer),
        ),
        (
            "a token for one cluster",
            nobody.clone(),
            Some(&scoped),
            Box::new(|rule| {
                matches!(
                    rule,
                    Rule::Open | Rule::Cluster(Viewer) | Rule::Listed(Viewer)
                )
            }),
        ),
        (
            "an agent",
            by_certificate(agent()),
            None,
            Box::new(|rule| matches!(rule, Rule::Open | Rule::Agents | Rule::Holders)),
        ),
        (
            "a peer",
            by_certificate(Who::Peer(PeerId(2))),
            None,
            Box::new(|rule| rule != Rule::Agents),
        ),
    ];
    // Whoever may see one cluster is shown that one, at whichever peer.
    for address in group.addresses.values() {
        let request = Request::get("/api/v1/clusters");
        let request = request.header("authorization", format!("Bearer {scoped}"));
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let answer = nobody.send(address, request, WITHIN).await.unwrap();
        let listed: Value = serde_json::from_slice(answer.body()).unwrap();
        let names: Vec<_> = listed.as_array().unwrap().iter().collect();
        assert!(names.len() == 1 && names[0]["name"] == "demo", "{listed}");
    }
    let address = &group.addresses[&1];
    for (methods, pattern, rule) in RULES.iter().filter(|(_, path, _)| routed.contains(*path)) {
        let method = match *methods {
            "any" => Method::GET,
            one => one.to_uppercase().parse().unwrap(),
        };
        // What would change something is refused for its body, or finds nothing.
        let path = pattern
            .replace("{cluster}", "demo")
            .replace("{instance}", "a")
            .replace("{peer}", "9")
            .replace("{name}", "none")
            .replace("{code}", "503")
            .replace("{*key}", "none")
            .replace("{call}", "vote");
        let is_transfer = pattern.ends_with("/transfer");
        for (who, calls, token, lets) in &callers {
            let body = if is_transfer { "{\"to\": 9}" } else { "?" };
            let answer = asks(calls, address, (&method, &path), (*token, body)).await;
            let (status, code) = answer.unwrap();
            let is_in = !matches!(&*code, "unauthenticated" | "forbidden");
            assert_eq!(
                is_in,
                lets(*rule),
                "{method} {path} by {who}: {status} {code}"
            );
            let said = match &*code {
                "unauthenticated" => 401,
                "forbidden" => 403,
                _ => status,
            };
            assert_eq!(status, said, "{method} {path} by {who}: {code}");
            assert!(is_in || *who != "nobody" || status == 401, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_installation_is_refused() {
    let group = Group::start().await;
    let address = &group.addresses[&1];
    let ask = async |calls: &Calls, token: Option<&str>| {
        let leader = (&Method::GET, "/api/v1/leader");
        asks(calls, address, leader, (token, "")).await
    };
    let now = clock::wall_millis();
    let theirs = CertificateAuthority::generate(GroupId::from_bytes([11; 16]), now).unwrap();
    // With the same number, but signed by somebody else; it trusts our peers, so that it is they who refuse.
    let namesake = CertificateAuthority::generate(GROUP, now).unwrap();
    let ours = group.authority.certificate().clone();
    for who in [Who::Peer(PeerId(2)), agent(), tool(AccessRole::Admin)] {
        let issued = namesake.issue(who.clone(), &[], now).unwrap();
        let trusted = [namesake.certificate().clone(), ours.clone()];
        let stranger = Credentials::new(GROUP, issued, &trusted, now).unwrap();
        let stranger = Calls::over(Wire::Tls(Tls::new(stranger)));
        let refused = ask(&stranger, None).await.unwrap_err();
        assert!(
            matches!(
                refused,
                CallError::Stranger { .. } | CallError::Broken { .. }
            ),
            "{refused}"
        );
        // Whoever is of another installation does not speak to our peers at all.
        let refused = ask(&calls_of(&theirs, who), None).await.unwrap_err();
        assert!(matches!(refused, CallError::Stranger { .. }), "{refused}");
    }
    let nobody = anonymous(&group.authority);
    let foreign = BearerToken::mint("x", AccessRole::Admin, Scope::Everything, now, WITHIN);
    let foreign = foreign.unwrap().0.reveal();
    for token in [
        &*foreign,
        "",
        "primacy-token-1.",
        &foreign[..foreign.len() - 1],
    ] {
        let told = ask(&nobody, Some(token)).await.unwrap();
        assert_eq!(told, (401, "unauthenticated".to_owned()), "{token}");
    }
    // A plain word is not answered.
    let plain = ask(&Calls::over(Wire::Plain), None).await;
    assert!(plain.is_err(), "{plain:?}");
    // Neither do our peers call anybody but ours.
    let one = tls_of(&theirs, Who::Peer(PeerId(1)));
    assert!(ask(&Calls::over(Wire::Tls(one)), None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_valid_at_every_peer_until_it_is_revoked() {
    let group = Group::start().await;
    let nobody = anonymous(&group.authority);
    let secret = token(&group, "ci", "operator", &Value::Null).await;
    for address in group.addresses.values() {
        let leader = (&Method::GET, "/api/v1/leader");
        let told = asks(&nobody, address, leader, (Some(&secret), "")).await;
        assert_eq!(told.unwrap().0, 200);
    }
    let (_, listed) = group.get(2, "/api/v1/tokens").await;
    assert_eq!(listed[0]["role"], "operator");
    let shown = listed.to_string();
    assert!(
        !shown.contains("secret") && !shown.contains("hash"),
        "{shown}"
    );
    let body = json!({"name": "ci", "role": "viewer", "secret_sha256": "00".repeat(32), "expires_in_seconds": 9});
    let (status, problem) = group.post(3, "/api/v1/tokens", &body).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("exists")));
    let revoked = group.call(2, Method::DELETE, "/api/v1/tokens/ci", "").await;
    assert_eq!(revoked.status(), 200);
    // Whoever asks for a majority's word is refused at once, wherever.
    for address in group.addresses.values() {
        let leader = (&Method::GET, "/api/v1/leader");
        let told = asks(&nobody, address, leader, (Some(&secret), "")).await;
        assert_eq!(told.unwrap(), (401, "unauthenticated".to_owned()));
    }
    let again = group.call(2, Method::DELETE, "/api/v1/tokens/ci", "").await;
    assert_eq!(again.status(), 404);
}

/// Long enough for a busy machine to begin with it, short enough to be waited for.
const SHORT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_before_they_end_and_read_anew_when_they_change() {
    let mut group = Group::prepare();
    let files = |group: &Group, id: u64| {
        Files::built_in(&group.folder.path().join(id.to_string()).join("tls"))
    };
    let began = Instant::now();
    for id in 1..=3 {
        let folder = group.folder.path().join(id.to_string()).join("tls");
        group.equip(id, &folder);
        let short = CertificateAuthority::open(&folder).unwrap().lasting(SHORT);
        let issued = short.issue(Who::Peer(PeerId(id)), &[], clock::wall_millis());
        let trusted = [short.certificate().clone()];
        files(&group, id).keep(&issued.unwrap(), &trusted).unwrap();
        group.run(id);
    }
    group.leader().await;
    let (status, _) = group.post(1, "/api/v1/clusters", &demo("before")).await;
    assert_eq!(status, 201);
    tokio::time::sleep_until(began + SHORT + Duration::from_secs(2)).await;
    // A fresh caller shakes hands with every peer, and every peer with the leader.
    let calls = calls_of(&group.authority, tool(AccessRole::Admin));
    for (id, address) in &group.addresses {
        let leader = (&Method::GET, "/api/v1/leader");
        let told = asks(&calls, address, leader, (None, "")).await;
        assert_eq!(told.unwrap().0, 200, "peer {id}");
    }
    let leader = group.leader().await;
    let (status, moved) = group
        .post(leader, "/api/v1/leader/transfer", &json!({}))
        .await;
    assert_eq!(status, 200, "{moved}");

    // A certificate of somebody else in its place is not used.
    let other = &group
        .authority
        .issue(Who::Peer(PeerId(9)), &[], clock::wall_millis());
    let trusted = [group.authority.certificate().clone()];
    files(&group, 1)
        .keep(other.as_ref().unwrap(), &trusted)
        .unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let caller = tls_of(&group.authority, tool(AccessRole::Admin));
    let stream = tokio::net::TcpStream::connect(&group.addresses[&1])
        .await
        .unwrap();
    let itself = Expected::Exactly(Who::Peer(PeerId(1)));
    caller.connect(stream, itself).await.unwrap();
}
