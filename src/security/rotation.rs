//! Another authority in the place of the one there is, at no moment of which somebody is not understood.
//!
//! First the new one is trusted everywhere, then it signs, and when nobody shows anything of the old one it is trusted no
//! more. Each step is a change of files in the folder of one holder of a certificate; whoever runs there reads them
//! anew within seconds, and agents learn from peers whom to trust whenever they renew ([`super::renewal`]). That all
//! hosts took a step before the next one is for people to see to: nobody here knows the hosts that are switched off.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::authority::{CertificateAuthority, installation_of};
use super::certificate::{self, Fingerprint, Validity, from_pem, to_pem};
use super::credentials::{Credentials, Files};
use super::error::{SecurityError, invalid};
use super::identity::Identity;
use crate::host::durable;

/// The keys of one holder: a peer, an agent or a tool.
#[derive(Debug)]
pub struct KeyFolder {
    folder: PathBuf,
    files: Files,
}

/// One authority that a holder trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// By which it is known.
    pub fingerprint: Fingerprint,
    /// When it counts.
    pub validity: Validity,
    /// Whether the holder signs with it: a peer that has its key.
    pub signs: bool,
    /// Whether the holder's certificate is signed by it.
    pub signed_own: bool,
}

/// What a folder holds.
#[derive(Debug)]
pub struct Held {
    /// Whom the holder's certificate speaks for, and when it counts; none for one that shows a token.
    pub own: Option<(Identity, Validity)>,
    /// In the order of the file.
    pub authorities: Vec<Trusted>,
}

impl KeyFolder {
    /// The `tls` in the folder of a peer or an agent, or the folder of a tool.
    ///
    /// # Errors
    /// [`SecurityError::Read`]: it holds no authorities.
    pub fn open(folder: &Path) -> Result<KeyFolder, SecurityError> {
        let built_in = Files::built_in(folder);
        let files = match built_in.authorities.exists() {
            true => built_in,
            false => Files::of_tool(folder),
        };
        files.trusted()?;
        let folder = folder.to_owned();
        Ok(KeyFolder { folder, files })
    }

    /// What is there. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SecurityError::Read`], [`SecurityError::File`].
    pub fn look(&self, now: u64) -> Result<Held, SecurityError> {
        let trusted = self.files.trusted()?;
        let signing = match self.signing() {
            Ok(authority) => Some(authority.fingerprint()),
            Err(SecurityError::Read { .. }) => None,
            Err(error) => return Err(error),
        };
        let own = self.own(&trusted, now)?;
        let mut authorities = vec![];
        for one in &trusted {
            let fingerprint = Fingerprint::of(one);
            let signed_own = own.is_some() && self.own(std::slice::from_ref(one), now).is_ok();
            authorities.push(Trusted {
                fingerprint,
                validity: certificate::validity(one)?,
                signs: signing == Some(fingerprint),
                signed_own,
            });
        }
        Ok(Held { own, authorities })
    }

    /// Trusts every authority in the PEM file `from`, too; those that are trusted already stay as they are. Returns the new ones.
    ///
    /// # Errors
    /// [`SecurityError::File`]: there is none in it, or one of another installation. [`SecurityError::Read`],
    /// [`SecurityError::Write`].
    pub fn trust(&self, from: &Path) -> Result<Vec<Fingerprint>, SecurityError> {
        let text = durable::read_whole(from).map_err(|source| SecurityError::Read {
            path: from.to_owned(),
            source,
        })?;
        let found = from_pem(&text).map_err(|error| invalid(from, error.to_string()))?;
        if found.is_empty() {
            return Err(invalid(from, "there is no certificate in it"));
        }
        let mut trusted = self.files.trusted()?;
        let ours = trusted
            .iter()
            .map(installation_of)
            .find_map(Result::transpose);
        let ours = ours.transpose()?;
        let mut new = vec![];
        for one in found {
            let theirs = installation_of(&one).map_err(|error| invalid(from, error.to_string()))?;
            if let Some((theirs, ours)) = theirs.zip(ours).filter(|(theirs, ours)| theirs != ours) {
                let why = format!(
                    "it is the authority of installation {theirs}, and this one is {ours}; make one with \
                     primacy cert authority --folder FOLDER --group {ours}"
                );
                return Err(invalid(from, why));
            }
            if !trusted.contains(&one) {
                new.push(Fingerprint::of(&one));
                trusted.push(one);
            }
        }
        self.write(&trusted)?;
        Ok(new)
    }

    /// Signs with the authority in the folder `from` from now on, which must be trusted already.
    ///
    /// # Errors
    /// [`SecurityError::File`]: it is not trusted here yet, or this holder signs nothing. [`SecurityError::Read`],
    /// [`SecurityError::Write`].
    pub fn sign_with(&self, from: &Path) -> Result<Fingerprint, SecurityError> {
        let held = self.signing()?;
        let next = CertificateAuthority::open(from)?;
        if next.group() != held.group() || !self.files.trusted()?.contains(next.certificate()) {
            let why = "it is not trusted here yet; primacy cert trust, at every peer, comes first";
            return Err(invalid(from, why));
        }
        next.keep(&self.folder)?;
        Ok(next.fingerprint())
    }

    /// Trusts this authority no more. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SecurityError::File`]: it is not trusted anyway, the holder signs with it, or its own certificate is signed by
    /// it. [`SecurityError::Read`], [`SecurityError::Write`].
    pub fn distrust(&self, fingerprint: Fingerprint, now: u64) -> Result<(), SecurityError> {
        let held = self.look(now)?;
        let refuse = |why: &str| Err(invalid(&self.files.authorities, why));
        let found = held
            .authorities
            .iter()
            .find(|it| it.fingerprint == fingerprint);
        let Some(found) = found else {
            return refuse(
                "no authority with this fingerprint is trusted here; primacy cert show lists them",
            );
        };
        if found.signs {
            return refuse("this peer signs with it; primacy cert sign-with another one first");
        }
        if found.signed_own {
            return refuse(
                "the own certificate is signed by it; it is renewed within a day, at once after SIGHUP, \
                 if the peers sign with another one",
            );
        }
        if held.authorities.len() == 1 {
            return refuse("it is the only one; nobody would be trusted");
        }
        let mut trusted = self.files.trusted()?;
        trusted.retain(|one| Fingerprint::of(one) != fingerprint);
        self.write(&trusted)
    }

    fn signing(&self) -> Result<CertificateAuthority, SecurityError> {
        CertificateAuthority::open(&self.folder)
    }

    /// The own certificate, if there is one, as somebody judges it who trusts `authorities`.
    fn own(
        &self,
        authorities: &[CertificateDer<'static>],
        now: u64,
    ) -> Result<Option<(Identity, Validity)>, SecurityError> {
        if !self.files.certificate.exists() {
            return Ok(None);
        }
        let group = self.files.identity()?.group;
        let read = Credentials::load_trusting(group, &self.files, authorities, now)?;
        Ok(read.own().map(|own| (own.identity.clone(), own.validity)))
    }

    fn write(&self, trusted: &[CertificateDer<'static>]) -> Result<(), SecurityError> {
        let text = to_pem(trusted);
        durable::write(&self.files.authorities, text.as_bytes()).map_err(SecurityError::Write)
    }
}
