//! The verbs with which an installation begins and grows: the first peer, invitations, and what a newcomer does with a
//! join token.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::clock;
use crate::http::invitations::{GuestBody, GuestKind};
use crate::http::views::GuestView;
use crate::model::{ClusterName, InstanceId, PeerId, Zone};
use crate::output;
use crate::security::authority::{new_installation, prepare_folder};
use crate::security::enrolment::{Wish, invite as token_for};
use crate::security::invited::FirstPeer;
use crate::security::{
    CertificateAuthority, Files, Invited, JoinKind, JoinToken, SecurityError, ToolName, Who,
    newcomer,
};
use crate::server::config::port;
use crate::server::hex::hex;
use crate::server::{self, Config};

use super::api::Api;
use super::arguments::{GuestVerb, Output, ServerVerb};
use super::daemons::{configuration, refused};
use super::owner::must_own;
use super::peers::{draw, token};
use super::verbs::{print_json, warn};
use super::{Exit, Failure, asked};

/// How long the other first peers may take: they are set up in one go.
const FIRST_WITHIN: Duration = Duration::from_secs(24 * 3_600);

pub(super) fn server(verb: ServerVerb) -> Result<(), Failure> {
    match verb {
        ServerVerb::Init {
            peers,
            folder,
            zone,
            listen,
            config,
        } => init(&peers, &folder, &zone, listen, config.as_deref()),
        ServerVerb::Join {
            token,
            config: path,
        } => {
            let text = configuration(&path, "a peer's")?;
            let text = with_join(&token, &text, &path)?;
            let config = Config::parse(&text).map_err(|error| refused(&path, error))?;
            if config.folder.exists() {
                must_own(&config.folder)?;
            }
            asked(async {
                let joined = server::join::admitted(config).await;
                let joined = joined.map_err(|error| refused(&path, error))?;
                Ok(output::line(format_args!(
                    "this is peer {} of group {}; start it: primacy server --config {}",
                    joined.id,
                    joined.group,
                    path.display()
                ))?)
            })
        }
    }
}

/// The configuration as if the token stood in it, before any table.
pub(super) fn with_join(token: &str, text: &str, path: &Path) -> Result<String, Failure> {
    let token = token.trim();
    // What cannot be read is refused by who reads it next, in better words.
    let mut object: Option<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(text).ok();
    let has_join = match &object {
        Some(object) => object.contains_key("join"),
        None => toml::from_str::<toml::Table>(text).is_ok_and(|it| it.contains_key("join")),
    };
    if has_join {
        let why = "`join` stands in the file already; leave it out there, or just start with it";
        return Err(refused(path, why));
    }
    Ok(match &mut object {
        Some(object) => {
            object.insert("join".to_owned(), token.into());
            serde_json::to_string(object).expect("it was read as JSON")
        }
        None => format!("join = \"{token}\"\n{text}"),
    })
}

pub(super) fn tool(token: &str, name: &str, folder: &Path) -> Result<(), Failure> {
    let wrong = |why: String| Failure::new(Exit::Usage, why);
    let token = JoinToken::parse(token).and_then(|token| token.of_kind(JoinKind::Tool));
    let token = token.map_err(|why| wrong(why.to_string()))?;
    let name = ToolName::new(name).map_err(|why| wrong(why.to_string()))?;
    prepare_folder(folder).map_err(failed)?;
    let nonce = newcomer::nonce(folder).map_err(failed)?;
    asked(async {
        let joined = newcomer::join(&token, Wish::Tool(name), nonce).await;
        let joined = joined.map_err(|why| Failure::new(Exit::Refused, why))?;
        let files = Files::of_tool(folder);
        let kept = files.keep(&joined.issued, &joined.authorities);
        kept.map_err(failed)?;
        Ok(output::line(format_args!(
            "set PRIMACY_TLS={}",
            folder.display()
        ))?)
    })
}

