//! The verbs that ask a group.

use std::collections::BTreeMap;

use crate::http::creation::{DurabilityBody, MemberBody, NewClusterBody};
use crate::http::views::{ClusterView, LeaderView, PeerView, RecoveryView};
use crate::model::{ClusterName, Reads};
use crate::output;

use super::answer::understood;
use super::api::Api;
use super::arguments::{NewCluster, Output};
use super::{Exit, Failure, render};

pub(super) async fn status(
    api: Api,
    cluster: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let path = match &cluster {
        Some(name) => format!("/api/v1/clusters/{}", checked(name)?),
        None => "/api/v1/clusters".to_owned(),
    };
    let clusters = |body: &[u8]| match &cluster {
        Some(_) => understood(body).map(|one| vec![one]),
        None => understood::<Vec<ClusterView>>(body),
    };
    let json = |clusters: &[ClusterView]| match (&cluster, clusters) {
        (Some(_), [one]) => print_json(one),
        (_, all) => print_json(&all),
    };
    let failure = match api.text(&path).await {
        Ok(body) => {
            let clusters = clusters(&body)?;
            if output == Output::Json {
                return json(&clusters);
            }
            let peers: Vec<PeerView> = match api.get("/api/v1/peers").await {
                Ok(peers) => peers,
                // Whoever may see some clusters alone is told nothing of the peers.
                Err(failure) if failure.exit == Exit::Refused => vec![],
                Err(failure) => return Err(failure),
            };
            return Ok(output::print(render::clusters(&clusters, &peers))?);
        }
        Err(failure) => failure,
    };
    if failure.exit == Exit::NoQuorum
        && let Some(stale) = api.stale(&path).await
    {
        let clusters = clusters(&stale.body)?;
        match output {
            Output::Json => json(&clusters)?,
            Output::Table => {
                output::print(render::stale(&stale.from, &clusters, stale.peers))?;
            }
        }
    }
    Err(failure)
}

pub(super) async fn leader(api: Api, output: Output) -> Result<(), Failure> {
    let leader: LeaderView = api.get("/api/v1/leader").await?;
    match output {
        Output::Json => print_json(&leader),
        Output::Table => {
            let since = leader.since.map(|since| format!(" since {since}"));
            let lease = leader.lease_remaining_ms;
            let lease = lease.map(|left| format!(", lease {left} ms"));
            Ok(output::line(format_args!(
                "peer {} at {} leads in term {}{}{}",
                leader.leader,
                leader.address,
                leader.term,
                since.unwrap_or_default(),
                lease.unwrap_or_default()
            ))?)
        }
    }
}

pub(super) async fn peers(api: Api, output: Output) -> Result<(), Failure> {
    let peers: Vec<PeerView> = api.get("/api/v1/peers").await?;
    match output {
        Output::Json => print_json(&peers),
        Output::Table => Ok(output::print(render::peers(&peers))?),
    }
}

pub(super) async fn primary(
    api: Api,
    cluster: Option<String>,
    dsn: bool,
    output: Output,
) -> Result<(), Failure> {
    // A `dev` knows it without its peers.
    let of_dev = dsn
        .then(|| crate::dev::dsn_of(cluster.as_deref()))
        .flatten();
    if let Some(dsn) = &of_dev {
        output::line(dsn)?;
    }
    let name = only(&api, cluster).await?;
    if dsn && of_dev.is_none() {
        let view: ClusterView = api.get(&format!("/api/v1/clusters/{name}")).await?;
        output::line(render::dsn(&view))?;
    }
    // It finds the next primary too; whether there is one now, the exit code says.
    let asked = api.text(&format!("/api/v1/clusters/{name}/primary")).await;
    let text = match asked {
        Ok(_) if dsn => return Ok(()),
        asked => asked?,
    };
    let address = String::from_utf8_lossy(&text);
    match output {
        Output::Json => print_json(&serde_json::json!({"cluster": name, "address": address})),
        Output::Table => Ok(output::line(address)?),
    }
}

