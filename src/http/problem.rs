//! Refusals and failures as RFC 9457 problem documents.

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::BODY_LIMIT;

/// What `Retry-After` says, in seconds: places are free again within milliseconds, and an election takes a second or two.
const AGAIN_AFTER: HeaderValue = HeaderValue::from_static("1");

/// One problem. `code` is stable; `detail` and `hint` are for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A name for the kind of problem: `urn:primacy:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The HTTP status in words.
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, in one sentence.
    pub detail: String,
    /// A stable word for programs.
    pub code: Box<str>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same request may succeed later without a change.
    pub retryable: bool,
}

impl Problem {
    /// A problem of this status and code. 503 is retryable.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:primacy:problem:{code}").into(),
            title: status.canonical_reason().unwrap_or("Problem").into(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.into(),
            hint: None,
            retryable: status == StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// With the next step.
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The body of a request cannot be taken in.
    pub fn too_large() -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body is longer than {BODY_LIMIT} bytes or broke off"),
        )
        .hint("send a shorter one")
    }

    /// The body of a request did not arrive.
    pub fn too_slow() -> Problem {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "the body did not arrive in time",
        )
        .hint("send it again, faster")
    }

    /// Nobody leads, as far as this peer knows.
    pub fn no_leader() -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-leader",
            "this peer knows of no leader: a majority of the peers cannot be reached",
        )
        .hint("start the missing peers, or ask with ?consistency=stale for what this peer last saw")
    }

    /// This peer holds no lease of a leader, and knows of nobody else who does.
    pub fn no_lease() -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-lease",
            "this peer holds no lease of a leader now",
        )
        .hint("ask again, or ask with ?consistency=linearizable, which waits for a majority")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let headers = [(CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, headers, body).into_response();
        if self.retryable {
            response.headers_mut().insert(RETRY_AFTER, AGAIN_AFTER);
        }
        response
    }
}
