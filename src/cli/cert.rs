//! Certificates by hand: an authority, and what it signs. Nothing here asks a peer.

use std::path::Path;
use std::time::Duration;

use raft::GroupId;

use crate::clock;
use crate::model::{ClusterName, InstanceId, PeerId};
use crate::output;
use crate::security::authority::{new_installation, prepare_folder};
use crate::security::{CertificateAuthority, Files, SecurityError, ToolName, Who};

use super::arguments::{CertVerb, Issue};
use super::{Exit, Failure};

const DAY: Duration = Duration::from_secs(24 * 3_600);

pub(super) fn run(verb: CertVerb) -> Result<(), Failure> {
    match verb {
        CertVerb::Authority { folder, group } => authority(&folder, group),
        CertVerb::Peer { id, issue } => make(Who::Peer(PeerId(id)), &issue),
        CertVerb::Agent {
            cluster,
            instance,
            issue,
        } => {
            let cluster = ClusterName::new(&cluster).map_err(usage)?;
            let instance = InstanceId::new(&instance).map_err(usage)?;
            make(Who::Agent { cluster, instance }, &issue)
        }
        CertVerb::Tool { name, role, issue } => {
            let name = ToolName::new(&name).map_err(usage)?;
            make(Who::Tool { role, name }, &issue)
        }
    }
}

fn authority(folder: &Path, group: Option<String>) -> Result<(), Failure> {
    let group: GroupId = match group {
        Some(text) => text
            .parse()
            .map_err(|_| usage(format!("--group {text} is not a UUID")))?,
        None => new_installation().map_err(failed)?,
    };
    prepare_folder(folder).map_err(failed)?;
    let authority = CertificateAuthority::create(folder, group, clock::wall_millis());
    let authority = authority.map_err(failed)?;
    output::say(format_args!(
        "the authority of installation {group}, with fingerprint {}, is in {}: whoever reads its key can be anybody there",
        authority.fingerprint(),
        folder.display()
    ));
    Ok(output::line(group)?)
}

fn make(who: Who, issue: &Issue) -> Result<(), Failure> {
    let life = DAY * u32::try_from(issue.days).unwrap_or(u32::MAX);
    let authority = CertificateAuthority::open(&issue.authority).map_err(failed)?;
    let authority = authority.lasting(life);
    prepare_folder(&issue.folder).map_err(failed)?;
    let said = who.to_string();
    let issued = authority.issue(who, &issue.host, clock::wall_millis());
    let issued = issued.map_err(failed)?;
    Files::of_tool(&issue.folder)
        .keep(&issued, &[authority.certificate().clone()])
        .map_err(failed)?;
    output::say(format_args!(
        "{said}: a certificate for {} days is in {}",
        issue.days,
        issue.folder.display()
    ));
    Ok(())
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

fn failed(error: SecurityError) -> Failure {
    let cause = std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
    let exit = match error {
        SecurityError::File { .. } => Exit::Conflict,
        SecurityError::Read { .. } => Exit::NotFound,
        _ => Exit::Failed,
    };
    Failure::new(exit, format!("{error}{cause}"))
}
