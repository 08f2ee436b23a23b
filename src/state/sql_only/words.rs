//! What evidence says, in the words of a history.

use crate::model::InstanceId;
use crate::recovery::sql_only::{SqlEvidence, SqlProof};

/// The event, its details, and who becomes the primary by it if that is said.
pub(super) fn in_words(evidence: &SqlEvidence) -> (&'static str, String, Option<&InstanceId>) {
    match evidence {
        SqlEvidence::Quieted { instance, position } => {
            ("quieted", format!("{instance} at {position}"), None)
        }
        SqlEvidence::Unquieted { instance } => ("unquieted", instance.to_string(), None),
        SqlEvidence::CaughtUp { instance } => ("caught_up", instance.to_string(), None),
        SqlEvidence::Revoked { instance, position } => {
            let at = position.map_or("unknown".to_owned(), |at| at.to_string());
            let detail = format!("{instance} receives nothing more, its WAL ends at {at}");
            ("fenced", detail, None)
        }
        SqlEvidence::Elected {
            candidate, proof, ..
        } => {
            let names: Vec<_> = proof.counted().iter().map(InstanceId::as_str).collect();
            let names = names.join(" and ");
            let detail = match proof {
                SqlProof::Quorum { .. } => {
                    format!("{candidate}: no commit that waited is lost, as {names} show")
                }
                SqlProof::BestOf { .. } => {
                    format!(
                        "{candidate}: it has no less than {names}; what was sent to none of them is lost"
                    )
                }
            };
            ("elected", detail, Some(candidate))
        }
        SqlEvidence::Promoted { instance, lineage } => {
            let detail = format!("{instance} on timeline {}", lineage.current);
            ("promoted", detail, Some(instance))
        }
        SqlEvidence::CannotPromote { instance, why } => {
            ("cannot_promote", format!("{instance}: {why}"), None)
        }
        SqlEvidence::Following { instance } => ("repointed", instance.to_string(), None),
        SqlEvidence::LeftBehind { instance, why } => {
            ("left_behind", format!("{instance}: {why}"), None)
        }
    }
}
