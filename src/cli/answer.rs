//! What one address answered, judged: whether it counts, and whether another address may know more.

use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::http::ANSWERED_BY;
use crate::http::problem::Problem;
use crate::server::calls::CallError;

use super::{Exit, Failure};

/// What one address brought.
pub(super) enum Answer {
    Good(Response<Bytes>),
    /// Another address would say the same, or must not be asked.
    Final(Failure),
    /// Another address may know more. Nothing was changed.
    NotNow(Failure),
    /// The connection broke. It may have been changed, and is not once more if it is sent again under the same name.
    Unsure(Failure),
    /// No peer answers there, in words. Nothing was changed.
    Nobody(String),
}

type Told = Result<Response<Bytes>, CallError>;

/// Judges the answer to a read.
pub(super) fn to_read(address: &str, told: Told) -> Answer {
    match told {
        Err(error) => Answer::Nobody(error.to_string()),
        Ok(response) if answered_by(&response).is_none() => {
            Answer::Nobody(stranger(address, response.status()))
        }
        Ok(response) if response.status().is_success() => Answer::Good(response),
        Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
            Answer::NotNow(refused(&response).0)
        }
        Ok(response) => Answer::Final(refused(&response).0),
    }
}

/// Judges the answer to a change.
pub(super) fn to_change(address: &str, told: Told) -> Answer {
    match told {
        Err(error @ (CallError::Unreachable { .. } | CallError::Stranger { .. })) => {
            Answer::Nobody(error.to_string())
        }
        // As where a peer has just begun or ends.
        Err(error @ CallError::Broken { .. }) => Answer::Unsure(unanswered(&error.to_string())),
        Err(error @ CallError::Late { .. }) => Answer::Final(unanswered(&error.to_string())),
        Ok(response) if answered_by(&response).is_none() => {
            let status = response.status();
            // A proxy that lost the peer behind it says no more.
            match status.is_server_error() {
                true => Answer::Final(unanswered(&stranger(address, status))),
                false => Answer::Nobody(stranger(address, status)),
            }
        }
        Ok(response) if response.status().is_success() => Answer::Good(response),
        Ok(response) => match refused(&response) {
            (failure, Some("no-leader" | "busy")) => Answer::NotNow(failure),
            (failure, _) => Answer::Final(failure),
        },
    }
}

/// The peer that signed it; none if no peer did.
pub(super) fn answered_by(response: &Response<Bytes>) -> Option<&str> {
    response.headers().get(ANSWERED_BY)?.to_str().ok()
}

/// A body that was promised to be a `T`.
pub(super) fn understood<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure {
        exit: Exit::Failed,
        text: format!("the answer is not understood: {error}"),
        hint: Some("use the same version as the peers".to_owned()),
    })
}

/// No address was of any use, and why each was not.
pub(super) fn nobody(tried: &[String], over_tls: bool) -> Failure {
    let wire = match over_tls {
        true => "that they speak TLS, with certificates of the same installation as yours",
        false => {
            "that they speak plain HTTP: if they do not, name the folder of your certificate with --tls or PRIMACY_TLS"
        }
    };
    Failure {
        exit: Exit::NoQuorum,
        text: format!("no peer answers: {}", tried.join(", ")),
        hint: Some(format!(
            "check the addresses in --api or PRIMACY_API, that the peers run, and {wire}"
        )),
    }
}

fn stranger(address: &str, status: StatusCode) -> String {
    let status = status.as_u16();
    format!("{address} is no peer of Primacy (it says {status})")
}

/// A change was sent, and may have been made.
fn unanswered(why: &str) -> Failure {
    Failure {
        exit: Exit::NoQuorum,
        text: format!("whether the change was made is not known: {why}"),
        hint: Some("look with primacy status before trying again".to_owned()),
    }
}

