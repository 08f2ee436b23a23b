//! `/metrics`: what this peer knows, for Prometheus, as OpenMetrics text. Only what the peer can tell truthfully: what it
//! does not know has no line.
//!
//! Labels come from the router, the configuration and the record, never from what a request says, so their number is
//! bounded: no client can make this page grow. Anybody may ask for it, so it is made in small parts, and shown again for a
//! second.

mod clusters;
mod group;
mod requests;

use std::fmt::Debug;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::server::Peer;
use crate::server::limits::Seats;

use super::pace::Pace;

pub(super) use requests::{Meters, count};

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PREFIX: &str = "primacy";
/// How long a page is shown again: nobody looks more often.
const SHOWN_FOR: Duration = Duration::from_secs(1);

type Labels = Vec<(&'static str, String)>;

/// What is told this time.
struct Page {
    /// In the order in which they were first told.
    families: Vec<Told>,
    /// What is counted all the time.
    counted: Registry,
}

/// All values of one name.
struct Told {
    name: String,
    help: String,
    kind: Kind,
    values: Vec<(Labels, u64)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    /// A time, given in milliseconds.
    Seconds,
    Counter,
}

impl Page {
    fn new(takes_part: bool) -> Page {
        let mut page = Page {
            families: vec![],
            counted: Registry::with_prefix(PREFIX),
        };
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

    /// A value for each of the labels, beside those that were told under this name before.
    fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        self.tell(Kind::Gauge, name, help, values);
    }

    /// A time for each of the labels, given in milliseconds.
    fn seconds(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        self.tell(Kind::Seconds, name, help, values);
    }

    /// A count for each of the labels; the name is without `_total`.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.tell(Kind::Counter, name, help, values);
    }

    fn tell(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let known = self.families.iter().position(|told| told.name == name);
        let at = known.unwrap_or(self.families.len());
        if known.is_none() {
            self.families.push(Told {
                name: name.to_owned(),
                help: help.to_owned(),
                kind,
                values: vec![],
            });
        }
        self.families[at].values.extend(values);
    }

    /// In small parts.
    async fn into_text(self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.counted);
        let mut pace = Pace::begin();
        for told in self.families {
            match told.kind {
                Kind::Gauge => told.write(set_gauge, &mut text, &mut pace).await,
                Kind::Seconds => told.write(set_seconds, &mut text, &mut pace).await,
                Kind::Counter => told.write(add, &mut text, &mut pace).await,
            }
            pace.part().await;
        }
        encode_eof(&mut text).expect("a string takes everything");
        text
    }
}

fn set_gauge(gauge: &Gauge<u64, AtomicU64>, value: u64) {
    gauge.set(value);
}

fn set_seconds(gauge: &Gauge<f64, AtomicU64>, millis: u64) {
    gauge.set(millis as f64 / 1000.0);
}

fn add(counter: &Counter, value: u64) {
    counter.inc_by(value);
}

impl Told {
    async fn write<M>(self, set: fn(&M, u64), text: &mut String, pace: &mut Pace)
    where
        M: EncodeMetric + TypedMetric + Default + Debug + Send + Sync + 'static,
    {
        let family = Family::<Labels, M>::default();
        let mut alone = None;
        for (labels, value) in self.values {
            if labels.is_empty() {
                let metric = M::default();
                set(&metric, value);
                alone = Some(metric);
            } else {
                set(&family.get_or_create(&labels), value);
            }
            pace.part().await;
        }
        let mut registry = Registry::with_prefix(PREFIX);
        match alone {
            Some(metric) => registry.register(self.name, self.help, metric),
            None => registry.register(self.name, self.help, family),
        }
        encode(text, &registry);
    }
}

fn encode(text: &mut String, registry: &Registry) {
    encode_registry(text, registry).expect("a string takes everything");
}

/// The page that was shown last.
#[derive(Default)]
struct Shown(Mutex<Option<(Instant, Bytes)>>);

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, Bytes)>> {
        self.0.lock().expect("nothing that holds it panics")
    }

    /// The page, if it is not too old.
    fn at(&self, now: Instant) -> Option<Bytes> {
        let shown = self.lock();
        let (begun, page) = shown.as_ref()?;
        let age = now.saturating_duration_since(*begun);
        (age < SHOWN_FOR).then(|| page.clone())
    }

    /// Unless a newer one is there, for several may be made at once.
    fn keep(&self, begun: Instant, page: &Bytes) {
        let mut shown = self.lock();
        if shown.as_ref().is_none_or(|(other, _)| *other < begun) {
            *shown = Some((begun, page.clone()));
        }
    }
}

/// `/metrics` of a peer that takes part.
pub(super) async fn metrics(
    State(peer): State<Arc<Peer>>,
    Extension(meters): Extension<Arc<Meters>>,
    seats: Option<Extension<Seats>>,
) -> Response {
    if let Some(page) = meters.shown.at(Instant::now()) {
        return as_metrics(page);
    }
    let _turn = meters.making.lock().await;
    let begun = Instant::now();
    // Somebody else may have made it meanwhile.
    if let Some(page) = meters.shown.at(begun) {
        return as_metrics(page);
    }
    let mut page = Page::new(true);
    group::tell(&mut page, &peer);
    clusters::tell(&mut page, &peer).await;
    let seats = seats.map(|Extension(seats)| seats.counts());
    meters.tell(&mut page, seats);
    let page = Bytes::from(page.into_text().await);
    meters.shown.keep(begun, &page);
    as_metrics(page)
}

/// `/metrics` of a peer that does not take part yet.
pub(super) async fn starting() -> Response {
    as_metrics(Bytes::from(Page::new(false).into_text().await))
}

fn as_metrics(page: Bytes) -> Response {
    ([(CONTENT_TYPE, KIND)], page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_shown_again_for_a_second() {
        let shown = Shown::default();
        let begun = Instant::now();
        assert_eq!(shown.at(begun), None);
        let (first, second) = (Bytes::from("first"), Bytes::from("second"));
        shown.keep(begun, &first);
        let nearly = begun + SHOWN_FOR - Duration::from_millis(1);
        assert_eq!(shown.at(nearly), Some(first.clone()));
        assert_eq!(shown.at(begun + SHOWN_FOR), None);
        // One that was begun earlier and took longer does not take its place.
        shown.keep(nearly, &second);
        shown.keep(begun, &first);
        assert_eq!(shown.at(nearly), Some(second));
    }

    #[tokio::test]
    async fn what_is_told_bit_by_bit_is_one_family() {
        let mut page = Page::new(true);
        for cluster in ["one", "two"] {
            let labels = vec![("cluster", cluster.to_owned())];
            page.gauges("cluster_epoch", "Grows", [(labels.clone(), 7)]);
            page.seconds("lasted_seconds", "Long", [(labels.clone(), 1_500)]);
            page.counters("seen", "Often", [(labels, 3)]);
        }
        let text = page.into_text().await;
        for (line, times) in [
            ("# TYPE primacy_cluster_epoch gauge", 1),
            ("primacy_cluster_epoch{cluster=\"one\"} 7", 1),
            ("primacy_cluster_epoch{cluster=\"two\"} 7", 1),
            ("primacy_lasted_seconds{cluster=\"two\"} 1.5", 1),
            ("primacy_seen_total{cluster=\"one\"} 3", 1),
            ("primacy_peer_takes_part 1", 1),
            ("# EOF", 1),
        ] {
            let found = text.lines().filter(|it| *it == line).count();
            assert_eq!(found, times, "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
