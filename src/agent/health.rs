//! Health endpoints for load balancers, with Patroni's paths and status codes.
//!
//! A listener of its own without any layer: GET, HEAD and OPTIONS get the same status (HAProxy asks with
//! OPTIONS, and a CORS layer would answer that 200 on a standby). Whatever is not 200 is 503, unknown
//! paths too: a 404 can mean "drain". Answers come from the agent's own lease and its own last look.

use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
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

/// Whether `path` is answered with 200. `lag` is the longest that is accepted, in bytes; an unreadable
/// limit is never kept.
fn is_well(health: &Health, path: &str, lag: Option<Option<u64>>, now: Timestamp) -> bool {
    let (limit, readable) = match lag {
        None => (None, true),
        Some(Some(bytes)) => (Some(bytes), true),
        Some(None) => (None, false),
    };
    let primary = health.is_primary(now);
    let replica = readable && health.is_replica(now, limit);
    match path.trim_end_matches('/').replace('_', "-").as_str() {
        "" | "/primary" | "/read-write" | "/master" | "/leader" => primary,
        "/replica" => replica,
        "/read-only" | "/readiness" => primary || replica,
        "/health" => health.runs(now),
        "/liveness" => now.since(health.turned_at) < HUNG_AFTER,
        "/patroni" => true,
        _ => false,
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

/// Answers on this listener until dropped.
pub async fn serve(listener: TcpListener, health: watch::Receiver<Health>, names: Names) {
    let router = Router::new()
        .fallback(answer)
        .with_state(Shared { health, names });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the health listener ended");
    }
}

async fn answer(State(shared): State<Shared>, method: Method, uri: Uri) -> Response {
    let health = shared.health.borrow().clone();
    let now = clock::boottime();
    let limits = Query::<Limits>::try_from_uri(&uri).unwrap_or_default();
    let lag = limits.0.lag;
    let asked = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&method);
    let well = asked && is_well(&health, uri.path(), lag.as_deref().map(bytes), now);
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if method == Method::GET {
        (status, Json(body(&health, &shared.names, now))).into_response()
    } else {
        status.into_response()
    }
}

/// `16MB` in bytes; B, kB, MB and GB count in 1024s as in PostgreSQL.
fn bytes(text: &str) -> Option<u64> {
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
        Some(Database::Unresponsive) => ("crashed", "uninitialized", Value::Null, None),
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
                insecure: false,
            }),
            lag,
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
            is_well(health, path, lag, now)
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
            ("/primaryx", false),
            ("/nothing", false),
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
}
