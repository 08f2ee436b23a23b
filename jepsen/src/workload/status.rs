//! Asks the peers who is in charge: the primary of the cluster and the leader of the peers, with each
//! consistency that the API offers.

use std::time::Duration;

use serde::Deserialize;

use crate::history::{Answerer, Consistency, Operation, Recorder, Status};
use crate::http::{Certificate, Http};

use super::{Pace, WorkloadError};

/// How long an answer may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A peer, or an agent: where it answers HTTP.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its `host:port`.
    pub address: String,
    /// What is shown to it; none of those that speak plain HTTP.
    pub certificate: Option<Certificate>,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    epoch: u64,
    primary: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Leader {
    term: u64,
    leader: u64,
}

/// One client. With stale consistency it keeps asking the first endpoint; otherwise it goes around them.
/// At most 500 linearizable answers of one kind can be judged: choose the pace by the length of the run.
///
/// # Errors
/// The history cannot be written.
pub async fn run(
    peers: Vec<Endpoint>,
    cluster: &str,
    consistency: Consistency,
    recorder: &Recorder,
    pace: Pace,
) -> Result<(), WorkloadError> {
    let http = Http::new(peers.first().and_then(|peer| peer.certificate.as_ref()));
    let mut log = recorder.client("status")?;
    let mut beats = pace.beats();
    let mut turn = 0;
    while beats.next().await {
        // Two questions to a peer, then the next peer.
        let peer = match consistency {
            Consistency::Stale => peers.first(),
            Consistency::Linearizable => peers.get(turn / 2 % peers.len().max(1)),
        };
        let Some(peer) = peer else { return Ok(()) };
        let register = ["primary", "leader"][turn % 2];
        turn += 1;
        let asked = Status {
            register: register.to_owned(),
            consistency,
            number: None,
            holder: None,
        };
        let mut pending = log.invoke(Operation::Status(asked.clone()))?;
        pending.answered_by(Answerer {
            node: peer.name.clone(),
            timeline: None,
        });
        match ask(&http, &peer.address, cluster, &asked).await {
            Ok((number, holder)) => pending.ok(Operation::Status(Status {
                number: Some(number),
                holder,
                ..asked
            }))?,
            Err(error) => pending.fail(format!("{error:#}"))?,
        }
    }
    Ok(())
}

async fn ask(
    http: &Http,
    address: &str,
    cluster: &str,
    asked: &Status,
) -> anyhow::Result<(u64, Option<String>)> {
    let consistency = match asked.consistency {
        Consistency::Linearizable => "linearizable",
        Consistency::Stale => "stale",
    };
    if asked.register == "leader" {
        let path = format!("/api/v1/leader?consistency={consistency}");
        let leader: Leader = http.get(address, &path, ANSWER_WITHIN).await?;
        return Ok((leader.term, Some(leader.leader.to_string())));
    }
    let path = format!("/api/v1/clusters/{cluster}?consistency={consistency}");
    let cluster: Cluster = http.get(address, &path, ANSWER_WITHIN).await?;
    Ok((cluster.epoch, cluster.primary))
}
