//! The requests that this peer answered, and those that it is answering.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use crate::http::limits::{Budget, Budgets};
use crate::server::limits::Counts;

use super::{Labels, Page, Shown};

/// In seconds: from a read of what is in memory to a proposal that fails.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 10.0];

type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// Counts requests since the start.
pub(in crate::http) struct Meters {
    requests: Family<Labels, Counter>,
    durations: Durations,
    budgets: Arc<Budgets>,
    pub(super) shown: Shown,
    /// Held by whoever makes the next page.
    pub(super) making: tokio::sync::Mutex<()>,
}

impl Meters {
    pub(in crate::http) fn new(budgets: Arc<Budgets>) -> Meters {
        Meters {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            budgets,
            shown: Shown::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn tell(&self, page: &mut Page, connections: Option<Counts>) {
        page.counted.register(
            "http_requests",
            "Requests that were answered, by route and kind of status",
            self.requests.clone(),
        );
        page.counted.register(
            "http_request_duration_seconds",
            "From the whole head of a request to the whole answer, by kind of request",
            self.durations.clone(),
        );
        let mut each = |name: &str, help: &str, value: fn(&Budget) -> usize| {
            let values = self.budgets.all().map(|it| (of(it), value(it) as u64));
            page.gauges(name, help, values);
        };
        each(
            "http_places",
            "How many requests of a kind are answered at once",
            |it| it.places,
        );
        each(
            "http_requests_in_progress",
            "Requests of a kind that are being answered",
            Budget::taken,
        );
        page.counters(
            "http_requests_refused",
            "Requests that were refused because their kind had no place left",
            self.budgets.all().map(|it| (of(it), it.refused())),
        );
        let Some(counts) = connections else { return };
        let of = |whose: &str| vec![("of", whose.to_owned())];
        page.gauges(
            "http_connections",
            "Connections, by whether they are clients' or the group's",
            [
                (of("clients"), counts.clients as u64),
                (of("group"), counts.group as u64),
            ],
        );
        page.counters(
            "http_connections_displaced",
            "Connections that made room for others",
            [(vec![], counts.displaced)],
        );
    }

    fn note(&self, route: &str, status: StatusCode, seconds: f64) {
        let request = vec![
            ("route", route.to_owned()),
            ("status", class(status).to_owned()),
        ];
        self.requests.get_or_create(&request).inc();
        let kind = vec![("kind", kind(route).to_owned())];
        self.durations.get_or_create(&kind).observe(seconds);
    }
}

fn of(budget: &Budget) -> Labels {
    vec![("kind", budget.class.to_owned())]
}

/// A status itself may be of the caller's choice.
fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500.. => "5xx",
    }
}

fn kind(route: &str) -> &'static str {
    let of_group = ["/internal/", "/agent/"];
    match route {
        "none" => "none",
        _ if route.starts_with(raft::PATH_PREFIX) => "raft",
        _ if of_group.iter().any(|it| route.starts_with(it)) => "group",
        _ if route.starts_with("/api/v1/") => "api",
        _ => "health",
    }
}

/// Counts one request, by its route in the router.
pub(in crate::http) async fn count(
    State(meters): State<Arc<Meters>>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let seconds = begun.elapsed().as_secs_f64();
    meters.note(route, response.status(), seconds);
    response
}
