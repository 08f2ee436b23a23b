//! A change reaches the leader, wherever it was asked for, and takes effect once.
//!
//! Whoever asks may name its change with the header `Idempotency-Key`; one that has no name is given one here. Under its
//! name it can be sent again, so a leader that steps down or dies in the middle costs time and nothing else: the next
//! one is asked.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::Full;
use raft::Key;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::security::newcomer::ENROL_PATH;
use crate::server::Peer;
use crate::server::calls::CallError;
use crate::server::hex::{digest_of, hex};
use crate::server::propose::{Origin, draw};

use super::enrol;
use super::forward::{FORWARDED, Proof, here, send};
use super::limits::Budgets;
use super::problem::Problem;
use super::refusal::outcome_unknown;
use super::{BODY_LIMIT, TRANSFER};

/// Names a change; whoever sends it again under the same name gets the answer of the first time.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What the peer that was asked first had applied of the log then.
pub(super) const SINCE: HeaderName = HeaderName::from_static("primacy-since");
/// The longest name.
const KEY_LIMIT: usize = 255;
/// How long the body of a change may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Before the same peer is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How much longer than any proposal the last attempt may take.
const LAST_WITHIN: Duration = Duration::from_secs(2);
/// If nobody was known to lead when the change came, one who is being elected does within so many of the longest silences.
const ELECTIONS: u32 = 4;

