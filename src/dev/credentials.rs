//! The certificates of a `dev`: an authority of its own, which its peers hold, as in a real installation.

use std::io;
use std::path::Path;

use raft::GroupId;

use super::DevError;
use super::layout::Kind;
use super::plan::CLUSTER;
use crate::clock;
use crate::model::{AccessRole, ClusterName, InstanceId, PeerId};
use crate::security::authority::{CertificateAuthority, new_installation, prepare_folder};
use crate::security::{Files, SecurityError, ToolName, Who};

/// What signs for one `dev`.
pub(super) struct Installation(CertificateAuthority);

impl Installation {
    /// With the number that its peers are configured with.
    pub(super) fn make() -> Result<(GroupId, Installation), DevError> {
        let group = new_installation().map_err(failed)?;
        let authority = CertificateAuthority::generate(group, clock::wall_millis());
        Ok((group, Installation(authority.map_err(failed)?)))
    }

    /// Puts the certificate of a node where it will look for it. `own` gives a path to whoever runs the nodes.
    pub(super) fn equip(
        &self,
        home: &Path,
        name: &str,
        kind: Kind,
        own: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<(), DevError> {
        let (who, state) = match kind {
            Kind::Peer => {
                let id = name.trim_start_matches('p').parse();
                (Who::Peer(PeerId(id.map_err(failed)?)), home.join("raft"))
            }
            Kind::Instance => {
                let agent = Who::Agent {
                    cluster: ClusterName::new(CLUSTER).map_err(failed)?,
                    instance: InstanceId::new(name).map_err(failed)?,
                };
                (agent, home.join("agent"))
            }
        };
        let folder = state.join("tls");
        prepare_folder(&folder).map_err(failed)?;
        own(&state).and_then(|()| own(&folder)).map_err(failed)?;
        if kind == Kind::Peer {
            self.0.keep(&folder).map_err(failed)?;
        }
        self.issue(who, &Files::built_in(&folder)).map_err(failed)
    }

    /// Puts a certificate that may do everything into `folder`.
    pub(super) fn equip_owner(&self, folder: &Path) -> Result<(), DevError> {
        prepare_folder(folder).map_err(failed)?;
        let owner = Who::Tool {
            role: AccessRole::Admin,
            name: ToolName::new("dev").map_err(failed)?,
        };
        self.issue(owner, &Files::of_tool(folder)).map_err(failed)
    }

    fn issue(&self, who: Who, files: &Files) -> Result<(), SecurityError> {
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let issued = self.0.issue(who, &hosts, clock::wall_millis())?;
        files.keep(&issued, &[self.0.certificate().clone()])
    }
}

fn failed(error: impl std::error::Error) -> DevError {
    let cause = error.source().map_or(String::new(), |c| format!(": {c}"));
    DevError::failed(format!("make its certificates: {error}{cause}"))
}
