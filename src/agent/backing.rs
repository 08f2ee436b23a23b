//! Agents among themselves: a primary whose peers are out of reach asks those of the standbys whether they back it. What it
//! means is [`crate::duty::backing`]'s; this carries question and answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes as Body;
use axum::extract::{Extension, FromRequest, State};
use axum::http::{StatusCode, header::HOST};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::claim::Claim;
use super::session::Incoming;
use crate::control::backing::{BACK_PATH, BackRequest};
use crate::model::{Address, ClusterName, Epoch, InstanceId};
use crate::security::{Caller, Expected, Who, Wire};

/// A question that is not answered by then is asked again: it was sent once half of the lease was over, or less.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The longest answer that is read: why not, in words.
const WORDS: usize = 4096;

/// A question of another agent, for the worker.
#[derive(Debug)]
pub struct Asked {
    /// The epoch whose primary asks.
    pub epoch: Epoch,
    /// Whether only an instance that receives from it counts.
    pub receiving: bool,
    /// Told once the word is on disk; an error says why it is not given.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// What the route knows.
#[derive(Debug, Clone)]
pub struct Backer {
    /// Of this agent.
    pub cluster: ClusterName,
    /// Of this agent.
    pub instance: InstanceId,
    /// The Raft group that it obeys.
    pub group: watch::Receiver<Option<String>>,
    /// What the peers say to this agent's claim to be the one of its instance.
    pub claim: Arc<Claim>,
    /// Who gives the word.
    pub worker: mpsc::Sender<Incoming>,
}

impl Backer {
    /// Whether this caller may ask so, and in this cluster; else why not.
    fn is_for_us(
        &self,
        caller: &Caller,
        request: &BackRequest,
    ) -> Result<(), (StatusCode, String)> {
        let asker = Who::Agent {
            cluster: request.cluster.clone(),
            instance: request.instance.clone(),
        };
        let is_itself = match caller {
            Caller::Unchecked => true,
            Caller::Anonymous => false,
            Caller::Known(identity) => identity.who == asker,
        };
        let refuse = |status, why: &str| Err((status, why.to_owned()));
        if !is_itself {
            return refuse(
                StatusCode::FORBIDDEN,
                "its certificate is not that of this agent",
            );
        }
        if request.cluster != self.cluster || request.instance == self.instance {
            return refuse(
                StatusCode::CONFLICT,
                "this is the agent of another cluster, or the same one",
            );
        }
        if self.claim.is_outvoted() {
            return refuse(
                StatusCode::CONFLICT,
                "the peers obey another agent of this instance",
            );
        }
        if self.group.borrow().as_ref() != Some(&request.group) {
            return refuse(StatusCode::CONFLICT, "this agent obeys another Raft group");
        }
        Ok(())
    }
}

/// `POST` [`BACK_PATH`]. Of whom nobody knows, not a byte of the body is read.
pub async fn answer(
    State(backer): State<Backer>,
    Extension(caller): Extension<Caller>,
    request: axum::extract::Request,
) -> (StatusCode, String) {
    if caller == Caller::Anonymous {
        return (
            StatusCode::FORBIDDEN,
            "this is for agents, with a certificate".to_owned(),
        );
    }
    let answered = timeout(ANSWER_WITHIN, word(backer, caller, request)).await;
    answered.unwrap_or_else(|_| (StatusCode::SERVICE_UNAVAILABLE, "it is busy".to_owned()))
}

async fn word(
    backer: Backer,
    caller: Caller,
    request: axum::extract::Request,
) -> (StatusCode, String) {
    let body = match Body::from_request(request, &()).await {
        Ok(body) => body,
        Err(error) => return (error.status(), error.body_text()),
    };
    let request: BackRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()),
    };
    if let Err(refusal) = backer.is_for_us(&caller, &request) {
        return refusal;
    }
    let (answer, given) = oneshot::channel();
    let asked = Incoming::Back(Asked {
        epoch: request.epoch,
        receiving: request.receiving,
        answer,
    });
    // A worker that is gone ends the process.
    if backer.worker.send(asked).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "it ends".to_owned());
    }
    match given.await {
        Ok(Ok(())) => (StatusCode::NO_CONTENT, String::new()),
        Ok(Err(why)) => (StatusCode::CONFLICT, why),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "it ends".to_owned()),
    }
}

/// Asks the agent of `whom` at this address. Errors: why there is no word, in words.
pub async fn ask(
    wire: Wire,
    whom: InstanceId,
    at: Address,
    request: BackRequest,
) -> Result<(), String> {
    match timeout(ANSWER_WITHIN, told(&wire, whom, &at, &request)).await {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

async fn told(
    wire: &Wire,
    whom: InstanceId,
    at: &Address,
    request: &BackRequest,
) -> io::Result<Result<(), String>> {
    let stream = TcpStream::connect((at.host.as_str(), at.port)).await?;
    stream.set_nodelay(true)?;
    let expected = Expected::Exactly(Who::Agent {
        cluster: request.cluster.clone(),
        instance: whom,
    });
    let stream = wire.call(stream, expected).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error is the request's error too.
        let _ = connection.await;
    });
    let body = serde_json::to_vec(request).expect("names and numbers become JSON");
    let request = Request::post(BACK_PATH)
        .header(HOST, at.to_string())
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(Ok(()));
    }
    let status = response.status();
    let words = Limited::new(response.into_body(), WORDS).collect().await;
    let words = words.map_err(io::Error::other)?.to_bytes();
    Ok(Err(format!(
        "{status}: {}",
        String::from_utf8_lossy(&words)
    )))
}
