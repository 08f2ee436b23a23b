//! Certificates for everybody: both systems speak mutual TLS, as in production.

use std::{path::Path, path::PathBuf, sync::Arc};

use anyhow::Context;
use primacy::{
    clock::wall_millis,
    model::{AccessRole, PeerId},
    security::{
        CertificateAuthority, Credentials, Files, Tls, ToolName, Who, authority::prepare_folder,
        certificate::from_pem,
    },
};
use raft::GroupId;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The group of peers that is measured.
pub const GROUP: GroupId = GroupId::from_bytes(*b"a group to time.");
/// Where everybody answers.
const HOST: &str = "127.0.0.1";

/// The certificates of a run, and how its clients connect.
#[derive(Clone)]
pub struct Keys {
    folder: PathBuf,
    connector: TlsConnector,
}

impl Keys {
    /// Makes them all below `folder`.
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("keys");
        std::fs::create_dir_all(&folder)?;
        let authority = CertificateAuthority::generate(GROUP, wall_millis())?;
        let trusted = [authority.certificate().clone()];
        let tool = Who::Tool {
            role: AccessRole::Admin,
            name: ToolName::new("bench")?,
        };
        let peers = (1..=3).map(|id| (id.to_string(), Who::Peer(PeerId(id))));
        for (name, who) in peers.chain([("bench".to_owned(), tool)]) {
            let issued = authority.issue(who, &[HOST.to_owned()], wall_millis())?;
            let own = folder.join(name);
            prepare_folder(&own)?;
            Files::built_in(&own).keep(&issued, &trusted)?;
        }
        Ok(Self {
            connector: connector(&Files::built_in(&folder.join("bench")))?,
            folder,
        })
    }

    /// Those of peer `id`, from 1.
    pub fn of(&self, id: usize) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// A connection of a client, which speaks HTTP/2.
    pub async fn connect(&self, address: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(HOST)?;
        Ok(self.connector.connect(name, stream).await?)
    }
}

/// What the peer whose keys are in `folder` shows and trusts.
pub fn tls(folder: &Path) -> anyhow::Result<Tls> {
    let credentials = Credentials::load(GROUP, &Files::built_in(folder), wall_millis())?;
    Ok(Tls::new(credentials))
}

fn connector(files: &Files) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for authority in from_pem(&std::fs::read(&files.authorities)?)? {
        roots.add(authority)?;
    }
    let chain = from_pem(&std::fs::read(&files.certificate)?)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).context("the key of the clients")?;
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    // etcd speaks to nobody who does not ask for it.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
