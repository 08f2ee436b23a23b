//! A cluster that agents are to make: what is asked for, checked and recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::model::{Address, ClusterName, Durability, InstanceId, Reads, Zone};
use crate::recovery::Rejection;
use crate::server::Peer;
use crate::server::propose::Origin;
use crate::state::command::NewMember;
use crate::state::{Change, NewCluster};

use super::body::{Body, read};
use super::clusters::{HOST_LIMIT, invalid, names, unknown, view};
use super::problem::Problem;
use super::refusal::not_recorded;
use super::views::ClusterView;

/// The most clusters that there may be: far more than one group of peers is for.
pub(super) const CLUSTERS: usize = 1_000;
/// The most members that a cluster may have: more standbys than one primary feeds.
pub(super) const MEMBERS: usize = 32;
/// The body of `POST /api/v1/clusters`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewClusterBody {
    /// Its name.
    pub name: String,
    /// `"async"` or `{"quorum": 1}`, which is the default.
    #[serde(default)]
    pub durability: DurabilityBody,
    /// `"fast"` or `"strict"`: whether a failover also waits until nobody can read from the old primary.
    #[serde(default)]
    pub reads: Reads,
    /// Its instances, by name.
    pub members: BTreeMap<String, MemberBody>,
    /// The one that is initialised; the others are cloned from it.
    pub first: String,
}

/// How many standbys a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DurabilityBody {
    /// None.
    Async,
    /// So many.
    Quorum(u8),
}

impl Default for DurabilityBody {
    fn default() -> Self {
        DurabilityBody::Quorum(1)
    }
}

/// One instance of a cluster to be created.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberBody {
    /// Where it answers SQL; at most 255 bytes.
    pub host: String,
    /// Where it answers SQL.
    pub port: u16,
    /// Where its agent answers health checks, at most 255 bytes; `host` if absent.
    pub health_host: Option<String>,
    /// Where its agent answers health checks.
    pub health_port: u16,
    /// Its failure domain.
    pub zone: String,
}

/// `POST /api/v1/clusters`: records a cluster and the permit to initialise its first instance. Answers
/// 201 with the cluster. Fails with `bad-body`, `too-large`, `invalid`, `exists`, `bad-key`, `key-reused`, `no-leader`,
/// `outcome-unknown`.
pub async fn create(
    State(peer): State<Arc<Peer>>,
    Extension(origin): Extension<Origin>,
    body: Body,
) -> Result<(StatusCode, Json<ClusterView>), Problem> {
    let shape =
        "{\"name\", \"durability\": {\"quorum\": 1} or \"async\", \"members\": {…}, \"first\"}";
    let body: NewClusterBody = read(body, shape)?;
    let (name, new) = checked(body)?;
    // Not when it is applied, so that a build with another number has the same state. What is sent again is no new one.
    let (count, is_known) = peer
        .consensus
        .read(|state| (names(state).len(), state.clusters.contains_key(&name)));
    has_room(count, is_known)?;
    let reply = peer.propose_as(origin, name.clone(), Change::Create(new));
    match reply.await {
        Ok(Ok(_)) => {
            tracing::info!(cluster = %name, "cluster created");
            let view = view(&peer, &name).ok_or_else(|| unknown(&name))?;
            Ok((StatusCode::CREATED, Json(view)))
        }
        Ok(Err(Rejection::Exists(_))) => Err(exists(&name)),
        Ok(Err(rejection)) => Err(invalid(rejection.to_string())),
        Err(error) => Err(not_recorded(error)),
    }
}

fn has_room(count: usize, is_known: bool) -> Result<(), Problem> {
    match count < CLUSTERS || is_known {
        true => Ok(()),
        false => {
            let why = format!("name: there are {count} clusters, and at most {CLUSTERS} may be");
            Err(invalid(why).hint("record it in another installation; nothing was changed"))
        }
    }
}

fn exists(name: &ClusterName) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "exists",
        format!("cluster {name} exists already"),
    )
    .hint("choose another name")
}

pub(crate) fn checked(body: NewClusterBody) -> Result<(ClusterName, NewCluster), Problem> {
    let field = |field: &str, why: String| invalid(format!("{field}: {why}"));
    let name = ClusterName::new(&body.name).map_err(|error| field("name", error.to_string()))?;
    let first = InstanceId::new(&body.first).map_err(|error| field("first", error.to_string()))?;
    if body.members.len() > MEMBERS {
        let why = format!(
            "there are {}, and at most {MEMBERS} may be",
            body.members.len()
        );
        return Err(field("members", why));
    }
    let mut members = BTreeMap::new();
    for (id, member) in body.members {
        let path = format!("members.{id}");
        let instance = InstanceId::new(&id).map_err(|error| field(&path, error.to_string()))?;
        let zone = Zone::new(&member.zone)
            .map_err(|error| field(&format!("{path}.zone"), error.to_string()))?;
        if member.host.is_empty() || member.port == 0 || member.health_port == 0 {
            return Err(field(
                &path,
                "host, port and health_port must be given".to_owned(),
            ));
        }
        for (name, host) in [
            ("host", Some(&member.host)),
            ("health_host", member.health_host.as_ref()),
        ] {
            if host.is_some_and(|host| host.len() > HOST_LIMIT) {
                let why = format!("it has more than {HOST_LIMIT} bytes");
                return Err(field(&format!("{path}.{name}"), why));
            }
        }
        let address = Address {
            host: member.host.clone(),
            port: member.port,
        };
        let twice = members
            .iter()
            .find(|(_, other): &(&InstanceId, &NewMember)| other.address == address);
        if let Some((other, _)) = twice {
            return Err(field(
                &path,
                format!("{other} has the address {address} too"),
            ));
        }
        let health = Address {
            host: member.health_host.unwrap_or(member.host),
            port: member.health_port,
        };
        members.insert(
            instance,
            NewMember {
                address,
                health,
                zone,
            },
        );
    }
    let durability = match body.durability {
        DurabilityBody::Async => Durability::Async,
        DurabilityBody::Quorum(0) => {
            return Err(field(
                "durability",
                "a quorum needs at least 1 standby; write \"async\" for none".to_owned(),
            ));
        }
        DurabilityBody::Quorum(standbys) => Durability::Quorum { standbys },
    };
    if !members.contains_key(&first) {
        return Err(field("first", format!("there is no member {first}")));
    }
    let (least, given) = (durability.standby_acks() + 1, members.len());
    if given < least {
        let why = format!("{durability} needs at least {least} members, not {given}");
        return Err(field("durability", why));
    }
    Ok((
        name,
        NewCluster {
            durability,
            reads: body.reads,
            members,
            first,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_too_many_is_refused_and_one_that_is_known_is_not() {
        for (count, is_known, has) in [
            (CLUSTERS - 1, false, true),
            (CLUSTERS, true, true),
            (CLUSTERS, false, false),
        ] {
            let found = has_room(count, is_known);
            assert_eq!(found.is_ok(), has, "{count} {is_known}");
            if let Err(problem) = found {
                assert_eq!((problem.status, &*problem.code), (422, "invalid"));
                assert!(problem.detail.contains("at most 1000"));
            }
        }
    }
}
