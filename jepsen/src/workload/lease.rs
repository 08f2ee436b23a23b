//! Asks every agent what it promised and how long its lease lasts: evidence for `lease` and `fence`.
//!
//! Only what is sure is recorded. An answer that came between t0 and t1 and says "r ms left" proves a lease
//! from t1 to t0 + r. Of an instance that is no primary and holds no lease, answers in a row prove that it
//! stays fenced from the end of the first to the beginning of the last.

use serde::Deserialize;

use crate::clock::{self, Moment};
use crate::history::{ClientLog, Fence, Lease, Operation, Process, Recorder};
use crate::http::Http;

use super::status::{ANSWER_WITHIN, Endpoint};
use super::{Pace, WorkloadError};

/// What an agent says, in the fields of its health endpoint that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Told {
    role: String,
    primacy: Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Held {
    epoch: Option<u64>,
    lease_remaining_ms: u64,
}

/// One answer and when it was asked for and came.
#[derive(Debug, Clone)]
struct Look {
    asked: Moment,
    answered: Moment,
    told: Option<Told>,
}

/// A node that is being seen fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fenced {
    epoch: u64,
    since: Moment,
    surely_until: Moment,
}

/// What a look says about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Lease(Lease),
    Fenced(Fenced),
}

/// Watches one agent; one for each, every 100 ms.
///
/// # Errors
/// The history cannot be written.
pub async fn run(agent: Endpoint, recorder: &Recorder, pace: Pace) -> Result<(), WorkloadError> {
    let http = Http::new(agent.certificate.as_ref());
    let mut log = recorder.client("lease")?;
    let mut beats = pace.beats();
    let mut fenced: Option<Fenced> = None;
    while beats.next().await {
        let asked = clock::now();
        let told = http.get(&agent.address, "/patroni", ANSWER_WITHIN).await;
        let look = Look {
            asked,
            answered: clock::now(),
            told: told.ok(),
        };
        let said = judge(&agent.name, &look, fenced.as_ref());
        if let Some(Said::Lease(lease)) = &said {
            log.remark(observer(), Operation::Lease(lease.clone()))?;
        }
        let now = match said {
            Some(Said::Fenced(now)) => Some(now),
            Some(Said::Lease(_)) | None => None,
        };
        let since = |fenced: &Option<Fenced>| fenced.as_ref().map(|it| it.since);
        if since(&now) != since(&fenced) {
            record(&mut log, &agent.name, fenced.take())?;
        }
        fenced = now;
    }
    record(&mut log, &agent.name, fenced)
}

/// What a look proves, given since when the node was fenced before.
fn judge(node: &str, look: &Look, before: Option<&Fenced>) -> Option<Said> {
    let told = look.told.as_ref()?;
    let epoch = told.primacy.epoch?;
    let remaining = told.primacy.lease_remaining_ms;
    if remaining > 0 {
        let until = look.asked.0 + remaining * 1_000_000;
        return (until > look.answered.0).then(|| {
            Said::Lease(Lease {
                holder: node.to_owned(),
                epoch,
                from: look.answered.0,
                until,
            })
        });
    }
    // Without a lease an agent that just started may still have a primary under the leash's deadline.
    if told.role == "primary" {
        return None;
    }
    let begins = Fenced {
        epoch,
        since: look.answered,
        surely_until: look.answered,
    };
    let goes_on = before.filter(|it| it.epoch == epoch).map(|before| Fenced {
        surely_until: look.asked.max(before.since),
        ..before.clone()
    });
    Some(Said::Fenced(goes_on.unwrap_or(begins)))
}

/// Writes a finished period at the times at which it began and surely lasted.
fn record(log: &mut ClientLog, node: &str, fenced: Option<Fenced>) -> Result<(), WorkloadError> {
    let Some(fenced) = fenced.filter(|it| it.surely_until > it.since) else {
        return Ok(());
    };
    let fence = Fence {
        node: node.to_owned(),
        epoch: fenced.epoch,
    };
    log.remark_at(fenced.since, observer(), Operation::Fence(fence.clone()))?;
    log.remark_at(fenced.surely_until, observer(), Operation::Unfence(fence))?;
    Ok(())
}

fn observer() -> Process {
    Process::Named("observer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(from: u64, to: u64, role: &str, lease: u64) -> Look {
        let ms = |ms| Moment(ms * 1_000_000);
        Look {
            asked: ms(from),
            answered: ms(to),
            told: Some(Told {
                role: role.to_owned(),
                primacy: Held {
                    epoch: Some(5),
                    lease_remaining_ms: lease,
                },
            }),
        }
    }

    #[test]
    fn a_lease_is_sure_from_the_answer_to_the_question_and_what_was_left() {
        let Some(Said::Lease(lease)) = judge("a", &look(10, 12, "primary", 500), None) else {
            panic!("no lease");
        };
        assert_eq!((lease.from, lease.until), (12_000_000, 510_000_000));
        assert_eq!(judge("a", &look(10, 600, "primary", 500), None), None);
    }

    #[test]
    fn a_fence_is_sure_between_answers_in_a_row() {
        let Some(Said::Fenced(first)) = judge("a", &look(10, 12, "replica", 0), None) else {
            panic!("not fenced");
        };
        let Some(Said::Fenced(second)) = judge("a", &look(110, 130, "replica", 0), Some(&first))
        else {
            panic!("not fenced");
        };
        assert_eq!(second.since, Moment(12_000_000));
        assert_eq!(second.surely_until, Moment(110_000_000));
        assert_eq!(judge("a", &look(1, 2, "primary", 0), Some(&second)), None);
        let mut promised = look(110, 130, "replica", 0);
        promised.told.as_mut().unwrap().primacy.epoch = Some(6);
        let Some(Said::Fenced(renewed)) = judge("a", &promised, Some(&first)) else {
            panic!("not fenced");
        };
        assert_eq!((renewed.epoch, renewed.since), (6, Moment(130_000_000)));
        let silent = Look {
            told: None,
            ..look(1, 2, "", 0)
        };
        assert_eq!(judge("a", &silent, Some(&second)), None);
    }
}
