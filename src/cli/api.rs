//! Calls of the HTTP API. A read asks one address after the other, without giving up those that are slow; a
//! change goes to one at a time, and to another only while it was certainly not proposed.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request, Response};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::dev::RunningDev;
use crate::http::TRANSFER;
use crate::http::views::PeerView;
use crate::security::{BearerToken, Credentials, Tls, Wire};
use crate::server::calls::Calls;
use crate::server::hex::hex;
use crate::server::propose::draw;

use super::answer::{self, Answer, answered_by, understood};
use super::arguments::Reach;
use super::{Exit, Failure};

/// Longer than a peer takes for its own deadlines.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
/// The same for a change: 22 s in the network `wan`.
const CHANGED_WITHIN: Duration = Duration::from_secs(24);
/// How long a read waits before it asks the next address too: longer than a healthy peer takes, the way to its
/// leader included, and short for whoever waits.
const NEXT_AFTER: Duration = Duration::from_millis(300);
/// How long a read waits for slower peers once one has said that it cannot answer now; one that hangs says nothing.
const OTHERS_WITHIN: Duration = Duration::from_secs(2);
/// How long a change that no peer could propose is tried again: an election is over by then if a majority lives.
const ELECTED_WITHIN: Duration = Duration::from_secs(5);
/// Between two rounds of the addresses.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long peers that know no leader may take to say what they last saw.
const STALE_WITHIN: Duration = Duration::from_secs(2);

/// Where to ask.
pub(super) struct Api {
    addresses: Vec<String>,
    /// Or over plain HTTP.
    over_tls: bool,
    calls: Calls,
    /// The header `Authorization`, if a token is given. Never shown.
    authorization: Option<HeaderValue>,
}

/// Where a bearer token is given. No option: what is typed can be seen by others of the host.
const TOKEN: &str = "PRIMACY_TOKEN";

/// What one peer last saw, without any leader to confirm it.
pub(super) struct Stale {
    /// The number of the peer.
    pub from: String,
    pub body: Bytes,
    /// The peers, as this one reaches them.
    pub peers: Vec<PeerView>,
}

impl Api {
    /// The addresses given, else those of a running `dev`, whose certificate is found by itself.
    pub(super) fn find(reach: Reach) -> Result<Api, Failure> {
        let dev = crate::dev::running();
        let addresses = match (reach.api, &dev) {
            (Some(text), _) => parsed(&text)?,
            (None, Some(dev)) => dev.peers.clone(),
            (None, None) => vec![],
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
        let of_dev = |dev: &RunningDev| addresses.iter().all(|it| dev.peers.contains(it));
        let of_dev = dev.filter(of_dev).map(|dev| dev.tls);
        let wire = wire(reach.tls.or(of_dev), &addresses)?;
        let authorization = std::env::var(TOKEN).ok().filter(|text| !text.is_empty());
        let authorization = authorization.map(|text| header(&text)).transpose()?;
        if authorization.is_some() && matches!(wire, Wire::Plain) {
            return Err(usage(
                "PRIMACY_TOKEN: a token is not sent in plain HTTP",
                "name the folder of the ca.pem with --tls or PRIMACY_TLS",
            ));
        }
        Ok(Api {
            addresses,
            over_tls: matches!(wire, Wire::Tls(_)),
            calls: Calls::over(wire),
            authorization,
        })
    }

    /// Gets `path` as JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        understood(&self.text(path).await?)
    }

    /// Gets `path` as it is.
    pub(super) async fn text(&self, path: &str) -> Result<Bytes, Failure> {
        let (_, response) = self.ask(path).await?;
        Ok(response.into_body())
    }

    /// Gets `path` as some peer last saw it; none if no peer tells within [`STALE_WITHIN`].
    pub(super) async fn stale(&self, path: &str) -> Option<Stale> {
        let told = async {
            let (address, response) = self.ask(&format!("{path}?consistency=stale")).await.ok()?;
            let from = answered_by(&response)?.to_owned();
            let (_, Answer::Good(peers)) = self.read(address, "/api/v1/peers").await else {
                return None;
            };
            Some(Stale {
                from,
                body: response.into_body(),
                peers: understood(peers.body()).ok()?,
            })
        };
        timeout(STALE_WITHIN, told).await.ok()?
    }

    /// Gets `path`, and says where from. The next address is asked when one knows no answer or takes long; those
    /// that were asked before stay asked, and the first good answer counts. Once one has said "not now", the others
    /// have [`OTHERS_WITHIN`].
    async fn ask(&self, path: &str) -> Result<(&str, Response<Bytes>), Failure> {
        let mut addresses = self.addresses.iter();
        let mut asked = FuturesUnordered::new();
        let (mut not_now, mut nobody) = (None, vec![]);
        let mut is_over = pin!(sleep(ANSWER_WITHIN));
        loop {
            if let Some(address) = addresses.next() {
                asked.push(self.read(address, path));
            }
            let is_last = addresses.len() == 0;
            tokio::select! {
                answer = asked.next() => match answer {
                    Some((address, Answer::Good(response))) => return Ok((address, response)),
                    Some((_, Answer::Final(failure))) => return Err(failure),
                    Some((_, Answer::NotNow(failure))) => {
                        if not_now.is_none() {
                            is_over.set(sleep(OTHERS_WITHIN));
                        }
                        not_now = not_now.or(Some(failure));
                    }
                    // Of no read.
                    Some((_, Answer::Unsure(failure))) => return Err(failure),
                    Some((_, Answer::Nobody(why))) => nobody.push(why),
                    // A peer that answers says more than an address where nobody does.
                    None => return Err(not_now.unwrap_or_else(|| answer::nobody(&nobody, self.over_tls))),
                },
                () = sleep(NEXT_AFTER), if !is_last => {}
                () = &mut is_over, if is_last && not_now.is_some() => {
                    return Err(not_now.expect("this arm waits for one"));
                }
            }
        }
    }

