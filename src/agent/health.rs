//! Health endpoints for load balancers, with Patroni's paths and status codes.
//!
//! A listener of its own without any layer: GET, HEAD and OPTIONS get the same status (HAProxy asks with
//! OPTIONS, and a CORS layer would answer that 200 on a standby). Whatever is not 200 is 503, unknown
//! paths too, whose body says so: a 404 can mean "drain". Answers come from the agent's own lease and its own last look.

use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::clock;
use crate::model::view::DEAF_AFTER;
use crate::model::{ClusterName, Database, InstanceId, Receiver, Report, Timestamp};

/// How long before its end a lease stops to count for traffic.
pub const MARGIN: Duration = Duration::from_millis(500);
/// A look older than this is no base for sending traffic.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(3);
/// An agent whose loop did not turn for this long is not alive.
const HUNG_AFTER: Duration = Duration::from_secs(20);

/// What health answers are made of.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// When the worker last turned.
    pub turned_at: Timestamp,
    /// When the instance was last looked at.
    pub looked_at: Timestamp,
    /// The end of the primary lease if it is of the highest epoch promised; zero without.
    pub lease_until: Timestamp,
    /// The last report; none before the first look.
    pub report: Option<Report>,
    /// How many bytes of received WAL a standby has not replayed; none on a primary or if not known.
    pub lag: Option<u64>,
    /// Whose agents back this primary, because its peers are out of reach.
    pub backed_by: Vec<InstanceId>,
}

/// Names for the body.
#[derive(Debug, Clone)]
pub struct Names {
    /// The cluster.
    pub cluster: ClusterName,
    /// The instance.
    pub instance: InstanceId,
}

impl Health {
    fn is_primary(&self, now: Timestamp) -> bool {
        let is_open = matches!(self.database(), Some(Database::Primary { .. }));
        is_open && self.is_fresh(now) && now.after(MARGIN) < self.lease_until
    }

    fn is_replica(&self, now: Timestamp, longest_lag: Option<u64>) -> bool {
        let streams = matches!(
            self.database(),
            Some(Database::Standby { receiver: Receiver::Streaming { silent_for, .. }, .. })
                if *silent_for < DEAF_AFTER
        );
        let near = longest_lag.is_none_or(|longest| self.lag.is_some_and(|lag| lag <= longest));
        streams && near && self.is_fresh(now)
    }

    fn runs(&self, now: Timestamp) -> bool {
        let answers = matches!(
            self.database(),
            Some(Database::Primary { .. } | Database::Standby { .. })
        );
        answers && self.is_fresh(now)
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.looked_at) < STALE_AFTER
    }

    fn database(&self) -> Option<&Database> {
        self.report.as_ref().map(|report| &report.database)
    }
}

/// What is asked, each with the paths that ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Primary,
    Replica,
    Readable,
    Runs,
    Lives,
    Anything,
}

/// Every endpoint. In a path `_` stands for `-`, and a `/` at its end for nothing.
const ENDPOINTS: &[(&str, Question)] = &[
    ("/", Question::Primary),
    ("/primary", Question::Primary),
    ("/read-write", Question::Primary),
    ("/master", Question::Primary),
    ("/leader", Question::Primary),
    ("/replica", Question::Replica),
    ("/read-only", Question::Readable),
    ("/readiness", Question::Readable),
    ("/health", Question::Runs),
    ("/liveness", Question::Lives),
    ("/patroni", Question::Anything),
];

/// What a path asks; none if there is no such endpoint.
fn question(path: &str) -> Option<Question> {
    let plain = path.trim_end_matches('/').replace('_', "-");
    let known = |(endpoint, _): &&(&str, Question)| endpoint.trim_end_matches('/') == plain;
    ENDPOINTS.iter().find(known).map(|(_, question)| *question)
}

/// Whether a question is answered with 200. `lag` is the longest that is accepted, in bytes; an unreadable
/// limit is never kept.
fn is_well(health: &Health, question: Question, lag: Option<Option<u64>>, now: Timestamp) -> bool {
    let (limit, readable) = match lag {
        None => (None, true),
        Some(Some(bytes)) => (Some(bytes), true),
        Some(None) => (None, false),
    };
    let primary = health.is_primary(now);
    let replica = readable && health.is_replica(now, limit);
    match question {
        Question::Primary => primary,
        Question::Replica => replica,
        Question::Readable => primary || replica,
        Question::Runs => health.runs(now),
        Question::Lives => now.since(health.turned_at) < HUNG_AFTER,
        Question::Anything => true,
    }
}

#[derive(Debug, Default, Deserialize)]
struct Limits {
    lag: Option<String>,
}

#[derive(Clone)]
struct Shared {
    health: watch::Receiver<Health>,
    names: Names,
}

/// The endpoints.
pub fn routes(health: watch::Receiver<Health>, names: Names) -> Router {
    Router::new()
        .fallback(answer)
        .with_state(Shared { health, names })
}

async fn answer(State(shared): State<Shared>, method: Method, uri: Uri) -> Response {
    let health = shared.health.borrow().clone();
    let now = clock::boottime();
    let limits = Query::<Limits>::try_from_uri(&uri).unwrap_or_default();
    let lag = limits.0.lag;
    let asked = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&method);
    let question = question(uri.path());
    let lag = lag.as_deref().map(bytes);
    let well = asked && question.is_some_and(|question| is_well(&health, question, lag, now));
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if method != Method::GET {
        return status.into_response();
    }
    let body = match question {
        Some(_) => body(&health, &shared.names, now),
        None => no_endpoint(uri.path()),
    };
    (status, Json(body)).into_response()
}

