//! GET of JSON over HTTP.

use std::time::Duration;

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

/// Asks for JSON; keeps connections open.
#[derive(Debug, Clone)]
pub struct Http(Client<HttpConnector, Empty<Bytes>>);

impl Default for Http {
    fn default() -> Http {
        Http::new()
    }
}

impl Http {
    /// Nothing is connected yet.
    pub fn new() -> Http {
        Http(Client::builder(TokioExecutor::new()).build_http())
    }

    /// The body of `http://address/path`.
    ///
    /// # Errors
    /// Anything but an answer with status 200 and the expected JSON within `within`.
    pub async fn get<T: DeserializeOwned>(
        &self,
        address: &str,
        path: &str,
        within: Duration,
    ) -> anyhow::Result<T> {
        let exchange = async {
            let uri: hyper::Uri = format!("http://{address}{path}").parse()?;
            let response = self.0.get(uri).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            ensure!(status.is_success(), "GET {path}: {status}");
            Ok(serde_json::from_slice(&body)?)
        };
        tokio::time::timeout(within, exchange)
            .await
            .with_context(|| format!("GET {path} of {address} takes too long"))?
    }
}