/// The secret is drawn here and goes nowhere but into the token.
pub(super) async fn invite(api: Api, guest: GuestVerb, output: Output) -> Result<(), Failure> {
    let wrong = |why: crate::model::InvalidName| Failure::new(Exit::Usage, why.to_string());
    let (guest, kind) = match guest {
        GuestVerb::Agent { cluster, instance } => {
            let cluster = ClusterName::new(&cluster).map_err(wrong)?;
            let instance = InstanceId::new(&instance).map_err(wrong)?;
            (GuestKind::Agent { cluster, instance }, JoinKind::Agent)
        }
        GuestVerb::Tool { name, role } => {
            let name = ToolName::new(&name).map_err(wrong)?;
            (GuestKind::Tool { name, role }, JoinKind::Tool)
        }
    };
    let secret = draw()?;
    let body = GuestBody {
        guest,
        secret_sha256: hex(&secret.hash().0),
    };
    let view: GuestView = api.post("/api/v1/invitations", &body).await?;
    warn(&view.warnings);
    let installation = (&*view.group, &*view.authority);
    let token = token(installation, view.members.clone(), kind, secret)?;
    match output {
        Output::Json => print_json(&serde_json::json!({"invited": view, "token": token})),
        Output::Table => {
            output::say(format_args!(
                "{} may join until {}, once, with this token",
                view.guest, view.expires_at
            ));
            Ok(output::line(token)?)
        }
    }
}

/// Nothing is written before all of it makes sense.
fn init(
    peers: &[String],
    folder: &Path,
    zone: &str,
    listen: Option<String>,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let usage = |why: String| Failure::new(Exit::Usage, why);
    if let Some(wrong) = peers.iter().find(|address| port(address).is_none()) {
        return Err(usage(format!(
            "PEERS: {wrong} is not host:port; give the address of every first peer, its own first"
        )));
    }
    Zone::new(zone).map_err(|error| usage(format!("--zone: {error}")))?;
    let listen = listen.unwrap_or_else(|| peers[0].clone());
    if listen.parse::<SocketAddr>().is_err() {
        return Err(usage(format!(
            "--listen: {listen} is not an IP address with a port; give the one to listen on"
        )));
    }
    if raft::holds_a_peer(folder) {
        let text = format!("{} holds a peer already", folder.display());
        return Err(Failure::new(Exit::Conflict, text));
    }
    let group = new_installation().map_err(failed)?;
    let listed: Vec<_> = (1..)
        .zip(peers)
        .map(|(id, address): (u64, _)| format!("{id} = \"{address}\"\n"))
        .collect();
    let text = format!(
        "id = 1\ngroup = \"{group}\"\nzone = \"{zone}\"\nfolder = \"{}\"\nlisten = \"{listen}\"\n\n[peers]\n{}",
        folder.display(),
        listed.concat()
    );
    let checked = Config::parse(&text).map_err(|error| usage(error.to_string()))?;
    config.map_or(Ok(()), check_new)?;

    let tls = checked.tls_folder();
    prepare_folder(&tls).map_err(failed)?;
    give_away(folder, &tls)?;
    let now = clock::wall_millis();
    let authority = CertificateAuthority::create(&tls, group, now).map_err(failed)?;
    let host = crate::model::address::host(&peers[0]);
    let issued = authority.issue(Who::Peer(PeerId(1)), &[host.to_owned()], now);
    let kept =
        Files::built_in(&tls).keep(&issued.map_err(failed)?, &[authority.certificate().clone()]);
    kept.map_err(failed)?;
    let mut tokens = BTreeMap::new();
    let mut invited = Invited {
        expires_at: now + FIRST_WITHIN.as_millis() as u64,
        ..Invited::default()
    };
    for (id, address) in (1..).zip(peers).skip(1) {
        let token = token_for(&authority, vec![peers[0].clone()], JoinKind::Peer);
        let token = token.map_err(failed)?;
        let peer = FirstPeer {
            secret: token.secret.hash(),
            taken_by: None,
        };
        invited.peers.insert(id, peer);
        tokens.insert(id, (address, token));
    }
    invited.keep(&tls).map_err(failed)?;
    match config {
        Some(path) => write_new(path, &text)?,
        None => output::print(&text)?,
    }
    told(&tokens, folder, config)
}