/// Says nothing of the instance: whoever reads it asked for something else.
fn no_endpoint(path: &str) -> Value {
    let endpoints: Vec<_> = ENDPOINTS.iter().map(|(endpoint, _)| *endpoint).collect();
    json!({
        "error": format!("there is no endpoint {path} here"),
        "endpoints": endpoints,
    })
}

/// `16MB` in bytes; B, kB, MB and GB count in 1024s as in PostgreSQL.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn body(health: &Health, names: &Names, now: Timestamp) -> Value {
    let (state, role, xlog, timeline) = match health.database() {
        Some(Database::Primary { position, .. }) => (
            "running",
            "primary",
            json!({ "location": position.lsn.0 }),
            Some(position.timeline.0),
        ),
        Some(Database::Standby {
            flushed, replayed, ..
        }) => (
            "running",
            "replica",
            json!({ "received_location": flushed.lsn.0, "replayed_location": replayed.0 }),
            Some(flushed.timeline.0),
        ),
        Some(Database::Starting) => ("starting", "uninitialized", Value::Null, None),
        Some(Database::Unresponsive { .. }) => ("crashed", "uninitialized", Value::Null, None),
        Some(Database::Stopped(_)) => ("stopped", "uninitialized", Value::Null, None),
        Some(Database::Absent) | None => ("uninitialized", "uninitialized", Value::Null, None),
    };
    let promised = health.report.as_ref().and_then(|it| it.promised);
    let lease = health.lease_until.since(now).as_millis() as u64;
    let identity = health.report.as_ref().and_then(|it| it.identity);
    json!({
        "state": state,
        "role": role,
        "xlog": xlog,
        "timeline": timeline,
        "database_system_identifier": identity.map(|it| it.to_string()),
        "patroni": { "version": "4.1.0", "scope": names.cluster, "name": names.instance },
        "primacy": {
            "epoch": promised.map(|order| order.epoch.0),
            "lease_remaining_ms": lease,
            "lag_bytes": health.lag,
            "backed_by": health.backed_by,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Lsn, Timeline, WalPosition};

    fn seen(database: Database, lease_until: u64, lag: Option<u64>) -> Health {
        Health {
            turned_at: Timestamp(10_000),
            looked_at: Timestamp(10_000),
            lease_until: Timestamp(lease_until),
            report: Some(Report {
                promised: None,
                incarnation: None,
                identity: None,
                database,
                lease: None,
                disk: None,
                weak_commits: vec![],
                insecure: false,
                read_only_default: false,
                commits_waiting: 0,
                lag: None,
            }),
            lag,
            backed_by: vec![],
        }
    }

    fn position() -> WalPosition {
        WalPosition {
            timeline: Timeline(2),
            lsn: Lsn(1),
        }
    }

    #[test]
    fn who_is_sent_what() {
        let primary = |lease| {
            let database = Database::Primary {
                position: position(),
                synchronous_standby_names: String::new(),
                first_commit: None,
            };
            seen(database, lease, None)
        };
        let standby = |silent| {
            let database = Database::Standby {
                flushed: position(),
                replayed: Lsn(1),
                receiver: Receiver::Streaming {
                    application_name: "x".to_owned(),
                    silent_for: Duration::from_millis(silent),
                },
            };
            seen(database, 0, Some(2 << 20))
        };
        let now = Timestamp(10_100);
        let check = |health: &Health, query: &str| {
            let (path, lag) = match query.split_once("?lag=") {
                Some((path, lag)) => (path, Some(bytes(lag))),
                None => (query, None),
            };
            question(path).is_some_and(|question| is_well(health, question, lag, now))
        };
        for path in [
            "/",
            "/primary",
            "/read-write",
            "/read_write",
            "/master",
            "/leader",
        ] {
            assert!(check(&primary(10_601), path), "{path}");
            assert!(!check(&primary(10_600), path), "{path} within the margin");
            assert!(!check(&standby(0), path), "{path} on a standby");
        }
        for (path, well) in [
            ("/replica", true),
            ("/replica?lag=16MB", true),
            ("/replica?lag=1MB", false),
            ("/replica?lag=nonsense", false),
            ("/read-only", true),
            ("/readiness", true),
            ("/health", true),
            ("/liveness", true),
            ("/patroni", true),
        ] {
            assert_eq!(check(&standby(0), path), well, "{path}");
        }
        assert!(!check(&standby(1_000), "/replica"), "deaf");
        assert!(!check(&primary(20_000), "/replica"));
        assert!(check(&primary(20_000), "/read-only"));
        let mut old = primary(90_000);
        old.looked_at = Timestamp(1);
        assert!(!check(&old, "/primary") && !check(&old, "/health"));
    }
    #[tokio::test]
    async fn an_unknown_path_is_503_and_named() {
        let shared = Shared {
            health: watch::channel(Health::default()).1,
            names: Names {
                cluster: ClusterName::new("main").unwrap(),
                instance: InstanceId::new("a").unwrap(),
            },
        };
        let get = async |path: &str| {
            let uri = path.parse().unwrap();
            let response = answer(State(shared.clone()), Method::GET, uri).await;
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 4096);
            let body: Value = serde_json::from_slice(&body.await.unwrap()).unwrap();
            (status, body)
        };
        for path in ["/metrics", "/foo", "/primaryx", "/primary/x", "/patroni/x"] {
            let (status, body) = get(path).await;
            assert_eq!(status, 503, "{path}");
            assert_eq!(body["error"], format!("there is no endpoint {path} here"));
            assert_eq!(body["endpoints"][1], "/primary");
            assert!(body["state"].is_null(), "it speaks of the instance: {body}");
        }
        for (endpoint, _) in ENDPOINTS {
            let (_, body) = get(endpoint).await;
            assert_eq!(body["patroni"]["name"], "a", "{endpoint}");
        }
    }
}
