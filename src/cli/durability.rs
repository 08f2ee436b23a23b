//! How many standbys a commit waits for, changed.

use hyper::Method;

use crate::http::creation::DurabilityBody;
use crate::http::durability::ChangeDurabilityBody;
use crate::http::views::ClusterView;
use crate::output;

use super::api::Api;
use super::arguments::NewDurability;
use super::question::confirmed;
use super::verbs::{checked, durability};
use super::{Exit, Failure};

/// Fewer standbys are asked about: less survives then. More are not, because that can be taken back.
pub(super) async fn change(api: Api, new: NewDurability) -> Result<(), Failure> {
    let cluster = format!("/api/v1/clusters/{}", checked(&new.name)?);
    let Some(durability) = durability(&new.durability) else {
        let text = format!("{} is not quorum:K or async", new.durability);
        return Err(Failure::new(Exit::Usage, text));
    };
    let is: ClusterView = api.get(&cluster).await?;
    let standbys = match durability {
        DurabilityBody::Quorum(standbys) => usize::from(standbys),
        DurabilityBody::Async => 0,
    };
    if standbys < is.standby_acks && !new.yes {
        let would = match standbys {
            0 => "a failover might lose acknowledged commits".to_owned(),
            _ => format!("would survive that of any {standbys}"),
        };
        output::say(format_args!(
            "{}: an acknowledged commit survives the loss of any {} hosts, and {would}",
            is.name, is.standby_acks
        ));
        if !confirmed("Change it?")? {
            return Err(Failure::new(Exit::Refused, "nothing was changed"));
        }
    }
    let body = ChangeDurabilityBody {
        durability,
        owner: Some(new.owner),
        reason: new.reason,
    };
    let body =
        serde_json::to_vec(&body).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let path = format!("{cluster}/durability");
    let now: ClusterView = api.change(Method::PUT, &path, body.into()).await?;
    let name = &now.name;
    let said = match &now.durability_change {
        None => format!("{name}: {} is recorded", now.durability),
        Some(change) => format!(
            "{name}: {} counts until {} is recorded; `primacy status {name}` shows how far that is; and `{}` takes it back",
            now.durability, change.to, change.taken_back_by
        ),
    };
    Ok(output::line(said)?)
}
