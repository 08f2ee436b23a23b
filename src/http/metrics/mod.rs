//! `/metrics`: what this peer knows, for Prometheus, as OpenMetrics text. Only what the peer can tell truthfully: what it
//! does not know has no line.
//!
//! Labels come from the router, the configuration and the record, never from what a request says, so their number is
//! bounded: no client can make this page grow.

mod clusters;
mod group;
mod requests;

use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::server::Peer;
use crate::server::limits::Seats;

pub(super) use requests::{Meters, count};

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// What is told this time.
struct Page(Registry);

impl Page {
    fn new(takes_part: bool) -> Page {
        let mut page = Page(Registry::with_prefix("primacy"));
        let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
        page.gauges(
            "build_info",
            "The version of this peer",
            [(vec![version], 1)],
        );
        page.gauge(
            "peer_takes_part",
            "1 once this peer takes part in its group, 0 while it starts",
            u64::from(takes_part),
        );
        page
    }

    /// One value.
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.gauges(name, help, [(vec![], value)]);
    }

    /// A value for each of the labels.
    fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let set = |gauge: &Gauge<u64, AtomicU64>, value| {
            gauge.set(value);
        };
        self.metrics(name, help, values, set);
    }

    /// A time for each of the labels, given in milliseconds.
    fn seconds(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let set = |gauge: &Gauge<f64, AtomicU64>, millis: u64| {
            gauge.set(millis as f64 / 1000.0);
        };
        self.metrics(name, help, values, set);
    }

    /// A count for each of the labels; the name is without `_total`.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let set = |counter: &Counter, value| {
            counter.inc_by(value);
        };
        self.metrics(name, help, values, set);
    }

    fn metrics<M>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
        set: fn(&M, u64),
    ) where
        M: EncodeMetric + TypedMetric + Default + Debug + Send + Sync + 'static,
    {
        let family = Family::<Labels, M>::default();
        for (labels, value) in values {
            if labels.is_empty() {
                let metric = M::default();
                set(&metric, value);
                return self.0.register(name, help, metric);
            }
            set(&family.get_or_create(&labels), value);
        }
        self.0.register(name, help, family);
    }

    fn into_response(self) -> Response {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.0) {
            // A string takes everything.
            let _ = write!(text, "# {error}");
        }
        ([(CONTENT_TYPE, KIND)], text).into_response()
    }
}

/// `/metrics` of a peer that takes part.
pub(super) async fn metrics(
    State(peer): State<Arc<Peer>>,
    Extension(meters): Extension<Arc<Meters>>,
    seats: Option<Extension<Seats>>,
) -> Response {
    let mut page = Page::new(true);
    group::tell(&mut page, &peer);
    clusters::tell(&mut page, &peer);
    let seats = seats.map(|Extension(seats)| seats.counts());
    meters.tell(&mut page, seats);
    page.into_response()
}

/// `/metrics` of a peer that does not take part yet.
pub(super) async fn starting() -> Response {
    Page::new(false).into_response()
}
