//! A change of primary as a CloudEvent (version 1.0, structured JSON) sent to a URL.

use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::web::Web;
use crate::clock;
use crate::model::ClusterName;
use crate::server::config::Webhook;
use crate::state::PublishedPrimary;

/// What kind of event it is.
const KIND: &str = "primacy.primary.changed";

/// The event that this is the primary. Sent again it has the same id, also by another leader.
pub(super) fn event(group: &str, cluster: &ClusterName, primary: &PublishedPrimary) -> Value {
    let PublishedPrimary {
        instance,
        address,
        epoch,
        timeline,
        since,
    } = primary;
    json!({
        "specversion": "1.0",
        "id": format!("{cluster}/{epoch}/{timeline}/{instance}/{since}"),
        "source": format!("/primacy/{group}"),
        "type": KIND,
        "subject": cluster.to_string(),
        "time": clock::text_of(*since),
        "datacontenttype": "application/json",
        "data": {
            "cluster": cluster.to_string(),
            "primary": instance.to_string(),
            "host": address.host,
            "port": address.port,
            "epoch": epoch.0,
            "timeline": timeline.0,
        },
    })
}

/// Sends it. Errors: in words, without the URL.
pub(super) async fn send(web: &Web, to: &Webhook, event: &Value) -> Result<(), String> {
    let request = Request::post(to.url())
        .header(CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")
        .body(Full::from(event.to_string()));
    let request = request.map_err(|error| error.to_string())?;
    let (status, _) = web.call(request).await?;
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("it answered {status}")),
    }
}