pub(super) async fn history(
    api: Api,
    cluster: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let name = only(&api, cluster).await?;
    let path = format!("/api/v1/clusters/{name}/history");
    let history: Vec<RecoveryView> = api.get(&path).await?;
    match output {
        Output::Json => print_json(&history),
        Output::Table => Ok(output::print(render::history(&history))?),
    }
}

pub(super) async fn create(api: Api, new: NewCluster) -> Result<(), Failure> {
    let mut members = BTreeMap::new();
    let mut first = new.first;
    for text in &new.member {
        let (name, member) = member(text).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("--member {text} is not NAME=HOST:PORT/HEALTHPORT@ZONE"),
            )
        })?;
        first.get_or_insert(name.clone());
        if members.insert(name.clone(), member).is_some() {
            let text = format!("--member {name} is given twice");
            return Err(Failure::new(Exit::Usage, text));
        }
    }
    let body = NewClusterBody {
        name: new.name,
        durability: durability(&new.durability).ok_or_else(|| {
            let text = format!("--durability {} is not quorum:K or async", new.durability);
            Failure::new(Exit::Usage, text)
        })?,
        reads: match new.reads.as_str() {
            "strict" => Reads::Strict,
            _ => Reads::Fast,
        },
        members,
        first: first.unwrap_or_default(),
    };
    let view: ClusterView = api.post("/api/v1/clusters", &body).await?;
    Ok(output::line(format_args!(
        "{} created, epoch {}",
        view.name, view.epoch
    ))?)
}

/// A durability as typed.
pub(super) fn durability(text: &str) -> Option<DurabilityBody> {
    match text.split_once(':') {
        None if text == "async" => Some(DurabilityBody::Async),
        Some(("quorum", standbys)) => Some(DurabilityBody::Quorum(standbys.parse().ok()?)),
        _ => None,
    }
}

fn member(text: &str) -> Option<(String, MemberBody)> {
    let (name, rest) = text.split_once('=')?;
    let (rest, zone) = rest.rsplit_once('@')?;
    let (address, health_port) = rest.rsplit_once('/')?;
    let (host, port) = address.rsplit_once(':')?;
    let member = MemberBody {
        host: host.to_owned(),
        port: port.parse().ok()?,
        health_host: None,
        health_port: health_port.parse().ok()?,
        zone: zone.to_owned(),
    };
    Some((name.to_owned(), member))
}

/// The cluster that is named, else the only one.
pub(super) async fn only(api: &Api, cluster: Option<String>) -> Result<String, Failure> {
    if let Some(name) = cluster {
        return checked(&name).map(|name| name.to_string());
    }
    let clusters: Vec<ClusterView> = api.get("/api/v1/clusters").await?;
    let names: Vec<_> = clusters.into_iter().map(|view| view.name).collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(Failure {
            exit: Exit::NotFound,
            text: "there is no cluster yet".to_owned(),
            hint: Some(render::FIRST_CLUSTER.to_owned()),
        }),
        several => Err(Failure {
            exit: Exit::Usage,
            text: format!("there are several clusters: {}", several.join(", ")),
            hint: Some("name one".to_owned()),
        }),
    }
}

pub(super) fn checked(cluster: &str) -> Result<ClusterName, Failure> {
    ClusterName::new(cluster).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

/// Says what may be a slip in what was done nevertheless.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        output::say(format_args!("WARN  {warning}"));
    }
}

pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("a view has a JSON form");
    Ok(output::line(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_durability_as_typed() {
        let (name, body) = member("a=10.0.0.1:5432/8008@z1").unwrap();
        assert_eq!(
            (name.as_str(), body.port, body.health_port),
            ("a", 5432, 8008)
        );
        assert_eq!((body.host.as_str(), body.zone.as_str()), ("10.0.0.1", "z1"));
        for bad in ["a", "a=b", "a=b:1@z", "a=b:x/1@z", "a=b:1/2"] {
            assert!(member(bad).is_none(), "{bad}");
        }
        assert_eq!(durability("quorum:2"), Some(DurabilityBody::Quorum(2)));
        assert_eq!(durability("async"), Some(DurabilityBody::Async));
        assert_eq!(durability("quorum"), None);
    }
}
