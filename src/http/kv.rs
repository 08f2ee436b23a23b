//! The primary of every cluster as key and value, read from any peer in the manner of Consul.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use data_encoding::BASE64;

use crate::model::{ClusterName, Scope};
use crate::server::Peer;
use crate::server::publish::keys;

use super::clusters::shown_to;
use super::problem::Problem;
use super::views::KeyView;

/// Where keys are read.
pub(super) const KV: &str = "/v1/kv/{*key}";

/// What the query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One entry, or with `recurse` all whose keys begin so.
    Entries { recurse: bool },
    /// The value of one, as it is.
    Raw,
}

fn form(uri: &Uri) -> Form {
    let asks = |name: &str| {
        let mut pairs = uri.query().unwrap_or_default().split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    };
    match asks("raw") {
        true => Form::Raw,
        false => Form::Entries {
            recurse: asks("recurse"),
        },
    }
}

/// `GET /v1/kv/{key}`: as this peer has applied the record, which may be a moment old; works without a leader. A cluster that
/// has no primary at the moment has no keys. Fails with `unknown-key`.
pub async fn get(
    State(peer): State<Arc<Peer>>,
    Path(key): Path<String>,
    scope: Option<Extension<Scope>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let prefix = &peer.config.publish.prefix;
    let mut clusters = shown_to(&peer, scope.as_deref());
    clusters.retain(|cluster| concerns(&key, &format!("{prefix}/{cluster}")));
    let found = found(&peer, &clusters, prefix);
    let begins = found.iter().filter(|(it, ..)| it.starts_with(&key));
    let mut own = found.iter().filter(|(it, ..)| *it == key);
    let entry = |(key, value, epoch): &(String, String, u64)| KeyView {
        key: key.clone(),
        value: BASE64.encode(value.as_bytes()),
        flags: 0,
        lock_index: 0,
        create_index: *epoch,
        modify_index: *epoch,
    };
    let unknown = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-key",
            format!("there is no key {key}"),
        )
        .hint(format!("GET /v1/kv/{prefix}?recurse lists them"))
    };
    match form(&uri) {
        Form::Raw => {
            let (_, value, _) = own.next().ok_or_else(unknown)?;
            Ok(value.clone().into_response())
        }
        Form::Entries { recurse } => {
            let entries: Vec<KeyView> = match recurse {
                true => begins.map(entry).collect(),
                false => own.map(entry).collect(),
            };
            match entries.is_empty() {
                true => Err(unknown()),
                false => Ok(Json(entries).into_response()),
            }
        }
    }
}

/// Whether a key or a beginning of keys may be one of those under `root`.
fn concerns(key: &str, root: &str) -> bool {
    key.starts_with(root) || root.starts_with(key)
}

/// Key, value and epoch of everything that is published of these clusters, by key.
fn found(peer: &Peer, clusters: &[ClusterName], prefix: &str) -> Vec<(String, String, u64)> {
    let group = peer.config.group.to_string();
    let mut all = vec![];
    for cluster in clusters {
        let Some(primary) = peer.consensus.read(|state| state.published(cluster)) else {
            continue;
        };
        let keys = keys(prefix, &group, cluster, &primary).into_iter();
        all.extend(keys.map(|(key, value)| (key, value, primary.epoch.0)));
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clusters_that_a_key_may_be_of_are_read() {
        for (key, expected) in [
            ("", true),
            ("mysql/ma", true),
            ("mysql/main", true),
            ("mysql/main/port", true),
            ("mysql/other", false),
            ("mysql/man", false),
        ] {
            assert_eq!(concerns(key, "mysql/main"), expected, "{key}");
        }
    }

    #[test]
    fn a_query_says_in_which_form() {
        for (uri, expected) in [
            ("/v1/kv/a", Form::Entries { recurse: false }),
            ("/v1/kv/a?recurse", Form::Entries { recurse: true }),
            (
                "/v1/kv/a?recurse=true&dc=x",
                Form::Entries { recurse: true },
            ),
            ("/v1/kv/a?recurse&raw", Form::Raw),
            ("/v1/kv/a?rawer", Form::Entries { recurse: false }),
        ] {
            assert_eq!(form(&uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