/// What is to be typed next.
fn told(
    tokens: &BTreeMap<u64, (&String, JoinToken)>,
    folder: &Path,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let config = config.map_or("FILE".to_owned(), |path| path.display().to_string());
    output::say(format_args!(
        "start this peer: primacy server --config {config}\n\
         every other first peer gets a configuration with zone, folder, listen and its own join token, which counts\n\
         once, for a day, while this peer runs:"
    ));
    for (id, (address, token)) in tokens {
        output::line(format_args!(
            "# peer {id} at {address}\njoin = \"{}\"",
            token.reveal()
        ))?;
    }
    output::say(format_args!(
        "then: export PRIMACY_TLS={}/tls, and\n\
         with agents: primacy cluster create …, and for each agent: primacy invite agent CLUSTER INSTANCE\n\
         without: a table [postgresql] in the configuration of every peer, and primacy cluster adopt HOST\n\
         keep a copy of {}/tls/authority.pem in a safe place: whoever reads it can be anybody in this installation",
        folder.display(),
        folder.display()
    ));
    Ok(())
}

/// Root prepares a folder for the user to whom it belongs. What is written into `tls` from now on is that user's, too;
/// what is there already stays whose it is, because that user may have linked it from elsewhere.
fn give_away(folder: &Path, tls: &Path) -> Result<(), Failure> {
    let given = || -> std::io::Result<()> {
        let owner = fs::metadata(folder)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let tls = fs::File::from(rustix::fs::open(tls, flags, Mode::empty())?);
        match tls.metadata()?.uid() == owner.uid() {
            true => Ok(()),
            false => fchown(&tls, Some(owner.uid()), Some(owner.gid())),
        }
    };
    given().map_err(|error| {
        let text = format!(
            "give {} to the owner of {}: {error}; it must be a folder itself, and no link to one",
            tls.display(),
            folder.display()
        );
        Failure::new(Exit::Failed, text)
    })
}

/// Before anything is made: the tokens must not be lost because the file cannot be written.
fn check_new(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let refuse = |exit, why: String| Err(Failure::new(exit, format!("--config: {why}")));
    match folder.filter(|folder| !folder.is_dir()) {
        _ if path.exists() => refuse(Exit::Conflict, format!("{} exists", path.display())),
        Some(folder) => refuse(
            Exit::Usage,
            format!("there is no folder {}; make it first", folder.display()),
        ),
        None => Ok(()),
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o644).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::new(Exit::Conflict, format!("{}: {error}", path.display())))
}

fn failed(error: SecurityError) -> Failure {
    let cause = std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
    let exit = match error {
        SecurityError::File { .. } => Exit::Conflict,
        _ => Exit::Failed,
    };
    Failure::new(exit, format!("{error}{cause}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn root_gives_a_user_nothing_that_the_user_linked() {
        const USER: u32 = 65_534;
        let root = tempfile::tempdir().unwrap();
        let [folder, linked, secret, theirs] =
            ["peer", "linked", "secret", "theirs"].map(|name| root.path().join(name));
        let tls = folder.join("tls");
        fs::create_dir_all(&tls).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::hard_link(&secret, tls.join("authorities.pem")).unwrap();
        symlink(&secret, tls.join("invited")).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&folder, Some(USER), Some(USER)).unwrap();
        }
        give_away(&folder, &tls).unwrap();
        Invited::default().keep(&tls).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        let user = owner(&folder);
        assert_eq!((owner(&tls), owner(&tls.join("invited"))), (user, user));
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(owner(&secret), rustix::process::geteuid().as_raw());
        fs::create_dir(&linked).unwrap();
        fs::rename(&tls, &theirs).unwrap();
        symlink(&linked, &tls).unwrap();
        let refused = give_away(&folder, &tls).unwrap_err();
        assert!(refused.text.contains("no link to one"), "{}", refused.text);
        assert_eq!(owner(&linked), rustix::process::geteuid().as_raw());
    }
}
