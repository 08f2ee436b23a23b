//! Why a change was not made, or may not have been, as problems.

use axum::http::StatusCode;
use raft::{ChangeError, ProposeError, TransferError};

use crate::server::propose::NotRecorded;

use super::problem::Problem;

/// Whether the change was made is not known.
pub(super) fn outcome_unknown(why: &str) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "outcome-unknown",
        format!("whether the change was made is not known: {why}"),
    )
    .hint("send it again with the same Idempotency-Key: it takes effect once")
}

/// The change was asked for too long ago.
fn expired() -> Problem {
    Problem::new(
        StatusCode::GONE,
        "expired",
        "the change was asked for so long ago that whether it was made is no longer known",
    )
    .hint("look, then send it again with a new Idempotency-Key if it was not made")
}

/// The key was used for something else.
fn key_reused() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "key-reused",
        "this Idempotency-Key was used for another change",
    )
    .hint("draw a new one for each change")
}

pub(super) fn unknown_peer(detail: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-peer", detail)
        .hint("GET /api/v1/peers lists the peers")
}

pub(super) fn not_recorded(error: NotRecorded) -> Problem {
    match error {
        NotRecorded::Proposal(ProposeError::NotLeader { .. }) => Problem::no_leader(),
        NotRecorded::KeyReused => key_reused(),
        NotRecorded::Expired => expired(),
        NotRecorded::TooNew { .. } => Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "feature-level",
            error.to_string(),
        )
        .hint("GET /api/v1/peers says what each peer speaks; the change was not made"),
        NotRecorded::Proposal(error) => outcome_unknown(&error.to_string()),
    }
}

fn unmet(problem: Problem) -> Problem {
    problem.hint("GET /api/v1/peers says who answers and how far each is; the group is as it was")
}

pub(super) fn change_refused(error: &ChangeError) -> Problem {
    match error {
        // The leader of the moment is asked again.
        ChangeError::NotLeader { .. } | ChangeError::HandedOver { .. } => Problem::no_leader(),
        ChangeError::UnderWay => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "under-way",
            error.to_string(),
        )
        .hint("ask again in a moment"),
        ChangeError::NoMember { .. } => unknown_peer(error.to_string()),
        ChangeError::BornAlone => Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "born-alone",
            error.to_string(),
        )
        .hint("list three peers in the configuration of a new group"),
        ChangeError::Exists { .. } | ChangeError::HasVote { .. } => {
            Problem::new(StatusCode::CONFLICT, "exists", error.to_string())
                .hint("GET /api/v1/peers lists the peers")
        }
        ChangeError::Silent { .. } => unmet(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "silent",
            error.to_string(),
        )),
        ChangeError::Behind { .. } => unmet(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "behind",
            error.to_string(),
        )),
        ChangeError::LastVoter { .. } | ChangeError::NoQuorum { .. } => unmet(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "no-quorum",
            error.to_string(),
        )),
        ChangeError::Transfer(error) => transfer_refused(error),
        ChangeError::Unknown | ChangeError::Stopped(_) => outcome_unknown(&error.to_string()),
    }
}

pub(super) fn transfer_refused(error: &TransferError) -> Problem {
    match error {
        TransferError::NotLeader { .. } => Problem::no_leader(),
        TransferError::NotAVoter { .. } => unmet(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "no-vote",
            error.to_string(),
        )),
        TransferError::Silent { .. } | TransferError::Behind { .. } => unmet(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "behind",
            error.to_string(),
        )),
        TransferError::Nobody => unmet(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "silent",
            error.to_string(),
        )),
        TransferError::NotTaken { .. } | TransferError::Stopped(_) => {
            outcome_unknown(&error.to_string())
        }
    }
}
