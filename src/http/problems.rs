//! Everything that is wrong, in all clusters at once.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::model::Scope;
use crate::server::Peer;

use super::clusters::{shown_to, view};
use super::pace::Array;
use super::views::ProblemView;

/// `GET /api/v1/problems`: the findings of all clusters that the caller may see, as [`ProblemView`]s: by cluster, in each the
/// most severe first.
pub async fn list(State(peer): State<Arc<Peer>>, scope: Option<Extension<Scope>>) -> Response {
    let mut shown = Array::begin().await;
    for name in &shown_to(&peer, scope.as_deref()) {
        let findings = view(&peer, name).map(|cluster| cluster.findings);
        for finding in findings.unwrap_or_default() {
            shown.push(&ProblemView {
                cluster: name.to_string(),
                finding,
            });
        }
        shown.part().await;
    }
    shown.into_response()
}
