//! What a process shows and whom it trusts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft::GroupId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;

use super::authority::{Issued, installation_of};
use super::certificate::{self, Validity, from_pem, pem, to_pem};
use super::error::{SecurityError, invalid};
use super::identity::{Identity, Who};
use super::verify::{Expected, PROVIDER, Trust, words};
use crate::host::durable;

/// Where credentials lie: PEM files. All three may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Every authority that is trusted.
    pub authorities: PathBuf,
}

impl Files {
    /// Those that Primacy keeps in a folder of its own. Key and certificate share a file, so that a power cut never
    /// leaves one without the other.
    pub fn built_in(folder: &Path) -> Files {
        Files {
            certificate: folder.join("own.pem"),
            key: folder.join("own.pem"),
            authorities: folder.join("authorities.pem"),
        }
    }

    /// Those that people and their tools keep in a folder, under the names that other programs expect: `ca.pem`,
    /// `certificate.pem` and `key.pem`.
    pub fn of_tool(folder: &Path) -> Files {
        Files {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            authorities: folder.join("ca.pem"),
        }
    }

    /// Writes what was issued, and whom to trust, in place of what is there: of [`Files::built_in`] a power cut leaves
    /// the old or the new.
    ///
    /// # Errors
    /// [`SecurityError::Write`].
    pub fn keep(
        &self,
        issued: &Issued,
        authorities: &[CertificateDer<'static>],
    ) -> Result<(), SecurityError> {
        // Whoever trusts more is ready for the new certificate; the other order would not be.
        durable::write(&self.authorities, to_pem(authorities).as_bytes())
            .map_err(SecurityError::Write)?;
        self.keep_own(issued)
    }

    /// Writes what was issued in place of what is there, and leaves as it is who is trusted: of [`Files::built_in`] a power
    /// cut leaves the old or the new.
    ///
    /// # Errors
    /// [`SecurityError::Write`].
    pub fn keep_own(&self, issued: &Issued) -> Result<(), SecurityError> {
        let key = pem("PRIVATE KEY", issued.key.secret_der());
        let chain = to_pem(&issued.chain);
        let mut files = vec![];
        if self.key == self.certificate {
            files.push((&self.key, key + &chain));
        } else {
            files.push((&self.key, key));
            files.push((&self.certificate, chain));
        }
        for (path, text) in files {
            durable::write(path, text.as_bytes()).map_err(SecurityError::Write)?;
        }
        Ok(())
    }

    /// Every authority that is trusted.
    ///
    /// # Errors
    /// [`SecurityError::Read`], [`SecurityError::File`].
    pub fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
        from_pem(&read(&self.authorities)?).map_err(|error| wrong(&self.authorities, error))
    }

    /// Whom the certificate speaks for, trusted or not.
    ///
    /// # Errors
    /// [`SecurityError::Read`], [`SecurityError::File`].
    pub fn identity(&self) -> Result<Identity, SecurityError> {
        let chain = self.chain()?;
        let missing = || SecurityError::Certificate("is missing".to_owned());
        let found = chain.first().ok_or_else(missing);
        found
            .and_then(certificate::identity)
            .map_err(|error| wrong(&self.certificate, error))
    }

    /// The certificate, then those between it and its authority.
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
        from_pem(&read(&self.certificate)?).map_err(|error| wrong(&self.certificate, error))
    }
}

/// A key with its certificate, and who it makes us.
#[derive(Debug)]
pub struct Own {
    /// Who we are.
    pub identity: Identity,
    /// When the certificate counts.
    pub validity: Validity,
    pub(super) certified: Arc<CertifiedKey>,
}

/// What a process shows, if anything, and whom it trusts.
#[derive(Debug)]
pub struct Credentials {
    own: Option<Own>,
    trust: Arc<Trust>,
}

