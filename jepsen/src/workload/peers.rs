//! Watches the peers and the recorded recoveries: evidence for the checkers `raft` and `recovery`.

use serde::Deserialize;

use crate::history::{Answerer, Operation, PeerState, Process, Recorder, Recovery};
use crate::http::Http;

use super::status::{ANSWER_WITHIN, Endpoint};
use super::{Pace, WorkloadError};

#[derive(Debug, Deserialize)]
struct Peer {
    id: u64,
    role: String,
    term: Option<u64>,
    applied_index: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    id: u64,
    address: String,
}

#[derive(Debug, Deserialize)]
struct Recorded {
    id: u64,
    epoch: u64,
    to: Option<String>,
    outcome: Option<String>,
    verdict: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    event: String,
}

/// Asks one peer for its account of itself; one client for each peer, every 100 ms.
///
/// # Errors
/// The history cannot be written.
pub async fn watch_peer(
    peer: Endpoint,
    recorder: &Recorder,
    pace: Pace,
) -> Result<(), WorkloadError> {
    let http = Http::new(peer.certificate.as_ref());
    // As in the configuration, until another peer has taken its place there.
    let mut number = peer.name.trim_start_matches('p').parse().unwrap_or(0);
    let mut log = recorder.client("peer")?;
    let mut beats = pace.beats();
    while beats.next().await {
        let asked = PeerState {
            peer: peer.name.clone(),
            number: None,
            term: 0,
            leads: false,
            committed: None,
            applied: None,
        };
        let mut pending = log.invoke(Operation::Peer(asked.clone()))?;
        pending.answered_by(Answerer {
            node: peer.name.clone(),
            timeline: None,
        });
        let path = format!("/api/v1/peers/{number}");
        let told = http.get::<Peer>(&peer.address, &path, ANSWER_WITHIN).await;
        match told {
            Err(error) => {
                pending.fail(format!("{error:#}"))?;
                let listed = http.get::<Vec<Listed>>(&peer.address, "/api/v1/peers", ANSWER_WITHIN);
                let listed = listed.await.unwrap_or_default();
                let own = listed.iter().find(|it| it.address == peer.address);
                number = own.map_or(number, |own| own.id);
            }
            Ok(Peer { term: None, .. }) => pending.fail("it tells no term")?,
            Ok(Peer {
                id,
                role,
                term: Some(term),
                applied_index,
            }) => pending.ok(Operation::Peer(PeerState {
                number: Some(id),
                term,
                leads: role == "leader",
                applied: applied_index,
                ..asked
            }))?,
        }
    }
    Ok(())
}

/// Records the recoveries whenever they changed, as the first peer that answers tells them; one more time
/// after the end, so that what happened last is seen.
///
/// # Errors
/// The history cannot be written.
pub async fn watch_recoveries(
    peers: Vec<Endpoint>,
    cluster: &str,
    recorder: &Recorder,
    pace: Pace,
) -> Result<(), WorkloadError> {
    let http = Http::new(peers.first().and_then(|peer| peer.certificate.as_ref()));
    let path = format!("/api/v1/clusters/{cluster}/history");
    let mut log = recorder.client("recovery")?;
    let mut beats = pace.beats();
    let mut seen: Vec<Recovery> = vec![];
    loop {
        let goes_on = beats.next().await;
        for peer in &peers {
            let told = http.get::<Vec<Recorded>>(&peer.address, &path, ANSWER_WITHIN);
            let Ok(told) = told.await else { continue };
            let now: Vec<Recovery> = told.into_iter().map(recovery).collect();
            for changed in now.iter().filter(|it| !seen.contains(it)) {
                let observer = Process::Named("observer".to_owned());
                log.remark(observer, Operation::Recovery(changed.clone()))?;
            }
            seen = now;
            break;
        }
        if !goes_on {
            return Ok(());
        }
    }
}

fn recovery(recorded: Recorded) -> Recovery {
    let is_promoted = recorded.entries.iter().any(|it| it.event == "promoted");
    Recovery {
        id: recorded.id,
        epoch: recorded.epoch,
        promoted: recorded.to.filter(|_| is_promoted),
        outcome: recorded.outcome,
        verdict: recorded.verdict,
    }
}