    async fn read<'a>(&self, address: &'a str, path: &str) -> (&'a str, Answer) {
        let answer = match Request::get(path).body(Full::default()) {
            Ok(request) => {
                let request = self.authorized(request);
                let told = self.calls.send(address, request, ANSWER_WITHIN).await;
                answer::to_read(address, told)
            }
            Err(error) => Answer::Final(Failure::new(Exit::Usage, error.to_string())),
        };
        (address, answer)
    }

    fn authorized(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        request
    }

    /// Posts JSON to `path`: see [`Api::change`].
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        self.change(Method::POST, path, body.into()).await
    }

    /// Asks for a change at `path`. While no peer knows a leader, nothing was proposed, and where a connection broke it may have
    /// been: then it is tried again, until [`ELECTED_WITHIN`] is over.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let usage = |error: String| Failure::new(Exit::Usage, error);
        // However often it is sent, to whomever, it takes effect once.
        let key = hex(&draw::<16>());
        let mut is_over = pin!(sleep(ELECTED_WITHIN));
        let mut unsure = None;
        loop {
            let (mut not_now, mut nobody) = (None, vec![]);
            for address in &self.addresses {
                let request = Request::builder()
                    .method(method.clone())
                    .uri(path)
                    .header("content-type", "application/json")
                    .header("idempotency-key", &key)
                    .body(Full::new(body.clone()))
                    .map_err(|error| usage(error.to_string()))?;
                let request = self.authorized(request);
                let told = self.calls.send(address, request, CHANGED_WITHIN).await;
                match answer::to_change(address, told) {
                    Answer::Good(response) => return understood(response.body()),
                    Answer::Final(failure) => return Err(failure),
                    Answer::NotNow(failure) => not_now = not_now.or(Some(failure)),
                    // A leader that was changed may be changed once more.
                    Answer::Unsure(failure) if path == TRANSFER => return Err(failure),
                    Answer::Unsure(failure) => unsure = Some(failure),
                    Answer::Nobody(why) => nobody.push(why),
                }
            }
            // Once it may have been made, no later word that it was not says anything of that.
            let Some(failure) = unsure.clone().or(not_now) else {
                return Err(answer::nobody(&nobody, self.over_tls));
            };
            tokio::select! {
                biased;
                () = &mut is_over => return Err(failure),
                () = sleep(AGAIN_AFTER) => {}
            }
        }
    }
}

/// How the peers are spoken to.
fn wire(folder: Option<PathBuf>, addresses: &[String]) -> Result<Wire, Failure> {
    let Some(folder) = folder else {
        // Peers on this machine may speak plain HTTP, for development.
        return match addresses
            .iter()
            .find(|it| !crate::model::address::is_here(it))
        {
            None => Ok(Wire::Plain),
            Some(address) => Err(usage(
                &format!("the peer {address} is spoken to over TLS, and no certificate is named"),
                "name a folder with ca.pem, certificate.pem and key.pem with --tls or PRIMACY_TLS; on the host of a \
                 peer its own will do: the folder tls in its `folder`",
            )),
        };
    };
    let read = Credentials::of_folder(&folder, clock::wall_millis());
    let credentials = read.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
        usage(
            &format!("--tls or PRIMACY_TLS: {error}{cause}"),
            "name a folder with ca.pem, certificate.pem and key.pem",
        )
    })?;
    Ok(Wire::Tls(Tls::new(credentials)))
}

/// What is sent with every request. Never shown.
fn header(text: &str) -> Result<HeaderValue, Failure> {
    let token = BearerToken::parse(text).map(|token| format!("Bearer {}", token.reveal()));
    let value = token.and_then(|text| HeaderValue::from_str(&text).ok());
    let mut value = value.ok_or_else(|| {
        usage(
            "PRIMACY_TOKEN: it is no whole token",
            "copy it as a whole; it begins with primacy-token-1.",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn usage(text: &str, hint: &str) -> Failure {
    Failure {
        exit: Exit::Usage,
        text: text.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

/// The addresses as they are typed: `host:port`, also as `http://host:port/`, separated by commas or spaces.
fn parsed(text: &str) -> Result<Vec<String>, Failure> {
    let typed = text.split([',', ' ']).filter(|typed| !typed.is_empty());
    typed
        .map(|typed| {
            let plain = typed.strip_prefix("http://").unwrap_or(typed);
            let plain = plain.strip_prefix("https://").unwrap_or(plain);
            let plain = plain.trim_end_matches('/');
            if is_address(plain) {
                return Ok(plain.to_owned());
            }
            Err(Failure {
                exit: Exit::Usage,
                text: format!("--api or PRIMACY_API: {typed} is not host:port"),
                hint: Some("write for example 10.0.0.1:7001,10.0.0.2:7001".to_owned()),
            })
        })
        .collect()
}

fn is_address(text: &str) -> bool {
    crate::server::config::port(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_a_usage_error_that_names_it() {
        let good = parsed("127.0.0.1:7001, https://h.example:1/ [::1]:7001").unwrap();
        assert_eq!(good, ["127.0.0.1:7001", "h.example:1", "[::1]:7001"]);
        for bad in [
            "nonsense",
            "127.0.0.1",
            "127.0.0.1:99999",
            "127.0.0.1:0",
            "h:x",
            ":7001",
            "me@h:7001",
            "h:7001/path",
        ] {
            let failure = parsed(&format!("h:1,{bad}")).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            let expected = format!("--api or PRIMACY_API: {bad} is not host:port");
            assert_eq!(failure.text, expected);
        }
    }
}