impl Credentials {
    /// Trusts these authorities and shows nothing: for people, who show a token.
    ///
    /// # Errors
    /// [`SecurityError::Certificate`].
    pub fn anonymous(
        group: GroupId,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Credentials, SecurityError> {
        let trust = Arc::new(Trust::new(group, authorities)?);
        Ok(Credentials { own: None, trust })
    }

    /// Shows `issued`. It is looked at as others will look at it, so that what they would refuse is refused here, in
    /// words. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SecurityError::Certificate`].
    pub fn new(
        group: GroupId,
        issued: Issued,
        authorities: &[CertificateDer<'static>],
        now: u64,
    ) -> Result<Credentials, SecurityError> {
        let trust = Arc::new(Trust::new(group, authorities)?);
        let refuse = |why: String| SecurityError::Certificate(why);
        let Issued { chain, key } = issued;
        let Some((leaf, others)) = chain.split_first() else {
            return Err(refuse("is missing".to_owned()));
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now));
        let judged = trust.caller(leaf, others, now);
        let identity = judged.map_err(|error| refuse(format!("is refused: {}", words(&error))))?;
        if !matches!(identity.who, Who::Tool { .. }) {
            let expected = Expected::Exactly(identity.who.clone());
            let judged = trust.called(leaf, others, now, &expected);
            judged.map_err(|error| refuse(format!("is refused for serving: {}", words(&error))))?;
        }
        let validity = certificate::validity(leaf)?;
        let key = PROVIDER
            .key_provider
            .load_private_key(key)
            .map_err(|error| refuse(format!("has a key that cannot be used: {error}")))?;
        let certified = CertifiedKey::new(chain, key);
        certified
            .keys_match()
            .map_err(|_| refuse("and the key do not belong together".to_owned()))?;
        let own = Own {
            identity,
            validity,
            certified: Arc::new(certified),
        };
        Ok(Credentials {
            own: Some(own),
            trust,
        })
    }

    /// Reads `files`. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SecurityError::Read`], [`SecurityError::File`]; also if others of this host may read the key.
    pub fn load(group: GroupId, files: &Files, now: u64) -> Result<Credentials, SecurityError> {
        // A missing certificate is what a newcomer has to hear of first.
        let chain = files.chain()?;
        Credentials::judged(group, files, chain, &files.trusted()?, now)
    }

    /// Reads what `files` have to show, and trusts these `authorities` instead of theirs.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub(super) fn load_trusting(
        group: GroupId,
        files: &Files,
        authorities: &[CertificateDer<'static>],
        now: u64,
    ) -> Result<Credentials, SecurityError> {
        Credentials::judged(group, files, files.chain()?, authorities, now)
    }

    fn judged(
        group: GroupId,
        files: &Files,
        chain: Vec<CertificateDer<'static>>,
        authorities: &[CertificateDer<'static>],
        now: u64,
    ) -> Result<Credentials, SecurityError> {
        check_mode(&files.key)?;
        // The library's error does not show the key.
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|error| invalid(&files.key, format!("holds no readable key: {error}")))?;
        let issued = Issued { chain, key };
        Credentials::new(group, issued, authorities, now)
            .map_err(|error| wrong(&files.certificate, error))
    }

    /// Reads what a person or a tool keeps in `folder`: [`Files::of_tool`], or what Primacy keeps itself
    /// ([`Files::built_in`]). Without a certificate it shows nothing; the built-in authority says then of which
    /// installation it is. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub fn of_folder(folder: &Path, now: u64) -> Result<Credentials, SecurityError> {
        let own = Files::built_in(folder);
        let files = match own.certificate.exists() {
            true => own,
            false => Files::of_tool(folder),
        };
        if files.certificate.exists() {
            return Credentials::load(files.identity()?.group, &files, now);
        }
        let path = &files.authorities;
        let authorities = files.trusted()?;
        let first = authorities.first().map(installation_of).transpose();
        let group = first.map_err(|error| wrong(path, error))?.flatten();
        let group = group.ok_or_else(|| {
            let why = "it does not say of which installation it is; put a certificate.pem and its key.pem beside it";
            invalid(path, why)
        })?;
        Credentials::anonymous(group, &authorities)
    }

    /// What it shows, if anything.
    pub fn own(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    /// Whom it trusts.
    pub(super) fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }
}

fn wrong(path: &Path, error: SecurityError) -> SecurityError {
    invalid(path, error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, SecurityError> {
    durable::read_whole(path).map_err(|source| SecurityError::Read {
        path: path.to_owned(),
        source,
    })
}

/// A key may be read by its owner and, as PostgreSQL allows, by the owner's group.
fn check_mode(path: &Path) -> Result<(), SecurityError> {
    let metadata = std::fs::metadata(path).map_err(|source| SecurityError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    match mode & 0o027 {
        0 => Ok(()),
        _ => Err(invalid(
            path,
            format!("others may use this key (mode {mode:04o}); chmod 0600 it"),
        )),
    }
}
