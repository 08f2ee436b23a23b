//! Calls to the other peers.
//!
//! Each target has one connection for entries, one for heartbeats and one for snapshots, so that none waits behind
//! another. Every call has a deadline: the one that openraft gives it, but for entries, see [`entries_within`]. An answer that is not an answer (refused, wrong
//! group, stopped) counts as unreachable, because openraft repeats other failures at once and would spin.

use std::{future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode, Uri,
    header::{HOST, HeaderValue},
};
use openraft::{
    BasicNode, OptionalSend, RPCTypes,
    errors::{NetworkError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::time::Instant;

use crate::{
    GroupId,
    birth::{BirthQuestion, Told},
    connection::{CallError, Connection},
    record,
    transport::Transport,
    types::{RpcError, Snapshot, TypeConfig, Vote},
    wire::{Call, MAX_ANSWER_BYTES, PATH_PREFIX, Question, Route, SnapshotRequest},
};

/// Makes the callers, one for each target and purpose.
pub(crate) struct Network {
    pub(crate) group: GroupId,
    pub(crate) beginning: u64,
    pub(crate) id: u64,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) election_max: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Caller;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Caller {
        Caller::new(
            Route {
                group: self.group,
                beginning: self.beginning,
                from: self.id,
                to: target,
                election_max: self.election_max,
            },
            node.addr.clone(),
            self.transport.clone(),
        )
    }
}

/// Calls one peer.
pub(crate) struct Caller {
    route: Route,
    connection: Connection,
}

impl Caller {
    pub(crate) fn new(route: Route, address: String, transport: Arc<dyn Transport>) -> Self {
        Self {
            route,
            connection: Connection::new(transport, route.to, address),
        }
    }

    /// Asks a peer how far it is in the birth of its group.
    ///
    /// # Errors
    /// Words for people: it did not answer within `deadline`, or not so that it could be read.
    pub(crate) async fn ask_birth(&mut self, deadline: Duration) -> Result<Told, String> {
        let body = record::seal(&BirthQuestion).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(deadline, self.exchange(Call::Birth, body))
            .await
            .map_err(|late| late.to_string())?
            .map_err(|error| error.to_string())?;
        record::unseal(&answer, MAX_ANSWER_BYTES).map_err(|error| error.to_string())
    }

    /// On a slow link a handshake and a heartbeat take longer together than a heartbeat may, and who gives the call up takes
    /// the connection with it: for ever. So one that was made too late is kept for the next heartbeat.
    async fn connect_for_heartbeat(&mut self, within: Duration) -> Result<(), RpcError> {
        let began = Instant::now();
        let connected = tokio::time::timeout(within, self.connection.ready()).await;
        let late = io::Error::new(io::ErrorKind::TimedOut, "connected too late for this call");
        match connected {
            Ok(Ok(())) if began.elapsed() < within / 2 => Ok(()),
            Ok(Err(error)) => Err(unreachable(&error)),
            Ok(Ok(())) | Err(_) => Err(unreachable(&late)),
        }
    }

    async fn ask<Q: Question>(
        &mut self,
        call: Call,
        kind: RPCTypes,
        question: &Q,
        deadline: impl FnOnce(usize) -> Duration,
    ) -> Result<Q::Answer, RpcError> {
        let body =
            record::seal(question).map_err(|error| RpcError::Network(NetworkError::new(&error)))?;
        let deadline = deadline(body.len());
        match tokio::time::timeout(deadline, self.exchange(call, body)).await {
            Ok(answer) => {
                let answer = answer?;
                record::unseal(&answer, MAX_ANSWER_BYTES).map_err(|error| unreachable(&error))
            }
            Err(_) => Err(RpcError::Timeout(Timeout {
                action: kind,
                id: self.route.from,
                target: self.route.to,
                timeout: deadline,
            })),
        }
    }

    async fn exchange(&mut self, call: Call, body: Vec<u8>) -> Result<Bytes, RpcError> {
        let path: Uri = format!("{PATH_PREFIX}{}", call.name())
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| unreachable(&error))?;
        let host = HeaderValue::from_str(self.connection.address())
            .map_err(|error| unreachable(&error))?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = path;
        *request.headers_mut() = self.route.headers();
        request.headers_mut().insert(HOST, host);

        let answer = self.connection.send(request, MAX_ANSWER_BYTES).await;
        let (status, body) = answer.map_err(|error| match error {
            CallError::Connect(_) => unreachable(&error),
            CallError::Broken(_) => RpcError::Network(NetworkError::new(&error)),
        })?;
        if status == StatusCode::OK {
            Ok(body)
        } else {
            let text = format!(
                "peer {} answers {status}: {}",
                self.route.to,
                String::from_utf8_lossy(&body)
            );
            Err(RpcError::Unreachable(Unreachable::from_string(text)))
        }
    }
}

/// How long a call may take that carries entries, `bytes` of them, and waits for the disk of the other end. openraft
/// gives it one heartbeat, in which a slow link never carries a large one; heartbeats have a connection of their own and
/// do not wait for it.
pub(crate) fn entries_within(election_max: Duration, bytes: usize) -> Duration {
    /// Per second: the slowest link that peers are good for, 1 Mbit/s.
    const SLOWEST: u64 = 128 * 1024;
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    election_max + Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST)
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RpcError {
    RpcError::Unreachable(Unreachable::new(error))
}

impl RaftNetworkV2<TypeConfig> for Caller {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let election_max = self.route.election_max;
        let is_heartbeat = request.entries.is_empty();
        if is_heartbeat {
            self.connect_for_heartbeat(option.soft_ttl()).await?;
        }
        let deadline = |bytes| match is_heartbeat {
            true => option.soft_ttl(),
            false => entries_within(election_max, bytes),
        };
        self.ask(Call::Append, RPCTypes::AppendEntries, &request, deadline)
            .await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask(Call::Vote, RPCTypes::Vote, &request, |_| option.soft_ttl())
            .await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask(Call::PreVote, RPCTypes::Vote, &request, |_| {
            option.soft_ttl()
        })
        .await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let deadline = |_| option.soft_ttl();
        self.ask(Call::Transfer, RPCTypes::TransferLeader, &request, deadline)
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let request = SnapshotRequest {
            vote,
            meta: snapshot.meta,
            image: snapshot.snapshot,
        };
        let deadline = |_| option.soft_ttl();
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.ask(Call::Snapshot, RPCTypes::InstallSnapshot, &request, deadline) => Ok(answer?),
        }
    }
}
