//! The keys in a store with Consul's HTTP API (`/v1/kv`, `/v1/txn`).
//!
//! All keys of a cluster change in one transaction, which rests on the key of the epoch as it was read: its flags hold the
//! index of the replicated log at which the writer knew that it led. So what a deposed leader sends late changes nothing.

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::web::Web;
use crate::server::config::Consul;

/// Where the token stands in a request.
const TOKEN: &str = "x-consul-token";
/// The part under which the epoch is published.
const ANCHOR: &str = "/epoch";
/// The part under which it is published whose keys these are.
const GROUP: &str = "/group";
/// Parts that a primary may have or not.
const PARTS: [&str; 2] = ["/ipv4", "/ipv6"];

/// An entry as the store tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    key: String,
    #[serde(default)]
    flags: u64,
    /// Base64; none if it is empty.
    value: Option<String>,
    modify_index: u64,
}

impl Entry {
    /// What it holds; none if that is no text.
    fn text(&self) -> Option<String> {
        let bytes = BASE64.decode(self.value.as_deref()?.as_bytes()).ok()?;
        String::from_utf8(bytes).ok()
    }
}

/// Has `keys` published, of which the first is the cluster's own, as it was known at `index` of the log. What somebody wrote
/// who led later stays. Answers whether anything was to be written. Errors: in words.
pub(super) async fn publish(
    web: &Web,
    consul: &Consul,
    keys: &[(String, String)],
    index: u64,
) -> Result<bool, String> {
    let Some((root, _)) = keys.first() else {
        return Ok(false);
    };
    let own = format!("/v1/kv/{root}");
    let mut found = read(web, consul, &own).await?;
    found.extend(read(web, consul, &format!("{own}/?recurse")).await?);
    let Some(changes) = changes(keys, &found, index)? else {
        return Ok(false);
    };
    let body = serde_json::to_vec(&changes).map_err(|error| error.to_string())?;
    match call(web, consul, "PUT", "/v1/txn", body).await? {
        (StatusCode::OK, _) => Ok(true),
        (StatusCode::CONFLICT, _) => Err("somebody else wrote at the same time".to_owned()),
        (status, body) => Err(refusal(status, &body)),
    }
}

/// The operations of a transaction; none if nothing is to be done. Errors: another group publishes there.
fn changes(
    keys: &[(String, String)],
    found: &[Entry],
    index: u64,
) -> Result<Option<Vec<Value>>, String> {
    let Some((root, _)) = keys.first() else {
        return Ok(None);
    };
    // Their indexes say nothing of ours.
    let group = format!("{root}{GROUP}");
    let theirs = found.iter().find(|it| it.key == group);
    let ours = keys.iter().find(|(key, _)| *key == group);
    if let (Some(theirs), Some((_, ours))) = (theirs, ours)
        && theirs.text().as_ref() != Some(ours)
    {
        return Err(format!(
            "another group of peers publishes there, {}; give each a prefix of its own, or delete {root} and what is below \
             it in Consul if that group is no more",
            theirs.text().unwrap_or_default()
        ));
    }
    let anchor = format!("{root}{ANCHOR}");
    let before = found.iter().find(|it| it.key == anchor);
    if before.is_some_and(|it| it.flags > index) {
        return Ok(None);
    }
    let is_there = |(key, value): &(String, String)| {
        let entry = found.iter().find(|it| it.key == *key);
        entry.and_then(Entry::text).as_ref() == Some(value)
    };
    let stale = |it: &&Entry| {
        let part = it.key.strip_prefix(root.as_str());
        let is_part = part.is_some_and(|part| PARTS.contains(&part));
        is_part && !keys.iter().any(|(key, _)| *key == it.key)
    };
    if keys.iter().all(is_there) && !found.iter().any(|it| stale(&it)) {
        return Ok(None);
    }
    let set = |(key, value): &(String, String)| {
        let value = BASE64.encode(value.as_bytes());
        match *key == anchor {
            true => json!({"KV": {
                "Verb": "cas", "Key": key, "Value": value, "Flags": index,
                // 0: it must not be there.
                "Index": before.map_or(0, |it| it.modify_index),
            }}),
            false => json!({"KV": {"Verb": "set", "Key": key, "Value": value}}),
        }
    };
    let forget = |it: &Entry| json!({"KV": {"Verb": "delete", "Key": it.key}});
    let stale = found.iter().filter(stale).map(forget);
    Ok(Some(keys.iter().map(set).chain(stale).collect()))
}

