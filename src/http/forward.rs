//! Linearizable answers come from the leader, after it made sure that it still leads. Other peers pass
//! the request on to it, one hop.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, TRANSFER_ENCODING};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::Full;

use crate::server::Peer;
use crate::server::calls::CallError;

use super::BODY_LIMIT;
use super::problem::Problem;

/// Carried by a request that was passed on: it is never passed on again.
const FORWARDED: HeaderName = HeaderName::from_static("primacy-forwarded");
/// How long a leader tries to make sure that it still leads.
const CONFIRM: Duration = Duration::from_millis(1000);
/// How long the leader may take for a request that was passed on; longer than a proposal may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

enum Consistency {
    Linearizable,
    Stale,
}

fn consistency(request: &Request) -> Result<Consistency, Problem> {
    let query = request.uri().query().unwrap_or_default();
    let asked = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("consistency="));
    let refuse = |detail: String| {
        Err(
            Problem::new(StatusCode::BAD_REQUEST, "bad-consistency", detail)
                .hint("use consistency=linearizable or consistency=stale"),
        )
    };
    match asked {
        None | Some("linearizable") => Ok(Consistency::Linearizable),
        Some("stale") if request.method() != Method::GET => {
            refuse("a change cannot be stale".to_owned())
        }
        Some("stale") => Ok(Consistency::Stale),
        Some("lease") => refuse("consistency=lease is not offered yet".to_owned()),
        Some(other) => refuse(format!("consistency={other} is not known")),
    }
}

/// Answers here or at the leader.
pub(super) async fn to_leader(
    State(peer): State<Arc<Peer>>,
    request: Request,
    next: Next,
) -> Response {
    match consistency(&request) {
        Err(problem) => return problem.into_response(),
        Ok(Consistency::Stale) => return next.run(request).await,
        Ok(Consistency::Linearizable) => {}
    }
    let was_forwarded = request.headers().contains_key(FORWARDED);
    match peer.leader() {
        Some((leader, _)) if leader == peer.config.id => {
            if crate::broken!(ConfirmedRead) {
                return next.run(request).await;
            }
            match peer.consensus.confirm_leadership(CONFIRM).await {
                Ok(_) => next.run(request).await,
                Err(error) => {
                    tracing::debug!(%error, "leadership is not confirmed");
                    Problem::no_leader().into_response()
                }
            }
        }
        Some((_, address)) if !was_forwarded => match pass_on(&peer, &address, request).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        },
        _ => Problem::no_leader().into_response(),
    }
}

async fn pass_on(peer: &Peer, address: &str, request: Request) -> Result<Response, Problem> {
    let is_read = request.method() == Method::GET;
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body is longer than {BODY_LIMIT} bytes or broke off"),
        )
    })?;
    for hop in [CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(hop);
    }
    head.headers
        .insert(FORWARDED, HeaderValue::from(peer.config.id.0));
    let request = Request::from_parts(head, Full::new(body));
    let answer = peer.calls.send(address, request, ANSWER_WITHIN).await;
    let response = answer.map_err(|error| {
        // A change that was not even sent has had no effect.
        let is_without_effect = is_read || matches!(error, CallError::Unreachable { .. });
        let problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            if is_without_effect {
                "no-leader"
            } else {
                "outcome-unknown"
            },
            format!("the leader gave no answer: {error}"),
        );
        problem.hint("a new leader is elected within a second or two; look, then ask again")
    })?;
    let (mut head, body) = response.into_parts();
    for hop in [CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(hop);
    }
    Ok(Response::from_parts(head, Body::from(body)))
}
