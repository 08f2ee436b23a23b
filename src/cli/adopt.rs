//! Clusters without agents: adopted after a look at the plan, forgotten, switched over.

use bytes::Bytes;
use hyper::Method;

use crate::http::adoptions::{AdoptionBody, SwitchoverBody};
use crate::http::views::{AdoptionView, ClusterView};
use crate::model::{ClusterName, FenceDemand};
use crate::output;

use super::api::Api;
use super::arguments::Adopt;
use super::database::address;
use super::question::confirmed;
use super::{Exit, Failure};

pub(super) async fn adopt(api: Api, asked: Adopt) -> Result<(), Failure> {
    let instances: Result<Vec<_>, Failure> = asked.instance.iter().map(|it| address(it)).collect();
    let mut body = AdoptionBody {
        address: address(&asked.host)?,
        instances: instances?,
        name: asked.name,
        fence: match asked.fence.as_str() {
            "required" => FenceDemand::Required,
            _ => FenceDemand::Courtesy,
        },
        dry_run: true,
    };
    let plan: AdoptionView = api.post("/api/v1/adoptions", &body).await?;
    output::print(rendered(&plan))?;
    if asked.dry_run {
        return Ok(());
    }
    if !asked.yes && !confirmed("Record it?")? {
        return Err(Failure::new(Exit::Refused, "nothing was recorded"));
    }
    body.dry_run = false;
    body.name = Some(plan.name);
    let done: AdoptionView = api.post("/api/v1/adoptions", &body).await?;
    Ok(output::line(format_args!(
        "{} is looked after over SQL; no database was changed",
        done.name
    ))?)
}

pub(super) async fn forget(api: Api, cluster: &str) -> Result<(), Failure> {
    let name = named(cluster)?;
    let path = format!("/api/v1/clusters/{name}");
    let was: ClusterView = api.change(Method::DELETE, &path, Bytes::new()).await?;
    Ok(output::line(format_args!(
        "{} is looked after no longer; no database was changed",
        was.name
    ))?)
}

pub(super) async fn switchover(api: Api, cluster: &str, to: String) -> Result<(), Failure> {
    let name = named(cluster)?;
    let path = format!("/api/v1/clusters/{name}/switchover");
    let now: ClusterView = api.post(&path, &SwitchoverBody { to }).await?;
    Ok(output::line(format_args!(
        "{} has begun, epoch {}; `primacy history {}` says how it ends",
        now.name, now.epoch, now.name
    ))?)
}

fn named(cluster: &str) -> Result<ClusterName, Failure> {
    ClusterName::new(cluster).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

fn rendered(plan: &AdoptionView) -> String {
    let mut text = format!(
        "{}   sys {}   {}   fence: {}\n",
        plan.name, plan.system_identifier, plan.durability, plan.fence
    );
    for instance in &plan.instances {
        let source = instance.source.as_ref();
        let source = source.map_or(String::new(), |it| format!(" of {it}"));
        let timeline = instance
            .timeline
            .map_or("?".to_owned(), |it| it.to_string());
        text += &format!(
            "  {}   {}   {}{source}   PostgreSQL {}   timeline {timeline}\n",
            instance.name, instance.address, instance.role, instance.version
        );
    }
    for unfound in &plan.unfound {
        text += &format!("WARN  {unfound}\n");
    }
    for lack in &plan.lacks {
        let word = if lack.needed { "NEED" } else { "HINT" };
        text += &format!(
            "{word}  {}: {}\n      {}\n",
            lack.address, lack.what, lack.mend
        );
    }
    text + &format!("NOTE  {}\n", plan.guarantee)
}
