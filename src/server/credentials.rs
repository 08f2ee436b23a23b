//! What a peer shows to others, whom it trusts, and what it signs with.

use crate::clock;
use crate::security::enrolment::Issuer;
use crate::security::renewal::{self, Keeper};
use crate::security::{Credentials, Files, SecurityError, Tls, Who, Wire};

use super::{Config, ServerError};

/// How this peer speaks. Its certificate must be of its group and its number.
pub(super) fn wire(config: &Config) -> Result<Wire, ServerError> {
    match &config.tls {
        None => Ok(Wire::Plain),
        Some(_) => Ok(Wire::Tls(Tls::new(load(config)?))),
    }
}

/// Reads its certificate anew.
pub(super) fn load(config: &Config) -> Result<Credentials, ServerError> {
    let files = config.tls.as_ref();
    let files = files.ok_or_else(|| ServerError::Tls("this peer speaks plain HTTP".to_owned()))?;
    let read = Credentials::load(config.group, files, clock::wall_millis());
    let credentials = read.map_err(|error| refused(&error))?;
    let found = credentials.own().map(|own| &own.identity.who);
    match found {
        Some(Who::Peer(id)) if *id == config.id => Ok(credentials),
        Some(who) => Err(ServerError::Tls(format!(
            "{}: the certificate is of {who} and the configuration of peer {}; give each peer its own",
            files.certificate.display(),
            config.id
        ))),
        None => Err(ServerError::Tls(format!(
            "{}: there is no certificate",
            files.certificate.display()
        ))),
    }
}

/// The certificate of this peer, which it renews itself if it holds the authority.
pub(super) struct OwnCertificate {
    config: Config,
    files: Files,
    addresses: Vec<String>,
}

/// Keeps the certificate fresh, until dropped; in plain HTTP there is none.
pub(super) async fn keep(wire: Wire, config: Config) {
    if let (Wire::Tls(tls), Some(files)) = (wire, config.tls.clone()) {
        let address = config.peers.get(&config.id);
        let own = OwnCertificate {
            addresses: address
                .map(|it| crate::model::address::host(it).to_owned())
                .into_iter()
                .collect(),
            config,
            files,
        };
        renewal::keep(&tls, &own).await;
    } else {
        std::future::pending().await
    }
}

impl Keeper for OwnCertificate {
    fn files(&self) -> &Files {
        &self.files
    }

    fn load(&self) -> Result<Credentials, String> {
        load(&self.config).map_err(|error| error.to_string())
    }

    async fn renew(&self) -> Result<(), String> {
        let issuer = issuer(&self.config)?;
        let (who, now) = (Who::Peer(self.config.id), clock::wall_millis());
        let issued = issuer.authority.issue(who, &self.addresses, now);
        let issued = issued.map_err(|error| error.to_string())?;
        self.files
            .keep_own(&issued)
            .map_err(|error| error.to_string())
    }

    fn renews(&self) -> bool {
        let folder = self.config.tls_folder();
        self.files == Files::built_in(&folder) && issuer(&self.config).is_ok()
    }
}

/// What a peer signs with. Errors: in words, it holds nothing.
pub fn issuer(config: &Config) -> Result<Issuer, String> {
    let files = config.tls.as_ref();
    let files = files.ok_or("the peers speak plain HTTP, and there are no certificates")?;
    let issuer = Issuer::open(&config.tls_folder(), files).map_err(|error| match error {
        SecurityError::Read { .. } => {
            "this peer holds no authority: certificates are distributed by hand".to_owned()
        }
        other => other.to_string(),
    })?;
    // One that was left there by another installation, or from before.
    let is_ours = issuer.authority.group() == config.group;
    match is_ours && issuer.trusted.contains(issuer.authority.certificate()) {
        true => Ok(issuer),
        false => Err("the authority that this peer holds is not one that it trusts".to_owned()),
    }
}

fn refused(error: &SecurityError) -> ServerError {
    let cause = std::error::Error::source(error).map_or(String::new(), |c| format!(": {c}"));
    let next = match error {
        SecurityError::Read { .. } => {
            "; a first peer makes its own with `primacy server init`, another one is given it with a join token"
        }
        _ => "",
    };
    ServerError::Tls(format!("{error}{cause}{next}"))
}
