//! Answers the calls of the other peers.
//!
//! A call is refused, in plain words, before its body is read if it is not for this peer, and before its body is
//! decoded if it is too long. Whatever is decoded is openraft's to judge.

use std::{error::Error, fmt::Display, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Body};
use openraft::{
    Instant as _,
    raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest},
};

use crate::{
    Config, Consensus, StateMachine, VerifiedPeer,
    birth::BirthQuestion,
    lease::Instant,
    network::entries_within,
    record,
    types::{Snapshot, TypeConfig},
    wire::{Call, Misrouted, Question, Route, SnapshotRequest},
};

/// Why a call is not answered.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: String,
    /// It is answered a moment later: nothing for the log.
    is_passing: bool,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Display) -> Self {
        Self {
            status,
            text: text.to_string(),
            is_passing: false,
        }
    }

    /// This call is for this peer, and answered once the peer has come further.
    pub(crate) fn not_yet(text: &str) -> Self {
        Self {
            is_passing: true,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Misrouted> for Refusal {
    fn from(misrouted: Misrouted) -> Self {
        let status = match misrouted {
            Misrouted::Header(_) | Misrouted::Protocol(_) => StatusCode::BAD_REQUEST,
            Misrouted::Group(_)
            | Misrouted::Beginning
            | Misrouted::Recipient(_)
            | Misrouted::Timing { .. } => StatusCode::MISDIRECTED_REQUEST,
        };
        Self::new(status, misrouted)
    }
}

impl<S: StateMachine> Consensus<S> {
    /// Answers one HTTP request of another peer; mount it for everything below
    /// [`PATH_PREFIX`](crate::PATH_PREFIX).
    ///
    /// A request that is not answered gets a status and a line of text: 404 and 405 for what is no call, 400 if its
    /// headers or body cannot be read, 403 if the transport proves another caller or, although it verifies, none, 408
    /// if its body does not arrive, 413 if it is too long, 421 if it is meant for another group or peer or another timing, 503 if this
    /// peer has stopped, or for a moment after its start. Dropping the future leaves the call unanswered; its effect
    /// may or may not take place, as with any lost answer.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        to_response(self.id(), self.answer(request).await)
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Vec<u8>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let call = accept(&request, &self.parts().config)?;
        let timing = self.timing();
        // As long as its sender gives it.
        let within = match call {
            Call::Append => entries_within(timing.election_max, call.limit()),
            Call::Vote | Call::PreVote | Call::Snapshot | Call::Transfer | Call::Birth => {
                timing.snapshot_transfer
            }
        };
        let body = collect(request, call.limit(), within).await?;
        let raft = self.raft();
        match call {
            Call::Vote | Call::PreVote
                if self.parts().silence.holds() && !is_handover(&body, call) =>
            {
                Err(Refusal::not_yet(
                    "this peer has just started and votes when any lease it granted before has ended",
                ))
            }
            Call::Append => {
                let arrived = Instant::now();
                let append = |question: AppendEntriesRequest<TypeConfig>| async {
                    let committed = question.leader_commit.map(|id| id.index);
                    raft.append_entries(question).await.inspect(|answer| {
                        let is_taken = matches!(
                            answer,
                            AppendEntriesResponse::Success
                                | AppendEntriesResponse::PartialSuccess(_)
                        );
                        if is_taken {
                            let applied = self.parts().view.borrow().applied_index;
                            self.parts().heard.note(arrived, committed, applied);
                        }
                    })
                };
                respond(&body, call, append).await
            }
            Call::Vote => respond(&body, call, |question| raft.vote(question)).await,
            Call::PreVote => respond(&body, call, |question| raft.pre_vote(question)).await,
            Call::Transfer => {
                respond(&body, call, |question| {
                    raft.handle_transfer_leader(question)
                })
                .await
            }
            Call::Snapshot => {
                respond(&body, call, |SnapshotRequest { vote, meta, image }| {
                    raft.install_full_snapshot(
                        vote,
                        Snapshot {
                            meta,
                            snapshot: image,
                        },
                    )
                })
                .await
            }
            Call::Birth => {
                let told = self.told();
                respond(&body, call, |BirthQuestion| async {
                    Ok::<_, Refusal>(told)
                })
                .await
            }
        }
    }
}

/// Whether the leader itself wants the vote given, which needs no lease any more: then a peer that has just started votes
/// as every other. In a rolling restart most of them have, and without their votes the group would wait for an election.
fn is_handover(body: &[u8], call: Call) -> bool {
    record::unseal::<VoteRequest<TypeConfig>>(body, call.limit())
        .is_ok_and(|question| question.leadership_transfer)
}

/// Refuses a caller that is not the peer whose name it uses: whoever speaks for two peers can vote twice.
fn check_caller(
    claimed: u64,
    proven: Option<VerifiedPeer>,
    must_be_proven: bool,
) -> Result<(), Refusal> {
    let refuse = |text| Err(Refusal::new(StatusCode::FORBIDDEN, text));
    match proven {
        Some(VerifiedPeer(peer)) if peer == claimed => Ok(()),
        Some(VerifiedPeer(peer)) => refuse(format!("peer {peer} calls as peer {claimed}")),
        None if must_be_proven => refuse(format!("nothing proves that this is peer {claimed}")),
        None => Ok(()),
    }
}

/// Which call it is, if it is one for the peer of `config`, and from whom it says.
pub(crate) fn accept<B>(request: &Request<B>, config: &Config) -> Result<Call, Refusal> {
    let path = request.uri().path();
    let call = Call::at(path)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("no call at {path}")))?;
    if request.method() != Method::POST {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "calls are posted",
        ));
    }
    let claimed = Route::check(request.headers(), config.addressee())?;
    let proven = request.extensions().get().copied();
    check_caller(claimed, proven, config.transport.verifies())?;
    Ok(call)
}

/// The body of a call, if it is not longer than `limit` bytes and arrives within `deadline`.
pub(crate) async fn collect<B>(
    request: Request<B>,
    limit: usize,
    deadline: Duration,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let body = Limited::new(request.into_body(), limit).collect();
    match tokio::time::timeout(deadline, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("body is over {limit} bytes"),
        )),
        Ok(Err(error)) => Err(Refusal::new(StatusCode::BAD_REQUEST, error)),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "body did not arrive in time",
        )),
    }
}

/// The HTTP response to a call to peer `id`.
pub(crate) fn to_response(id: u64, answer: Result<Vec<u8>, Refusal>) -> Response<Full<Bytes>> {
    let (status, body) = match answer {
        Ok(record) => (StatusCode::OK, record),
        Err(refusal) => {
            let (status, reason) = (refusal.status, &refusal.text);
            if refusal.is_passing {
                tracing::debug!(peer = id, %status, reason, "refused a call for now");
            } else {
                tracing::warn!(peer = id, %status, reason, "refused a call");
            }
            (status, refusal.text.into_bytes())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

pub(crate) async fn respond<Q, F, E>(
    body: &[u8],
    call: Call,
    ask: impl FnOnce(Q) -> F,
) -> Result<Vec<u8>, Refusal>
where
    Q: Question,
    F: Future<Output = Result<Q::Answer, E>>,
    E: Display,
{
    let question = record::unseal(body, call.limit())
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error))?;
    let answer = ask(question)
        .await
        .map_err(|error| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
    record::seal(&answer).map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))
}
