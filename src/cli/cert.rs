//! Certificates by hand: an authority, and what it signs. Nothing here asks a peer.

use std::path::Path;
use std::time::Duration;

use raft::GroupId;

use crate::clock;
use crate::model::{ClusterName, InstanceId, PeerId};
use crate::output;
use crate::security::authority::{new_installation, prepare_folder};
use crate::security::rotation::KeyFolder;
use crate::security::{CertificateAuthority, Files, SecurityError, ToolName, Who};

use super::arguments::{CertVerb, Issue};
use super::owner::must_own;
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
        CertVerb::Show { folder } => show(&folder),
        CertVerb::Trust {
            folder,
            certificates,
        } => trust(&folder, &certificates),
        CertVerb::SignWith { folder, authority } => {
            let next = own(&folder)?.sign_with(&authority).map_err(refused)?;
            output::say(format_args!(
                "this peer signs with {next} from now on; its own certificate is renewed within a day, at once after SIGHUP"
            ));
            Ok(())
        }
        CertVerb::Distrust {
            folder,
            fingerprint,
        } => {
            let keys = own(&folder)?;
            keys.distrust(fingerprint, clock::wall_millis())
                .map_err(refused)?;
            output::say(format_args!(
                "{fingerprint} is trusted no more by whoever runs with {}",
                folder.display()
            ));
            Ok(())
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

/// The keys in a folder that is the caller's own.
fn own(folder: &Path) -> Result<KeyFolder, Failure> {
    must_own(folder)?;
    KeyFolder::open(folder).map_err(failed)
}

fn show(folder: &Path) -> Result<(), Failure> {
    let keys = KeyFolder::open(folder).map_err(failed)?;
    let held = keys.look(clock::wall_millis()).map_err(failed)?;
    match &held.own {
        Some((identity, validity)) => output::line(format_args!(
            "own        {}, until {}",
            identity.who,
            clock::text_of(validity.to)
        ))?,
        None => output::line("own        none: a token is shown instead")?,
    }
    if let Some((identity, _)) = &held.own {
        output::line(format_args!("group      {}", identity.group))?;
    }
    for one in &held.authorities {
        let marks = [
            (one.signs, ", signs here"),
            (one.signed_own, ", signed the own certificate"),
        ];
        let marks: String = marks
            .iter()
            .filter_map(|(is, mark)| is.then_some(*mark))
            .collect();
        output::line(format_args!(
            "authority  {}, until {}{marks}",
            one.fingerprint,
            clock::text_of(one.validity.to)
        ))?;
    }
    Ok(())
}

fn trust(folder: &Path, certificates: &Path) -> Result<(), Failure> {
    let new = own(folder)?.trust(certificates).map_err(refused)?;
    if new.is_empty() {
        output::say("it was trusted already");
    }
    for fingerprint in new {
        output::say(format_args!(
            "{fingerprint} is trusted, too, by whoever runs with {}",
            folder.display()
        ));
    }
    Ok(())
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

/// The step is not taken now.
fn refused(error: SecurityError) -> Failure {
    match error {
        SecurityError::File { .. } => Failure::new(Exit::Refused, error.to_string()),
        other => failed(other),
    }
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
