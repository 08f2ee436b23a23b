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

use crate::server::Peer;
use crate::server::calls::CallError;
use crate::server::propose::{Origin, draw};
use crate::server::token::{digest_of, hex};

use super::forward::{FORWARDED, Proof, here, send};
use super::problem::Problem;
use super::{BODY_LIMIT, TRANSFER};

/// Names a change; whoever sends it again under the same name gets the answer of the first time.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What the peer that was asked first had applied of the log then.
const SINCE: HeaderName = HeaderName::from_static("primacy-since");
/// The longest name.
const KEY_LIMIT: usize = 255;
/// How long the body of a change may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Before the same peer is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// If nobody was known to lead when the change came, one who is being elected does within so many of the longest silences.
const ELECTIONS: u32 = 4;

/// Has the change made by whoever leads.
pub(super) async fn make(peer: &Arc<Peer>, request: Request, next: Next) -> Response {
    let was_forwarded = request.headers().contains_key(FORWARDED);
    let (mut head, body) = request.into_parts();
    let body = match timeout(BODY_WITHIN, to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Problem::too_large().into_response(),
        Err(_) => return Problem::too_slow().into_response(),
    };
    let is_transfer = head.uri.path() == TRANSFER;
    if let Err(problem) = name(peer, &mut head.headers) {
        return problem.into_response();
    }
    let origin = match origin(&head.method, &head.uri, &head.headers, &body) {
        Ok(origin) => origin,
        Err(problem) => return problem.into_response(),
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
        Some(_) => timing.proposal,
        None => ELECTIONS * timing.election_max,
    };
    let until = Instant::now() + patience;
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
                judged(here(peer, Proof::Majority, request, next.clone()).await).await
            }
            Some((leader, address)) if !was_forwarded => {
                let is_another = |view: &raft::View| view.leader.is_some_and(|now| now != leader.0);
                let mut watch = peer.consensus.watch();
                let replaced = async { watch.wait_for(is_another).await.is_ok() };
                tokio::select! {
                    answer = send(peer, &address, again().map(Full::new)) => match answer {
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
            Ok(response) => return response,
            // Once the outcome was unknown, it stays so.
            Err(problem) if &*last.code == "outcome-unknown" && &*problem.code == "no-leader" => {
                last
            }
            Err(problem) => problem,
        };
        let is_done = is_transfer && &*last.code != "no-leader";
        if was_forwarded || is_done || Instant::now() + AGAIN_AFTER > until {
            return last.into_response();
        }
        // Sooner if something changes, yet never at once.
        sleep(AGAIN_AFTER / 4).await;
        let soon = until.min(Instant::now() + AGAIN_AFTER);
        let _ = timeout_at(soon, watch.changed()).await;
    }
}

/// Names a change that has no name.
fn name(peer: &Peer, headers: &mut HeaderMap) -> Result<(), Problem> {
    // Only another peer knows when the change was asked for first.
    if !headers.contains_key(&SINCE) || !headers.contains_key(&FORWARDED) {
        headers.insert(SINCE, HeaderValue::from(peer.applied_index()));
    }
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

fn origin(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Origin, Problem> {
    let since = headers
        .get(&SINCE)
        .and_then(|it| it.to_str().ok()?.parse().ok());
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
        since: since.ok_or_else(bad_key)?,
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
        CallError::Unreachable { .. } => Problem::no_leader(),
        CallError::Broken { .. } | CallError::Late { .. } => outcome_unknown(&error.to_string()),
    }
}

/// Whether the change was made is not known.
pub(super) fn outcome_unknown(why: &str) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "outcome-unknown",
        format!("whether the change was made is not known: {why}"),
    )
    .hint("send it again with the same Idempotency-Key: it takes effect once")
}

fn bad_key() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad-key",
        format!("Idempotency-Key is 1 to {KEY_LIMIT} bytes of text"),
    )
    .hint("draw a UUID for each change")
}

/// The change was asked for too long ago.
pub(super) fn expired() -> Problem {
    Problem::new(
        StatusCode::GONE,
        "expired",
        "the change was asked for so long ago that whether it was made is no longer known",
    )
    .hint("look, then send it again with a new Idempotency-Key if it was not made")
}

/// The key was used for something else.
pub(super) fn key_reused() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "key-reused",
        "this Idempotency-Key was used for another change",
    )
    .hint("draw a new one for each change")
}
