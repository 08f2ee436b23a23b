//! JSON over HTTP: to peers over TLS, to the health checks of agents in plain text.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;

/// What is shown to peers, and which authority they are known by.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<ClientConfig>);

impl Certificate {
    /// Reads `ca.pem`, `certificate.pem` and `key.pem`.
    ///
    /// # Errors
    /// They cannot be read, or are something else.
    pub fn read(folder: &Path) -> anyhow::Result<Certificate> {
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).with_context(|| format!("read {}", path.display()))
        };
        let certificates = |file: &str| -> anyhow::Result<Vec<_>> {
            let found = CertificateDer::pem_slice_iter(&read(file)?).collect::<Result<_, _>>();
            found.with_context(|| format!("understand {file}"))
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates("ca.pem")? {
            roots.add(authority)?;
        }
        let key = PrivateKeyDer::from_pem_slice(&read("key.pem")?).context("understand key.pem")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates("certificate.pem")?, key)?;
        Ok(Certificate(Arc::new(config)))
    }
}

/// Asks for JSON; keeps connections open.
#[derive(Debug, Clone)]
pub struct Http {
    scheme: &'static str,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// Over TLS with this certificate, in plain text without. Nothing is connected yet.
    pub fn new(certificate: Option<&Certificate>) -> Http {
        let config = certificate.map_or_else(nobody, |certificate| (*certificate.0).clone());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build();
        Http {
            scheme: if certificate.is_some() {
                "https"
            } else {
                "http"
            },
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// The body of `address/path`.
    ///
    /// # Errors
    /// Anything but an answer with status 200 and the expected JSON within `within`.
    pub async fn get<T: DeserializeOwned>(
        &self,
        address: &str,
        path: &str,
        within: Duration,
    ) -> anyhow::Result<T> {
        let request = Request::get(self.uri(address, path)).body(Full::default())?;
        self.send(request, address, within).await
    }

    /// What comes of sending `body` to `address/path`, as the change that `key` names.
    ///
    /// # Errors
    /// Anything but an answer of success with the expected JSON within `within`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        address: &str,
        path: &str,
        (key, body): (&str, &serde_json::Value),
        within: Duration,
    ) -> anyhow::Result<T> {
        let request = Request::post(self.uri(address, path))
            .header("idempotency-key", key)
            .body(Full::from(body.to_string()))?;
        self.send(request, address, within).await
    }

    fn uri(&self, address: &str, path: &str) -> String {
        format!("{}://{address}{path}", self.scheme)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
        address: &str,
        within: Duration,
    ) -> anyhow::Result<T> {
        let what = format!("{} {}", request.method(), request.uri().path());
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            let said = String::from_utf8_lossy(&body);
            ensure!(status.is_success(), "{what}: {status}: {said}");
            Ok(serde_json::from_slice(&body)?)
        };
        tokio::time::timeout(within, exchange)
            .await
            .with_context(|| format!("{what} of {address} takes too long"))?
    }
}

/// Trusts nobody: for plain text.
fn nobody() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}
