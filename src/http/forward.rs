//! Linearizable answers come from the leader, after a majority confirmed that it still leads; answers by lease come from
//! a leader that asks nobody and knows that nobody else can lead yet. Other peers pass the request on to it, one hop.
//! Changes go the way of [`change`].
//!
//! A lease rests on clocks. What decides anything asks for a linearizable answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::Full;

use crate::server::Peer;
use crate::server::calls::CallError;

use super::STALENESS;
use super::change;
use super::limits::Budgets;
use super::problem::Problem;

/// Carried by a request that was passed on: it is never passed on again.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("primacy-forwarded");
/// How long a leader tries to make sure that it still leads.
const CONFIRM: Duration = Duration::from_millis(1000);
/// How long the leader may take for a read that was passed on.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What is asked of the leader before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Majority,
    Lease,
}

/// What is asked of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consistency {
    /// It is the leader's.
    Led(Proof),
    /// It is what the asked peer knows.
    Stale,
}

/// What a request asks for, `otherwise` if it says nothing. Fails with `bad-consistency`.
pub(super) fn consistency(
    uri: &Uri,
    method: &Method,
    otherwise: Consistency,
) -> Result<Consistency, Problem> {
    let query = uri.query().unwrap_or_default();
    let asked = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("consistency="));
    let refuse = |detail: String| {
        Err(
            Problem::new(StatusCode::BAD_REQUEST, "bad-consistency", detail).hint(
                "use consistency=linearizable, lease or stale; a change is always linearizable",
            ),
        )
    };
    match asked {
        None => Ok(otherwise),
        Some("linearizable") => Ok(Consistency::Led(Proof::Majority)),
        Some(weaker @ ("stale" | "lease")) if !method.is_safe() => {
            refuse(format!("consistency={weaker} is for reads"))
        }
        Some("stale") => Ok(Consistency::Stale),
        Some("lease") => Ok(Consistency::Led(Proof::Lease)),
        Some(other) => refuse(format!("consistency={other} is not known")),
    }
}

/// Answers here or at the leader.
pub(super) async fn to_leader(
    State((peer, budgets)): State<(Arc<Peer>, Arc<Budgets>)>,
    request: Request,
    next: Next,
) -> Response {
    let otherwise = Consistency::Led(Proof::Majority);
    let asked = match consistency(request.uri(), request.method(), otherwise) {
        Err(problem) => return problem.into_response(),
        Ok(asked) => asked,
    };
    match request.method().is_safe() {
        true => look(&peer, &budgets, asked, request, next).await,
        false => change::make(&peer, &budgets, request, next).await,
    }
}

/// Answers here, also without a leader; at the leader only if that is asked for. For reads alone.
pub(super) async fn here_first(
    State((peer, budgets)): State<(Arc<Peer>, Arc<Budgets>)>,
    request: Request,
    next: Next,
) -> Response {
    match consistency(request.uri(), request.method(), Consistency::Stale) {
        Err(problem) => problem.into_response(),
        Ok(asked) => look(&peer, &budgets, asked, request, next).await,
    }
}

/// A read, as it is asked for.
async fn look(
    peer: &Peer,
    budgets: &Budgets,
    asked: Consistency,
    request: Request,
    next: Next,
) -> Response {
    let _place = match budgets.reads.take() {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let proof = match asked {
        Consistency::Led(proof) => proof,
        Consistency::Stale => return next.run(request).await,
    };
    let was_forwarded = request.headers().contains_key(FORWARDED);
    match peer.leader() {
        Some((leader, _)) if leader == peer.config.id => here(peer, proof, request, next).await,
        Some(_) if !was_forwarded => {
            let answer =
                tokio::time::timeout(ANSWER_WITHIN, read(peer, proof, request, next)).await;
            answer.unwrap_or_else(|_| proof.lacks().into_response())
        }
        _ => proof.lacks().into_response(),
    }
}

impl Proof {
    /// The answer of a peer that does not have it.
    fn lacks(self) -> Problem {
        match self {
            Proof::Majority => Problem::no_leader(),
            Proof::Lease => Problem::no_lease(),
        }
    }
}

/// Answers at this peer, if it still leads.
pub(super) async fn here(peer: &Peer, proof: Proof, request: Request, next: Next) -> Response {
    let mut response = match proof {
        Proof::Majority if crate::broken!(ConfirmedRead) => return next.run(request).await,
        Proof::Majority => match peer.consensus.confirm_leadership(CONFIRM).await {
            Ok(_) => next.run(request).await,
            Err(error) => return refuse(proof, &error),
        },
        Proof::Lease => {
            if let Err(error) = peer.consensus.confirm_lease().await {
                return refuse(proof, &error);
            }
            let response = next.run(request).await;
            // Once more, so that the answer leaves before any other peer leads.
            match peer.consensus.confirm_lease().await {
                Ok(_) => response,
                Err(error) => return refuse(proof, &error),
            }
        }
    };
    response
        .headers_mut()
        .insert(STALENESS, HeaderValue::from(0));
    response
}

fn refuse(proof: Proof, error: &raft::ConfirmError) -> Response {
    tracing::debug!(%error, ?proof, "leadership is not confirmed");
    proof.lacks().into_response()
}

/// Passes a read on. A leader that hangs is not waited for once there is another one.
async fn read(peer: &Peer, proof: Proof, request: Request, next: Next) -> Response {
    let mut watch = peer.consensus.watch();
    while let Some((leader, address)) = peer.leader() {
        if leader == peer.config.id {
            return here(peer, proof, request, next).await;
        }
        let mut copy = hyper::Request::new(Full::default());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        let is_another = |view: &raft::View| view.leader.is_some_and(|now| now != leader.0);
        let replaced = async { watch.wait_for(is_another).await.is_ok() };
        tokio::select! {
            answer = send(peer, &address, copy, ANSWER_WITHIN) => {
                return answer.unwrap_or_else(|error| {
                    no_answer("no-leader", &error).into_response()
                });
            }
            true = replaced => {}
        }
    }
    proof.lacks().into_response()
}

pub(super) async fn send(
    peer: &Peer,
    address: &str,
    mut request: hyper::Request<Full<Bytes>>,
    within: Duration,
) -> Result<Response, CallError> {
    let mut headers = passed_on(request.headers());
    headers.insert(FORWARDED, HeaderValue::from(peer.config.id.0));
    *request.headers_mut() = headers;
    let response = peer.calls.send(address, request, within).await?;
    let (mut head, body) = response.into_parts();
    for hop in [CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(hop);
    }
    Ok(Response::from_parts(head, Body::from(body)))
}

/// The headers of a request that the leader needs. All others are between the caller and this peer: those that say where
/// a body ends, above all, because a read is passed on without its body, over a connection that others share.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in [AUTHORIZATION, CONTENT_TYPE, change::KEY, change::SINCE] {
        if let Some(value) = headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    passed
}

fn no_answer(code: &str, error: &CallError) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code,
        format!("the leader gave no answer: {error}"),
    )
    .hint("a new leader is elected within a second or two; look, then ask again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_says_nothing_of_a_body_or_a_connection() {
        let headers = [
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("connection", "upgrade, x-hop"),
            ("upgrade", "primacy"),
            ("x-hop", "1"),
            ("authorization", "Bearer x"),
            ("idempotency-key", "k"),
        ];
        let headers = headers.map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let passed = passed_on(&HeaderMap::from_iter(headers));
        let mut names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "idempotency-key"]);
    }
}
