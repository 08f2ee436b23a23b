//! Calls of the HTTP API. A read asks one address after the other, without giving up those that are slow; a
//! change goes to one at a time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::Full;
use hyper::{Request, Response};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::http::problem::Problem;
use crate::server::calls::{CallError, Calls};

use super::{Exit, Failure};

/// Longer than a peer takes for its own deadlines.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
/// How long a read waits before it asks the next address too: longer than a healthy peer takes, the way to its
/// leader included, and short for whoever waits.
const NEXT_AFTER: Duration = Duration::from_millis(300);

/// Where to ask.
pub(super) struct Api {
    addresses: Vec<String>,
    calls: Calls,
}

/// What one address brought.
enum Answer {
    Good(Bytes),
    /// Another address would say the same.
    Final(Failure),
    /// Another address may know more.
    NotNow(Failure),
    /// Nobody answers there.
    Nobody(Failure),
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

    /// Gets `path` as it is. The next address is asked when one knows no answer or takes long; those that were
    /// asked before stay asked, and the first good answer counts.
    pub(super) async fn text(&self, path: &str) -> Result<Bytes, Failure> {
        let mut addresses = self.addresses.iter();
        let mut asked = FuturesUnordered::new();
        let (mut not_now, mut nobody) = (None, None);
        loop {
            if let Some(address) = addresses.next() {
                asked.push(self.read(address, path));
            }
            let is_last = addresses.len() == 0;
            tokio::select! {
                answer = asked.next() => match answer {
                    Some(Answer::Good(body)) => return Ok(body),
                    Some(Answer::Final(failure)) => return Err(failure),
                    Some(Answer::NotNow(failure)) => not_now = not_now.or(Some(failure)),
                    Some(Answer::Nobody(failure)) => nobody = nobody.or(Some(failure)),
                    // A peer that answers says more than an address where nobody does.
                    None => return Err(not_now.or(nobody).expect("there is at least one address")),
                },
                () = sleep(NEXT_AFTER), if !is_last => {}
            }
        }
    }

    async fn read(&self, address: &str, path: &str) -> Answer {
        let request = match Request::get(path).body(Full::default()) {
            Ok(request) => request,
            Err(error) => return Answer::Final(Failure::new(Exit::Usage, error.to_string())),
        };
        match self.calls.send(address, request, ANSWER_WITHIN).await {
            Ok(response) if response.status().is_success() => Answer::Good(response.into_body()),
            Ok(response) if response.status().as_u16() == 503 => Answer::NotNow(refused(&response)),
            Ok(response) => Answer::Final(refused(&response)),
            Err(error) => Answer::Nobody(unreachable(&error)),
        }
    }

    /// Posts JSON to `path`: a change, tried elsewhere only while nothing was sent.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        let usage = |error: String| Failure::new(Exit::Usage, error);
        let body = serde_json::to_vec(body).map_err(|error| usage(error.to_string()))?;
        let body = Bytes::from(body);
        let mut first = None;
        for address in &self.addresses {
            let request = Request::post(path)
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))
                .map_err(|error| usage(error.to_string()))?;
            match self.calls.send(address, request, ANSWER_WITHIN).await {
                Ok(response) if response.status().is_success() => {
                    return understood(response.body());
                }
                Ok(response) => return Err(refused(&response)),
                Err(error @ CallError::Unreachable { .. }) => {
                    first = first.or(Some(unreachable(&error)));
                }
                Err(error) => return Err(unanswered(&error)),
            }
        }
        Err(first.expect("there is at least one address"))
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

/// A change was sent, and may have been made.
fn unanswered(error: &CallError) -> Failure {
    Failure {
        exit: Exit::NoQuorum,
        text: format!("whether the change was made is not known: {error}"),
        hint: Some("look with primacy status before trying again".to_owned()),
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
            hint: hint(&problem),
            text: format!("{} ({})", problem.detail, problem.code),
        },
        Err(_) => Failure {
            exit,
            text: format!("what answers there is no peer of this version: it says {status}"),
            hint: Some("check the addresses in --api or PRIMACY_API".to_owned()),
        },
    }
}

/// The next step as it is typed here, where the API's own speaks of requests.
fn hint(problem: &Problem) -> Option<String> {
    let typed = match &*problem.code {
        "unknown-cluster" => "primacy status lists the clusters",
        "no-primary" => "primacy status says what is waited for",
        "no-leader" => {
            "primacy peers says who answers; a new leader is elected within seconds if a majority does"
        }
        "outcome-unknown" => "look with primacy status before trying again",
        _ => return problem.hint.clone(),
    };
    Some(typed.to_owned())
}

fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure {
        exit: Exit::Failed,
        text: format!("the answer is not understood: {error}"),
        hint: Some("use the same version as the peers".to_owned()),
    })
}
