//! Calls to others' servers over HTTP, each with a deadline.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::security::{SecurityError, web};
use crate::server::config::Publish;

/// How long a call may take.
const WITHIN: Duration = Duration::from_secs(5);
/// What of an answer is read, in bytes.
const ANSWER_LIMIT: usize = 256 * 1024;

/// A client of others' servers.
#[derive(Clone)]
pub(super) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Web {
    /// Believes whom the configuration says. Blocks. Errors: its `ca` cannot be used.
    pub fn of(config: &Publish) -> Result<Web, SecurityError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(web::client(config.ca.as_deref())?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Web { client })
    }

    /// What is answered; in words, without the URL, why nothing is.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let call = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| words(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await;
            let body =
                body.map_err(|_| "it gave no whole answer of a size that is read".to_owned())?;
            Ok((head.status, body.to_bytes()))
        };
        let late = |_| format!("it did not answer within {} s", WITHIN.as_secs());
        timeout(WITHIN, call).await.map_err(late)?
    }
}

/// An error with its causes.
fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