/// The refusal, with the code of its problem as far as it is known here.
fn refused(response: &Response<Bytes>) -> (Failure, Option<&'static str>) {
    let status = response.status().as_u16();
    let exit = match status {
        400 | 405 | 413 | 422 => Exit::Usage,
        404 => Exit::NotFound,
        409 => Exit::Conflict,
        401 | 403 | 412 => Exit::Refused,
        503 => Exit::NoQuorum,
        _ => Exit::Failed,
    };
    let Ok(problem) = serde_json::from_slice::<Problem>(response.body()) else {
        let failure = Failure {
            exit,
            text: format!("the peer is not of this version: it says {status}"),
            hint: Some("use the same version as the peers".to_owned()),
        };
        return (failure, None);
    };
    let failure = Failure {
        // A cluster without a primary is no matter of the peers.
        exit: if &*problem.code == "no-primary" {
            Exit::Failed
        } else {
            exit
        },
        hint: hint(&problem),
        text: format!("{} ({})", problem.detail, problem.code),
    };
    (
        failure,
        (&*problem.code == "no-leader").then_some("no-leader"),
    )
}

/// The next step as it is typed here, where the API's own speaks of requests.
fn hint(problem: &Problem) -> Option<String> {
    let typed = match &*problem.code {
        "unknown-cluster" => "primacy status lists the clusters",
        "nothing-to-acknowledge" => "primacy status shows what is blocked",
        "unknown-instance" => "primacy status lists the instances of each cluster",
        "no-primary" => "primacy status says what is waited for",
        "no-leader" => {
            "primacy peers says who answers; a new leader is elected within seconds if a majority does"
        }
        "unknown-peer" | "behind" | "silent" | "no-quorum" | "no-vote" => {
            "primacy peers says who answers and how far each is"
        }
        "unknown-token" => "primacy token list shows the tokens",
        "unauthenticated" => {
            "name a folder with your certificate with --tls or PRIMACY_TLS, or set PRIMACY_TOKEN"
        }
        "outcome-unknown" => "look with primacy status before trying again",
        _ => return problem.hint.clone(),
    };
    Some(typed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, code: Option<&str>) -> Response<Bytes> {
        let builder = Response::builder().status(status);
        match code {
            None => builder.body(Bytes::from("<html>")),
            Some(code) => {
                let status = StatusCode::from_u16(status).unwrap();
                let problem = Problem::new(status, code, "why");
                let body = serde_json::to_vec(&problem).unwrap();
                builder.header(ANSWERED_BY, "2").body(Bytes::from(body))
            }
        }
        .unwrap()
    }

    fn name(answer: &Answer) -> &'static str {
        match answer {
            Answer::Good(_) => "good",
            Answer::Final(_) => "final",
            Answer::NotNow(_) => "not now",
            Answer::Unsure(_) => "unsure",
            Answer::Nobody(_) => "nobody",
        }
    }

    #[test]
    fn a_change_goes_elsewhere_unless_somebody_has_answered_or_has_it_still() {
        let address = || "h:1".to_owned();
        for (told, of_read, of_change) in [
            (Ok(response(201, Some("x"))), "good", "good"),
            (Ok(response(409, Some("exists"))), "final", "final"),
            (Ok(response(503, Some("no-leader"))), "not now", "not now"),
            (
                Ok(response(503, Some("outcome-unknown"))),
                "not now",
                "final",
            ),
            (Ok(response(503, Some("another"))), "not now", "final"),
            (Ok(response(404, None)), "nobody", "nobody"),
            (Ok(response(200, None)), "nobody", "nobody"),
            (Ok(response(502, None)), "nobody", "final"),
            (
                Err(CallError::Unreachable { address: address() }),
                "nobody",
                "nobody",
            ),
            (
                Err(CallError::Broken { address: address() }),
                "nobody",
                "unsure",
            ),
            (
                Err(CallError::Late { address: address() }),
                "nobody",
                "final",
            ),
        ] {
            let shown = format!("{told:?}");
            let copy = match &told {
                Ok(response) => Ok(response.clone()),
                Err(error) => Err(error.clone()),
            };
            assert_eq!(name(&to_read("h:1", copy)), of_read, "{shown}");
            assert_eq!(name(&to_change("h:1", told)), of_change, "{shown}");
        }
    }
}