async fn read(web: &Web, consul: &Consul, path: &str) -> Result<Vec<Entry>, String> {
    match call(web, consul, "GET", path, vec![]).await? {
        (StatusCode::OK, body) => {
            serde_json::from_slice(&body).map_err(|error| format!("it is not understood: {error}"))
        }
        (StatusCode::NOT_FOUND, _) => Ok(vec![]),
        (status, body) => Err(refusal(status, &body)),
    }
}

async fn call(
    web: &Web,
    consul: &Consul,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), String> {
    let base = consul.url.to_string();
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header(CONTENT_TYPE, "application/json");
    if let Some(path) = &consul.token_file {
        let text = tokio::fs::read_to_string(path).await;
        let text = text.map_err(|error| {
            let path = path.display();
            format!("consul_token_file {path} cannot be read: {error}")
        })?;
        request = request.header(TOKEN, text.trim());
    }
    let request = request.body(Full::from(body));
    web.call(request.map_err(|_| "consul_token_file holds no token".to_owned())?)
        .await
}

/// A refusal, with the beginning of what was said.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let said = String::from_utf8_lossy(body);
    let said: String = said.trim().chars().take(120).collect();
    match said.is_empty() {
        true => format!("it answered {status}"),
        false => format!("it answered {status}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str, flags: u64, modify_index: u64) -> Entry {
        Entry {
            key: key.to_owned(),
            flags,
            value: Some(BASE64.encode(value.as_bytes())),
            modify_index,
        }
    }

    fn keys(address: &str, epoch: &str) -> Vec<(String, String)> {
        let key = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        vec![key("p/main", address), key("p/main/epoch", epoch)]
    }

    #[test]
    fn a_transaction_rests_on_the_epoch_as_it_was_read() {
        let new = changes(&keys("a:1", "7"), &[], 40).unwrap().unwrap();
        assert_eq!(new[1]["KV"]["Index"], 0);
        assert_eq!(new[1]["KV"]["Flags"], 40);
        let found = [
            entry("p/main", "a:1", 0, 9),
            entry("p/main/epoch", "7", 40, 9),
        ];
        let next = changes(&keys("b:1", "8"), &found, 50).unwrap().unwrap();
        assert_eq!(next[0]["KV"]["Verb"], "set");
        assert_eq!(next[1]["KV"]["Verb"], "cas");
        assert_eq!(next[1]["KV"]["Index"], 9);
    }

    #[test]
    fn what_a_later_leader_wrote_stays_and_what_is_right_is_not_written_again() {
        let found = [
            entry("p/main", "b:1", 0, 9),
            entry("p/main/epoch", "8", 50, 9),
        ];
        assert_eq!(changes(&keys("a:1", "7"), &found, 49), Ok(None));
        assert_eq!(changes(&keys("b:1", "8"), &found, 60), Ok(None));
        // Somebody changed one of them.
        let found = [
            entry("p/main", "x:1", 0, 12),
            entry("p/main/epoch", "8", 50, 9),
        ];
        let changes = changes(&keys("b:1", "8"), &found, 60);
        assert_eq!(changes.unwrap().unwrap().len(), 2);
    }

    #[test]
    fn a_part_that_is_no_more_goes() {
        let found = [
            entry("p/main", "b:1", 0, 9),
            entry("p/main/epoch", "8", 50, 9),
            entry("p/main/ipv4", "10.0.0.1", 0, 9),
        ];
        let changes = changes(&keys("b:1", "8"), &found, 60);
        let changes = changes.unwrap().unwrap();
        assert_eq!(
            changes[2]["KV"],
            json!({"Verb": "delete", "Key": "p/main/ipv4"})
        );
    }

    #[test]
    fn what_is_not_ours_stays_and_another_group_is_not_written_over() {
        let foreign = entry("p/main/pool_size", "5", 0, 9);
        let found = [
            entry("p/main", "b:1", 0, 9),
            entry("p/main/epoch", "8", 50, 9),
            foreign,
        ];
        assert_eq!(changes(&keys("b:1", "8"), &found, 60), Ok(None));
        let mut ours = keys("b:1", "8");
        ours.push(("p/main/group".to_owned(), "ours".to_owned()));
        let found = [
            entry("p/main/epoch", "8", 4_000_000, 9),
            entry("p/main/group", "theirs", 0, 9),
        ];
        let why = changes(&ours, &found, 60).unwrap_err();
        assert!(
            why.contains("another group of peers publishes there, theirs"),
            "{why}"
        );
    }
}
