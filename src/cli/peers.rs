//! The verbs that change the peers.

use hyper::Method;

use crate::http::membership::{InvitationBody, TransferBody};
use crate::http::views::{InvitedView, MembersView, TransferredView};
use crate::output;
use crate::security::{JoinKind, JoinToken, Secret};
use crate::server::hex::hex;

use super::api::Api;
use super::arguments::{ChangePeers, Output};
use super::verbs::print_json;
use super::{Exit, Failure};

/// A group of fewer voters does not survive the loss of one.
const SURVIVES: usize = 3;

pub(super) async fn change(api: Api, verb: ChangePeers, output: Output) -> Result<(), Failure> {
    match verb {
        ChangePeers::Add { address } => add(&api, address, output).await,
        ChangePeers::Promote { peer } => {
            let path = format!("/api/v1/peers/{peer}/promote");
            let members: MembersView = api.post(&path, &()).await?;
            told(&members, &format!("peer {peer} has a vote"), output)
        }
        ChangePeers::Remove { peer } => {
            let path = format!("/api/v1/peers/{peer}");
            let body = bytes::Bytes::new();
            let members: MembersView = api.change(Method::DELETE, &path, body).await?;
            if members.voters.len() < SURVIVES {
                output::say(format_args!(
                    "warning: no peer that is left may fail now; add others (primacy peers add HOST:PORT)"
                ));
            }
            told(&members, &format!("peer {peer} is removed"), output)
        }
        ChangePeers::TransferLeader { peer } => {
            let body = TransferBody { to: peer };
            let view: TransferredView = api.post("/api/v1/leader/transfer", &body).await?;
            match output {
                Output::Json => print_json(&view),
                Output::Table => Ok(output::line(format_args!("peer {} leads", view.leader))?),
            }
        }
    }
}

/// The secret is drawn here and goes nowhere but into the token.
async fn add(api: &Api, address: String, output: Output) -> Result<(), Failure> {
    let secret = draw()?;
    let body = InvitationBody {
        address,
        secret_sha256: hex(&secret.hash().0),
    };
    let view: InvitedView = api.post("/api/v1/peers", &body).await?;
    let installation = (&*view.group, &*view.authority);
    let token = token(installation, view.members.clone(), JoinKind::Peer, secret)?;
    match output {
        Output::Json => print_json(&serde_json::json!({"invited": view, "token": token})),
        Output::Table => {
            output::say(format_args!(
                "peer {} at {} may join until {}: give it this token as `join`, once; then: primacy peers promote {}",
                view.id, view.address, view.expires_at, view.id
            ));
            Ok(output::line(token)?)
        }
    }
}

/// A one-time secret.
pub(super) fn draw() -> Result<Secret, Failure> {
    Secret::draw().map_err(|error| Failure::new(Exit::Failed, format!("no random bytes: {error}")))
}

/// The text of a join token.
pub(super) fn token(
    (group, authority): (&str, &str),
    addresses: Vec<String>,
    kind: JoinKind,
    secret: Secret,
) -> Result<String, Failure> {
    let strange = |what: &str| {
        let text = format!("the answer is not understood: it names no {what}");
        Failure::new(Exit::Failed, text)
    };
    let token = JoinToken {
        addresses,
        authority: authority.parse().map_err(|()| strange("authority"))?,
        group: group.parse().map_err(|_| strange("group"))?,
        kind,
        secret,
    };
    Ok(token.reveal())
}

fn told(members: &MembersView, what: &str, output: Output) -> Result<(), Failure> {
    let list = |ids: &[u64]| {
        let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
        ids.join(", ")
    };
    match output {
        Output::Json => print_json(members),
        Output::Table if members.learners.is_empty() => Ok(output::line(format_args!(
            "{what}; voters {}",
            list(&members.voters)
        ))?),
        Output::Table => Ok(output::line(format_args!(
            "{what}; voters {}; learners {}",
            list(&members.voters),
            list(&members.learners)
        ))?),
    }
}