/// Has the change made by whoever leads. Takes at most [`BODY_WITHIN`], the time of a proposal and [`LAST_WITHIN`]; a
/// stranger is answered within the last.
pub(super) async fn make(
    peer: &Arc<Peer>,
    budgets: &Budgets,
    request: Request,
    next: Next,
) -> Response {
    let was_forwarded = request.headers().contains_key(FORWARDED);
    let (mut head, body) = request.into_parts();
    let body = match timeout(BODY_WITHIN, to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Problem::too_large().into_response(),
        Err(_) => return Problem::too_slow().into_response(),
    };
    // Anybody may say that they were invited. Whoever shows a secret that is not known here costs no majority's word, is not
    // asked for again, and takes no admin's place; the leader may know the secret already, and then it is a change.
    let is_stranger = head.uri.path() == ENROL_PATH && enrol::is_of_a_stranger(peer, body.clone());
    let (budget, proof) = match is_stranger {
        true => (&budgets.strangers, Proof::Lease),
        false => (&budgets.changes, Proof::Majority),
    };
    let _place = match budget.take() {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let is_transfer = head.uri.path() == TRANSFER;
    if let Err(problem) = name(peer.applied_index(), &mut head.headers) {
        return problem.into_response();
    }
    let origin = match origin(&head.method, &head.uri, &head.headers, &body) {
        Ok(origin) => origin,
        Err(problem) => return problem.into_response(),
    };
    let since = HeaderValue::from(origin.since);
    let says_since = |mut response: Response| {
        response.headers_mut().insert(SINCE, since.clone());
        response
    };
    let again = || {
        let mut request = hyper::Request::new(body.clone());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        request
    };
    let timing = peer.consensus.timing();
    // Whoever led a moment ago may be starved or about to be replaced: that takes as long as any proposal may.
    let patience = match peer.leader() {
        _ if is_stranger => Duration::ZERO,
        Some(_) => timing.proposal,
        None => ELECTIONS * timing.election_max,
    };
    let until = Instant::now() + patience;
    let attempt = match is_stranger {
        true => Duration::ZERO,
        false => timing.proposal,
    };
    let latest = Instant::now() + attempt + LAST_WITHIN;
    let mut watch = peer.consensus.watch();
    let mut last = Problem::no_leader();
    loop {
        watch.mark_unchanged();
        let said = match peer.leader() {
            Some((leader, _)) if leader == peer.config.id => {
                let mut request = again().map(Body::from);
                // What the layers outside of this one have put there: the parts of the path.
                *request.extensions_mut() = head.extensions.clone();
                request.extensions_mut().insert(origin);
                let made = here(peer, proof, request, next.clone());
                match timeout_at(latest, made).await {
                    Ok(response) => judged(response).await,
                    Err(_) => Err(outcome_unknown("it takes too long")),
                }
            }
            Some((leader, address)) if !was_forwarded => {
                let is_another = |view: &raft::View| view.leader.is_some_and(|now| now != leader.0);
                let mut watch = peer.consensus.watch();
                let replaced = async { watch.wait_for(is_another).await.is_ok() };
                let left = latest.saturating_duration_since(Instant::now());
                tokio::select! {
                    answer = send(peer, &address, again().map(Full::new), left) => match answer {
                        Ok(response) => judged(response).await,
                        Err(error) => Err(unanswered(&error)),
                    },
                    // Whether it was made there, the next leader knows.
                    // A transfer is answered by whoever it was asked of: it is what changes the leader.
                    true = replaced, if !is_transfer => Err(outcome_unknown("the leader changed")),
                }
            }
            _ => Err(Problem::no_leader()),
        };
        last = match said {
            Ok(response) => return says_since(response),
            // Once the outcome was unknown, it stays so.
            Err(problem) if &*last.code == "outcome-unknown" && &*problem.code == "no-leader" => {
                last
            }
            Err(problem) => problem,
        };
        let is_done = is_transfer && &*last.code != "no-leader";
        if was_forwarded || is_done || Instant::now() + AGAIN_AFTER > until {
            return says_since(last.into_response());
        }
        // Sooner if something changes, yet never at once.
        sleep(AGAIN_AFTER / 4).await;
        let soon = until.min(Instant::now() + AGAIN_AFTER);
        let _ = timeout_at(soon, watch.changed()).await;
    }
}

/// Names a change that has no name, and notes when it was asked for first.
fn name(applied: u64, headers: &mut HeaderMap) -> Result<(), Problem> {
    let said = headers.get(&SINCE).map(number);
    let since = match said {
        Some(None) => return Err(bad_since()),
        // Another peer knows it.
        Some(Some(since)) if headers.contains_key(&FORWARDED) => since,
        // One that was asked for earlier is refused sooner: nobody gains by a false word.
        Some(Some(since)) => since.min(applied),
        None => applied,
    };
    headers.insert(SINCE, HeaderValue::from(since));
    match headers.get(&KEY) {
        None => {
            let drawn = hex(&draw::<16>());
            let value = HeaderValue::from_str(&drawn).expect("digits are plain text");
            headers.insert(KEY, value);
            Ok(())
        }
        Some(key) if key.len() > KEY_LIMIT || key.is_empty() => Err(bad_key()),
        Some(_) => Ok(()),
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

pub(crate) fn origin(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Origin, Problem> {
    let since = headers.get(&SINCE).and_then(number);
    let named = headers
        .get(&KEY)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let [client, about] = [
        digest_of(&[b"client", named]),
        digest_of(&[method.as_str().as_bytes(), uri.path().as_bytes(), body]),
    ];
    let (client, _) = client
        .split_first_chunk::<16>()
        .expect("a digest has 32 bytes");
    let (about, _) = about
        .split_first_chunk::<8>()
        .expect("a digest has 32 bytes");
    Ok(Origin {
        key: Key {
            client: *client,
            serial: 0,
        },
        about: u64::from_be_bytes(*about),
        since: since.ok_or_else(bad_since)?,
    })
}

/// An answer that stands, or the problem with which another attempt makes sense.
async fn judged(response: Response) -> Result<Response, Problem> {
    if response.status() != StatusCode::SERVICE_UNAVAILABLE {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem)
            if matches!(
                &*problem.code,
                "no-leader" | "outcome-unknown" | "under-way"
            ) =>
        {
            Err(problem)
        }
        _ => Ok(Response::from_parts(head, Body::from(body))),
    }
}

fn unanswered(error: &CallError) -> Problem {
    match error {
        // Nothing was sent: there was no effect.
        CallError::Unreachable { .. } | CallError::Stranger { .. } => Problem::no_leader(),
        CallError::Broken { .. } | CallError::Late { .. } => outcome_unknown(&error.to_string()),
    }
}

fn bad_key() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad-key",
        format!("Idempotency-Key is 1 to {KEY_LIMIT} bytes of text"),
    )
    .hint("draw a UUID for each change")
}

fn bad_since() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad-key",
        "Primacy-Since is a number, an index of the log",
    )
    .hint("hand on the Primacy-Since of the first answer, or leave it out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn since(headers: &[(HeaderName, &'static str)], expected: Option<u64>) {
        let headers = headers.iter().cloned();
        let mut headers = headers
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect();
        let named = name(100, &mut headers);
        assert_eq!(named.is_ok(), expected.is_some());
        assert_eq!(headers.get(&SINCE).and_then(number), expected);
    }

    #[test]
    fn a_change_is_as_old_as_the_first_time_that_it_was_asked_for() {
        since(&[], Some(100));
        since(&[(SINCE, "7")], Some(7));
        // Nobody makes a change younger than it is.
        since(&[(SINCE, "1000")], Some(100));
        since(&[(SINCE, "1000"), (FORWARDED, "2")], Some(1000));
        since(&[(SINCE, "soon")], None);
    }
}
