//! Small HTTP calls to other peers, each with a deadline.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::security::{self, Wire};

mod connector;

use connector::Connector;

/// The largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent: nobody listens there, or the name is unknown.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// The `host:port`.
        address: String,
    },
    /// Nothing was sent: who answers there is not who should.
    #[error("{address} is not spoken to: {why}")]
    Stranger {
        /// The `host:port`.
        address: String,
        /// Why, in words.
        why: String,
    },
    /// The connection broke or the answer is too large; the call may have taken effect.
    #[error("{address} gave no whole answer")]
    Broken {
        /// The `host:port`.
        address: String,
    },
    /// No answer came before the deadline; the call may have taken effect.
    #[error("{address} did not answer in time")]
    Late {
        /// The `host:port`.
        address: String,
    },
}

/// A client with kept-alive connections. Over TLS it speaks to peers of its installation alone.
#[derive(Clone)]
pub struct Calls {
    client: Client<Connector, Full<Bytes>>,
}

impl Calls {
    /// Nothing is connected yet.
    pub fn over(wire: Wire) -> Calls {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(Connector(wire));
        Calls { client }
    }

    /// Sends `request`, whose URI holds a path only, to `address`.
    pub async fn send(
        &self,
        address: &str,
        mut request: Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<Response<Bytes>, CallError> {
        let broken = || CallError::Broken {
            address: address.to_owned(),
        };
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        *request.uri_mut() =
            format!("http://{address}{path}")
                .parse()
                .map_err(|_| CallError::Unreachable {
                    address: address.to_owned(),
                })?;
        request.headers_mut().remove(HOST);
        let call = async {
            let response = self.client.request(request).await.map_err(|error| {
                let address = address.to_owned();
                match security::refusal(&error) {
                    Some(why) => CallError::Stranger { address, why },
                    None if error.is_connect() => CallError::Unreachable { address },
                    None => CallError::Broken { address },
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await;
            Ok(Response::from_parts(
                head,
                body.map_err(|_| broken())?.to_bytes(),
            ))
        };
        tokio::time::timeout(deadline, call)
            .await
            .map_err(|_| CallError::Late {
                address: address.to_owned(),
            })?
    }

    /// Gets `path` from `address`.
    pub async fn get(
        &self,
        address: &str,
        path: &str,
        deadline: Duration,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let request = Request::get(path)
            .body(Full::default())
            .map_err(|_| CallError::Broken {
                address: address.to_owned(),
            })?;
        let response = self.send(address, request, deadline).await?;
        Ok((response.status(), response.into_body()))
    }
}
