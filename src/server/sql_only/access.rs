//! How this peer signs in to instances without agents. Each peer has its own way, and nobody else ever sees it.

use raft::GroupId;

use crate::provider::Engine;
use crate::provider::postgres::{INSTALLATION, Login};
use crate::server::config::{ConfigError, TopologyLogin};

/// How this peer signs in, and where it looks for standbys.
#[derive(Debug, Clone)]
pub struct Access {
    /// As whom, and how.
    pub login: Login,
    /// Of which engine they are.
    pub engine: Engine,
    /// The port that is tried first where a standby connects from.
    pub default_port: u16,
}

impl Access {
    /// With the certificates as they are now. Blocks. Errors: as of [`TopologyLogin::tls`].
    pub fn read(of: &TopologyLogin, group: GroupId) -> Result<Access, ConfigError> {
        Ok(Access {
            login: Login {
                user: of.user.clone(),
                password: of.password.clone(),
                database: of.database.clone(),
                tls: of.tls()?,
                application_name: format!("{INSTALLATION}{group}"),
            },
            engine: of.engine,
            default_port: of.default_port,
        })
    }
}
