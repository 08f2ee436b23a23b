//! Everything that is wrong, in all clusters at once.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::decision::zones;
use crate::model::Scope;
use crate::server::Peer;

use super::clusters::{shown_to, view};
use super::pace::Array;
use super::views::ProblemView;

/// `GET /api/v1/problems`: the findings of all clusters that the caller may see, as [`ProblemView`]s: by cluster, in each the
/// most severe first. Before them the zones that many clusters have lost.
pub async fn list(State(peer): State<Arc<Peer>>, scope: Option<Extension<Scope>>) -> Response {
    let mut shown = Array::begin().await;
    let names = shown_to(&peer, scope.as_deref());
    let mut heard = vec![];
    for name in &names {
        heard.extend(peer.look_on(name, |state, view, _| zones::heard(state, view)));
        shown.part().await;
    }
    for zone in &zones::lost(&heard) {
        shown.push(&ProblemView::of_zone(zone));
    }
    for name in &names {
        let findings = view(&peer, name).map(|cluster| cluster.findings);
        for finding in findings.unwrap_or_default() {
            shown.push(&ProblemView {
                cluster: Some(name.to_string()),
                finding,
            });
        }
        shown.part().await;
    }
    shown.into_response()
}
