//! The verbs that change the primary on request, and the one that says what would come of it.

use bytes::Bytes;
use hyper::Method;

use crate::http::explain::ExplanationView;
use crate::http::failovers::FailoverBody;
use crate::http::switchovers::SwitchoverBody;
use crate::http::views::{ClusterView, RecoveryView};
use crate::output;

use super::Failure;
use super::api::Api;
use super::arguments::{Explained, Output, Switchover};
use super::verbs::{checked, only, print_json};

pub(super) async fn switchover(api: Api, asked: Switchover) -> Result<(), Failure> {
    let path = format!("/api/v1/clusters/{}/switchover", checked(&asked.cluster)?);
    if asked.cancel {
        let now: ClusterView = api.change(Method::DELETE, &path, Bytes::new()).await?;
        return Ok(output::line(format_args!(
            "{}: the switchover is called off, and nothing was changed",
            now.name
        ))?);
    }
    let body = SwitchoverBody {
        to: asked.to,
        owner: Some(asked.owner),
        reason: asked.reason,
        seconds: asked.wait.map(|it| it.as_secs()),
    };
    let now: ClusterView = api.post(&path, &body).await?;
    let mut to = now.switchover.as_ref().map(|it| it.to.clone());
    if to.is_none() {
        // Without agents it is in the history alone.
        let path = format!("/api/v1/clusters/{}/history", now.name);
        let history: Vec<RecoveryView> = api.get(&path).await?;
        let of_now = history.into_iter().find(|it| it.epoch == now.epoch);
        to = of_now.and_then(|it| it.to);
    }
    let to = to.map_or(String::new(), |it| format!(" to {it}"));
    let is_waiting = now.switchover.is_some_and(|it| it.phase == "waiting");
    if let Some(why) = now.waiting.first().filter(|_| is_waiting) {
        return Ok(output::line(format_args!(
            "{}: the switchover{to} waits: {}; `primacy switchover {} --cancel` calls it off",
            now.name, why.text, now.name
        ))?);
    }
    Ok(output::line(format_args!(
        "{}: the switchover{to} has begun, epoch {}; `primacy history {}` says how it ends",
        now.name, now.epoch, now.name
    ))?)
}

pub(super) async fn failover(api: Api, cluster: &str, body: FailoverBody) -> Result<(), Failure> {
    let path = format!("/api/v1/clusters/{}/failover", checked(cluster)?);
    let now: ClusterView = api.post(&path, &body).await?;
    Ok(output::line(format_args!(
        "{}: the failover has begun, epoch {}; `primacy history {}` says how it ends",
        now.name, now.epoch, now.name
    ))?)
}

pub(super) async fn explain(
    api: Api,
    what: Explained,
    cluster: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let name = only(&api, cluster).await?;
    let word = match what {
        Explained::Failover => "failover",
        Explained::Switchover => "switchover",
    };
    let path = format!("/api/v1/clusters/{name}/explain/{word}");
    let said: ExplanationView = api.get(&path).await?;
    match output {
        Output::Json => print_json(&said),
        Output::Table => Ok(output::print(explanation(word, &said))?),
    }
}

fn explanation(word: &str, said: &ExplanationView) -> String {
    let bytes = |of: Option<u64>| of.map_or("unknown".to_owned(), |it| format!("{it} bytes"));
    let mut text = match (&said.to, &said.text) {
        (Some(to), _) => format!(
            "{word} to {to}; loss: {}{}{}\n",
            bytes(said.loss_bytes),
            said.lease_wait_ms.map_or(String::new(), |ms| format!(
                "; waits for leases: {ms} ms at most"
            )),
            match said.programs.join(" and ") {
                none if none.is_empty() => none,
                names => format!(", and for {names}, which may keep it off"),
            }
        ),
        (None, why) => format!("no {word}: {}\n", why.as_deref().unwrap_or("unknown")),
    };
    if let Some(turn) = &said.turn {
        text += &format!("  {turn}\n");
    }
    for it in &said.candidates {
        let lsn = it.lsn.as_deref().unwrap_or("?");
        let obstacle = it.obstacle.as_deref().unwrap_or("would be the primary");
        let rule = it.promotion_rule.as_ref();
        let rule = rule.map_or(String::new(), |it| format!("{it}   "));
        text += &format!(
            "  {}   {lsn}   behind {}   {rule}{obstacle}\n",
            it.name,
            bytes(it.behind_bytes),
        );
    }
    for lack in &said.lacks {
        text += &format!("WARN  {lack}: this may keep it off\n");
    }
    // With agents it is what everybody expects.
    if said.lease_wait_ms.is_none() && !said.guarantee.is_empty() {
        text += &format!("NOTE  {}\n", said.guarantee);
    }
    text
}
