//! Answers that may be large. One thread does all that a peer does, heartbeats too: so what may take long is made in small
//! parts with everything else between them, and few of them at once, because each has its part before the others go on.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::Instant;

/// How long one goes on before it is everybody else's turn: a hundredth of the time between two heartbeats.
const PART: Duration = Duration::from_millis(1);
/// So many arrays are made at once; the others wait, first come, first served.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Keeps work in small parts.
pub(super) struct Pace {
    since: Instant,
}

impl Pace {
    pub(super) fn begin() -> Pace {
        Pace {
            since: Instant::now(),
        }
    }

    /// Between two pieces of work: lets everybody else go on, if a part has passed.
    pub(super) async fn part(&mut self) {
        if self.since.elapsed() >= PART {
            yield_now().await;
            self.since = Instant::now();
        }
    }
}

/// A JSON array that is made one element at a time.
pub(super) struct Array {
    text: Vec<u8>,
    pace: Pace,
    _turn: SemaphorePermit<'static>,
}

impl Array {
    /// An empty one. Waits for its turn, which lasts until the answer is whole.
    pub(super) async fn begin() -> Array {
        let turn = TURNS.acquire().await.expect("nobody closes it");
        Array {
            text: b"[".to_vec(),
            pace: Pace::begin(),
            _turn: turn,
        }
    }

    /// One more element.
    pub(super) fn push(&mut self, element: &impl Serialize) {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        serde_json::to_writer(&mut self.text, element)
            .expect("what is shown has names as keys, and memory takes every byte");
    }

    /// See [`Pace::part`].
    pub(super) async fn part(&mut self) {
        self.pace.part().await;
    }
}

impl IntoResponse for Array {
    fn into_response(mut self) -> Response {
        self.text.push(b']');
        ([(CONTENT_TYPE, "application/json")], self.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use axum::body::to_bytes;
    use tokio::join;

    use super::*;

    #[tokio::test]
    async fn others_go_on_between_the_parts() {
        let went_on = Cell::new(false);
        let long = async {
            let (mut pace, begun) = (Pace::begin(), Instant::now());
            while !went_on.get() && begun.elapsed() < Duration::from_secs(30) {
                pace.part().await;
            }
            went_on.get()
        };
        let other = async { went_on.set(true) };
        // They are begun in this order.
        let (let_others, ()) = join!(long, other);
        assert!(let_others);
    }

    #[tokio::test]
    async fn an_array_is_one_whatever_its_length() {
        for (length, text) in [(0, "[]"), (1, "[0]"), (3, "[0,1,2]")] {
            let mut array = Array::begin().await;
            for element in 0..length {
                array.push(&element);
                array.part().await;
            }
            let response = array.into_response();
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            let body = to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(&body[..], text.as_bytes());
        }
    }
}
