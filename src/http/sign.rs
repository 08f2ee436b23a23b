//! Who gave an answer, and how new it is at least. What a peer knows is read before the answer is made: what is applied
//! meanwhile may or may not be in the body, so the headers must not claim it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use crate::model::PeerId;
use crate::server::Peer;

use super::{ANSWERED_BY, RAFT_INDEX, RAFT_TERM, STALENESS};

/// Says on every answer who gave it; the leader's word stays on a forwarded one.
pub(super) async fn sign(State(peer): State<Arc<Peer>>, request: Request, next: Next) -> Response {
    // The calls of the group know it, and each is part of some read or commit that somebody waits for.
    if request.uri().path().starts_with(raft::PATH_PREFIX) {
        return next.run(request).await;
    }
    let known = Known::of(&peer);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if !headers.contains_key(ANSWERED_BY) {
        known.note(peer.config.id, Instant::now(), headers);
    }
    response
}

/// What a peer knew before it began with an answer.
struct Known {
    at: Instant,
    term: u64,
    applied_index: Option<u64>,
    /// How long ago it had heard its leader.
    heard: Option<Duration>,
}

impl Known {
    fn of(peer: &Peer) -> Known {
        // First of all, so that nothing is taken for younger than it is.
        let at = Instant::now();
        let view = *peer.consensus.watch().borrow();
        Known {
            at,
            term: view.term,
            applied_index: view.applied_index,
            heard: peer.consensus.heard_leader(),
        }
    }

    /// Writes it on an answer that is whole `now`. An age that is there already is of a leader that was confirmed.
    fn note(&self, by: PeerId, now: Instant, headers: &mut HeaderMap) {
        headers.insert(ANSWERED_BY, HeaderValue::from(by.0));
        headers.insert(RAFT_TERM, HeaderValue::from(self.term));
        if let Some(index) = self.applied_index {
            headers.insert(RAFT_INDEX, HeaderValue::from(index));
        }
        if !headers.contains_key(STALENESS)
            && let Some(heard) = self.heard
        {
            let age = heard + now.saturating_duration_since(self.at);
            headers.insert(STALENESS, HeaderValue::from(age.as_millis() as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[track_caller]
    fn check(heard: Option<u64>, is_confirmed: bool, expected: Option<&str>) {
        let at = Instant::now();
        let known = Known {
            at,
            term: 3,
            applied_index: Some(7),
            heard: heard.map(Duration::from_millis),
        };
        let mut headers = HeaderMap::new();
        if is_confirmed {
            headers.insert(STALENESS, HeaderValue::from(0));
        }
        known.note(PeerId(2), at + Duration::from_millis(70), &mut headers);
        let said = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(said(STALENESS), expected);
        assert_eq!(said(ANSWERED_BY), Some("2"));
        assert_eq!(said(RAFT_TERM), Some("3"));
        assert_eq!(said(RAFT_INDEX), Some("7"));
    }

    #[test]
    fn an_answer_is_as_old_as_what_was_known_before_it_and_the_time_it_took() {
        check(Some(30), false, Some("100"));
        check(None, false, None);
        check(Some(30), true, Some("0"));
    }
}
