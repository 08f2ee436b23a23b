//! The bodies of requests: short, and JSON.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A body as it arrived, or why it cannot be taken in.
pub(super) type Body = Result<Bytes, BytesRejection>;

pub(super) fn read<T: DeserializeOwned>(body: Body, shape: &str) -> Result<T, Problem> {
    let body = body.map_err(|_| Problem::too_large())?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-body", error.to_string())
            .hint(format!("send {shape}"))
    })
}
