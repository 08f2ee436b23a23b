//! What stands before a peer and its callers.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming};
use tokio::sync::watch;

use super::Stage;

/// The callers that are not let through to one peer.
#[derive(Clone, Default)]
pub struct Door(Arc<Mutex<BTreeSet<u64>>>);

impl Door {
    /// Lets the calls of `from` through no longer, or again.
    pub fn refuse(&self, from: u64, is_refused: bool) {
        let mut refused = self.0.lock().unwrap();
        match is_refused {
            true => refused.insert(from),
            false => refused.remove(&from),
        };
    }

    /// Answers calls by whatever the peer is at that moment.
    pub fn answer(
        &self,
        stage: watch::Receiver<Stage>,
    ) -> impl Fn(Request<Incoming>) -> Answer + Clone + use<> {
        let door = self.clone();
        move |request| {
            let from = request.headers().get("raft-from");
            let from = from.and_then(|from| from.to_str().ok()?.parse().ok());
            let is_refused = from.is_some_and(|from| door.0.lock().unwrap().contains(&from));
            let stage = stage.borrow().clone();
            Box::pin(async move {
                match stage {
                    _ if is_refused => closed(),
                    Stage::Newborn(newborn) => newborn.handle(request).await,
                    Stage::Started(consensus) => consensus.handle(request).await,
                    Stage::Refused(_) => closed(),
                }
            })
        }
    }
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

fn closed() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
