//! What is wrong with the clusters.

use crate::http::views::{ClusterView, ProblemView};
use crate::output;

use super::api::Api;
use super::arguments::Output;
use super::verbs::{checked, print_json};
use super::{Exit, Failure, render};

/// Fails with [`Exit::Problems`] if there are any.
pub(super) async fn problems(
    api: Api,
    cluster: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let problems = match &cluster {
        Some(name) => {
            let path = format!("/api/v1/clusters/{}", checked(name)?);
            let cluster: ClusterView = api.get(&path).await?;
            let name = cluster.name;
            let of = |finding| ProblemView {
                cluster: Some(name.clone()),
                finding,
            };
            cluster.findings.into_iter().map(of).collect()
        }
        None => api.get::<Vec<ProblemView>>("/api/v1/problems").await?,
    };
    match output {
        Output::Json => print_json(&problems)?,
        Output::Table => output::print(render::problems(&problems))?,
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Problems, "there is 1 problem")),
        count => Err(Failure::new(
            Exit::Problems,
            format!("there are {count} problems"),
        )),
    }
}
