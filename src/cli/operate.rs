//! The verbs that hold automation back, and say who shall be promoted.

use bytes::Bytes;
use hyper::Method;

use crate::clock;
use crate::http::directives::{AcknowledgeBody, BlockBody, HoldBody, PriorityBody, RuleBody};
use crate::http::views::{ClusterView, HoldView, PauseView};
use crate::model::{InstanceId, Priority, PromotionRule};
use crate::output;

use super::api::Api;
use super::arguments::{BlockPeriod, Hold, InstanceVerb, Pause};
use super::verbs::checked;
use super::{Exit, Failure};

const ALL: &str = "/api/v1/pause";

fn body(hold: Hold) -> HoldBody {
    HoldBody {
        seconds: hold.length.as_secs(),
        owner: hold.owner,
        reason: hold.reason,
    }
}

fn path_of(cluster: &str) -> Result<String, Failure> {
    Ok(format!("/api/v1/clusters/{}/pause", checked(cluster)?))
}

pub(super) async fn pause(api: Api, pause: Pause) -> Result<(), Failure> {
    let body = body(pause.hold);
    let (what, hold) = match pause.cluster {
        Some(cluster) => {
            let now: ClusterView = api.post(&path_of(&cluster)?, &body).await?;
            (cluster, now.pause)
        }
        None => {
            let now: PauseView = api.post(ALL, &body).await?;
            ("every cluster".to_owned(), now.pause)
        }
    };
    Ok(output::line(format_args!(
        "{what} is paused until {}; leases and fencing go on",
        until(hold.as_ref())
    ))?)
}

fn until(hold: Option<&HoldView>) -> String {
    hold.map_or_else(clock::wall_text, |it| it.until.clone())
}

pub(super) async fn resume(api: Api, cluster: Option<String>) -> Result<(), Failure> {
    let left = match &cluster {
        Some(cluster) => {
            let now: ClusterView = api
                .change(Method::DELETE, &path_of(cluster)?, Bytes::new())
                .await?;
            now.pause
        }
        None => {
            let now: PauseView = api.change(Method::DELETE, ALL, Bytes::new()).await?;
            now.pause
        }
    };
    if let Some(left) = left {
        output::say(format_args!(
            "WARN  every cluster is paused until {} by {}: {}; primacy resume ends that",
            left.until, left.owner, left.reason
        ));
    }
    let what = cluster.as_deref().unwrap_or("the pause of all clusters");
    let is = if cluster.is_some() {
        "goes on"
    } else {
        "is over"
    };
    Ok(output::line(format_args!("{what} {is}"))?)
}

pub(super) async fn instance(api: Api, verb: InstanceVerb) -> Result<(), Failure> {
    let path = |cluster: &str, instance: &str, what: &str| {
        let cluster = checked(cluster)?;
        let instance = InstanceId::new(instance)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        Ok::<_, Failure>(format!(
            "/api/v1/clusters/{cluster}/instances/{instance}/{what}"
        ))
    };
    let said = match verb {
        InstanceVerb::Downtime {
            cluster,
            instance,
            hold,
        } => {
            let path = path(&cluster, &instance, "downtime")?;
            let now: ClusterView = api.post(&path, &body(hold)).await?;
            let all = now.instances.iter();
            let mut downtimes = all.filter(|it| it.name == instance).map(|it| &it.downtime);
            let until = until(downtimes.next().and_then(Option::as_ref));
            format!("{instance} is in downtime until {until}")
        }
        InstanceVerb::Uptime { cluster, instance } => {
            let path = path(&cluster, &instance, "downtime")?;
            let _: ClusterView = api.change(Method::DELETE, &path, Bytes::new()).await?;
            format!("{instance} is in downtime no longer")
        }
        InstanceVerb::Rule {
            cluster,
            instance,
            rule,
            length,
        } => {
            let path = path(&cluster, &instance, "rule")?;
            let known = |it: &PromotionRule| it.name() == rule.replace('-', "_");
            let mut all = PromotionRule::ALL.into_iter();
            let body = RuleBody {
                rule: all.find(known).unwrap_or_default(),
                seconds: length.map(|it| it.as_secs()),
            };
            let _: ClusterView = api.post(&path, &body).await?;
            format!("{instance}: {rule}")
        }
    };
    Ok(output::line(said)?)
}

pub(super) async fn block(api: Api, cluster: &str, period: &BlockPeriod) -> Result<(), Failure> {
    let path = format!("/api/v1/clusters/{}/block", checked(cluster)?);
    let seconds = period.length.map(|it| it.as_secs());
    let _: ClusterView = api.post(&path, &BlockBody { seconds }).await?;
    Ok(match seconds {
        Some(seconds) => output::line(format_args!(
            "{cluster}: a failover keeps another one off for {seconds} s, unless it is acknowledged"
        )),
        None => output::line(format_args!("{cluster}: no failover keeps another one off")),
    }?)
}

pub(super) async fn priority(api: Api, cluster: &str, priority: i16) -> Result<(), Failure> {
    let path = format!("/api/v1/clusters/{}/priority", checked(cluster)?);
    let body = PriorityBody {
        priority: Priority(priority),
    };
    let now: ClusterView = api.post(&path, &body).await?;
    Ok(output::line(format_args!(
        "{cluster}: priority {}",
        now.priority
    ))?)
}

pub(super) async fn acknowledge(
    api: Api,
    cluster: &str,
    owner: String,
    comment: String,
) -> Result<(), Failure> {
    let path = format!("/api/v1/clusters/{}/acknowledge", checked(cluster)?);
    let _: ClusterView = api.post(&path, &AcknowledgeBody { owner, comment }).await?;
    Ok(output::line(format_args!(
        "{cluster}: the last failover is acknowledged, another one may follow"
    ))?)
}
