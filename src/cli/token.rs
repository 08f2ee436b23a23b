//! The verbs for the tokens of people and their programs.

use std::time::Duration;

use hyper::Method;

use crate::clock;
use crate::http::tokens::TokenBody;
use crate::http::views::TokenView;
use crate::model::{ClusterName, Scope};
use crate::output;
use crate::security::BearerToken;
use crate::server::hex::hex;

use super::api::Api;
use super::arguments::{Output, TokenVerb};
use super::verbs::{print_json, warn};
use super::{Exit, Failure};

const DAY: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn run(api: Api, verb: TokenVerb, output: Output) -> Result<(), Failure> {
    match verb {
        TokenVerb::List => {
            let tokens: Vec<TokenView> = api.get("/api/v1/tokens").await?;
            match output {
                Output::Json => print_json(&tokens),
                Output::Table => table(&tokens),
            }
        }
        TokenVerb::Revoke { name } => {
            let path = format!("/api/v1/tokens/{name}");
            let body = bytes::Bytes::new();
            let left: Vec<TokenView> = api.change(Method::DELETE, &path, body).await?;
            match output {
                Output::Json => print_json(&left),
                Output::Table => Ok(output::line(format_args!("{name} is revoked"))?),
            }
        }
        TokenVerb::Create {
            name,
            role,
            cluster,
            days,
        } => {
            let names = cluster.iter().map(|name| ClusterName::new(name));
            let clusters: Result<_, _> = names.collect();
            let clusters =
                clusters.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
            // The secret is drawn here and goes nowhere but to whoever reads this.
            let life = DAY * u32::try_from(days).unwrap_or(u32::MAX);
            let now = clock::wall_millis();
            let minted = BearerToken::mint(&name, role, Scope::Everything, now, life);
            let (token, record) =
                minted.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
            let body = TokenBody {
                name,
                role,
                clusters: (!cluster.is_empty()).then_some(clusters),
                secret_sha256: hex(&record.hash.0),
                expires_in_seconds: life.as_secs(),
            };
            let view: TokenView = api.post("/api/v1/tokens", &body).await?;
            warn(&view.warnings);
            let token = token.reveal();
            match output {
                Output::Json => print_json(&serde_json::json!({"created": view, "token": token})),
                Output::Table => {
                    output::say(format_args!(
                        "{} has the role {} until {}; this is shown once: set PRIMACY_TOKEN to it",
                        view.name, view.role, view.expires_at
                    ));
                    Ok(output::line(token)?)
                }
            }
        }
    }
}

fn table(tokens: &[TokenView]) -> Result<(), Failure> {
    output::line(format_args!(
        "{:32}  {:8}  {:24}  EXPIRES",
        "NAME", "ROLE", "CLUSTERS"
    ))?;
    for token in tokens {
        let clusters = token
            .clusters
            .as_ref()
            .map_or("all".to_owned(), |clusters| clusters.join(","));
        let expired = if token.expired { " (expired)" } else { "" };
        output::line(format_args!(
            "{:32}  {:8}  {clusters:24}  {}{expired}",
            token.name, token.role, token.expires_at
        ))?;
    }
    Ok(())
}
