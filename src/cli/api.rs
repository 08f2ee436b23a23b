//! Calls of the HTTP API: the first address that answers is used.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use serde::de::DeserializeOwned;

use crate::http::problem::Problem;
use crate::server::calls::{CallError, Calls};

use super::{Exit, Failure};

/// Longer than a peer takes for its own deadlines.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// Where to ask.
pub(super) struct Api {
    addresses: Vec<String>,
    calls: Calls,
}

impl Api {
    /// The addresses given, else those of a running `dev`.
    pub(super) fn find(given: Option<String>) -> Result<Api, Failure> {
        let addresses: Vec<String> = match given {
            Some(text) => text
                .split([',', ' '])
                .filter(|address| !address.is_empty())
                .map(|address| {
                    let plain = address.strip_prefix("http://").unwrap_or(address);
                    plain.trim_end_matches('/').to_owned()
                })
                .collect(),
            None => crate::dev::running_peers(),
        };
        if addresses.is_empty() {
            return Err(Failure {
                exit: Exit::Usage,
                text: "no peer is named and no dev is running".to_owned(),
                hint: Some(
                    "give --api host:port or set PRIMACY_API, or start: primacy dev up".to_owned(),
                ),
            });
        }
        Ok(Api {
            addresses,
            calls: Calls::default(),
        })
    }

    /// Gets `path` as JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let body = self.text(path).await?;
        understood(body.as_ref())
    }

    /// Gets `path` as it is.
    pub(super) async fn text(&self, path: &str) -> Result<Bytes, Failure> {
        self.call(|| Request::get(path).body(Full::default())).await
    }

    /// Posts JSON to `path`.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let body = Bytes::from(body);
        let request = || {
            Request::post(path)
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))
        };
        understood(self.call(request).await?.as_ref())
    }

    /// Tries the addresses in turn. A change is tried elsewhere only while nothing was sent.
    async fn call(
        &self,
        request: impl Fn() -> Result<Request<Full<Bytes>>, axum::http::Error>,
    ) -> Result<Bytes, Failure> {
        let mut last = None;
        for address in &self.addresses {
            let request =
                request().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
            let is_read = request.method() == hyper::Method::GET;
            match self.calls.send(address, request, ANSWER_WITHIN).await {
                Ok(response) if response.status().as_u16() == 503 && is_read => {
                    last = Some(refused(&response));
                }
                Ok(response) if response.status().is_success() => return Ok(response.into_body()),
                Ok(response) => return Err(refused(&response)),
                Err(error @ CallError::Unreachable { .. }) => {
                    last = last.or(Some(unreachable(&error)));
                }
                Err(error) if is_read => last = last.or(Some(unreachable(&error))),
                Err(error) => return Err(unreachable(&error)),
            }
        }
        Err(last.expect("there is at least one address"))
    }
}

fn unreachable(error: &CallError) -> Failure {
    Failure {
        exit: Exit::NoQuorum,
        text: format!("no peer answers: {error}"),
        hint: Some(
            "check the addresses in --api or PRIMACY_API, and that the peers run".to_owned(),
        ),
    }
}

fn refused(response: &Response<Bytes>) -> Failure {
    let status = response.status().as_u16();
    let exit = match status {
        400 | 405 | 413 | 422 => Exit::Usage,
        404 => Exit::NotFound,
        409 => Exit::Conflict,
        412 => Exit::Refused,
        503 => Exit::NoQuorum,
        _ => Exit::Failed,
    };
    match serde_json::from_slice::<Problem>(response.body()) {
        Ok(problem) => Failure {
            // A cluster without a primary is no matter of the peers.
            exit: if &*problem.code == "no-primary" {
                Exit::Failed
            } else {
                exit
            },
            text: format!("{} ({})", problem.detail, problem.code),
            hint: problem.hint,
        },
        Err(_) => Failure::new(exit, format!("the peer answers {status}")),
    }
}

fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure {
        exit: Exit::Failed,
        text: format!("the answer is not understood: {error}"),
        hint: Some("use the same version as the peers".to_owned()),
    })
}
