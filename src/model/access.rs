//! What people and their programs may do, and what is recorded of their tokens.
//!
//! Who holds a token holds a role, over all clusters or over some, until it expires. The decision is a function of
//! these values; the token itself is never recorded, only its hash.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ClusterName;

/// How much somebody may do. Each may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessRole {
    /// Look.
    Viewer,
    /// Run a cluster: switch over, pause, add and remove replicas. Nothing that loses data.
    Operator,
    /// Everything: what may lose data, membership, certificates, tokens.
    Admin,
}

/// Over which clusters somebody holds a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// All clusters there are and will be, and the installation itself: peers, tokens, new clusters.
    Everything,
    /// These clusters and nothing else. An empty set permits nothing.
    Clusters(BTreeSet<ClusterName>),
}

/// What an action concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// One cluster.
    Cluster(&'a ClusterName),
    /// The installation: peers, leader, tokens, the making of clusters.
    Installation,
}

/// Something that somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action<'a> {
    /// The least role that may.
    pub needs: AccessRole,
    /// What it concerns.
    pub on: Subject<'a>,
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The role is too low.
    #[error("this needs the role {needs}, and the token has {has}")]
    Role {
        /// What is needed.
        needs: AccessRole,
        /// What the token has.
        has: AccessRole,
    },
    /// Another cluster, or the installation.
    #[error("the token is not for {0}")]
    Scope(String),
    /// Too late.
    #[error("the token expired")]
    Expired,
}

/// Whether a holder of `role` over `scope` may do `action`.
///
/// # Errors
/// [`Forbidden::Role`] and [`Forbidden::Scope`].
pub fn permits(role: AccessRole, scope: &Scope, action: Action<'_>) -> Result<(), Forbidden> {
    if role < action.needs {
        return Err(Forbidden::Role {
            needs: action.needs,
            has: role,
        });
    }
    match (scope, action.on) {
        (Scope::Everything, _) => Ok(()),
        (Scope::Clusters(clusters), Subject::Cluster(cluster)) if clusters.contains(cluster) => {
            Ok(())
        }
        (Scope::Clusters(_), Subject::Cluster(cluster)) => {
            Err(Forbidden::Scope(format!("cluster {cluster}")))
        }
        (Scope::Clusters(_), Subject::Installation) => {
            Err(Forbidden::Scope("the installation as a whole".to_owned()))
        }
    }
}

/// SHA-256 of a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell two apart.
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..")
    }
}

/// What is recorded of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// What people call it; one of its kind.
    pub name: String,
    /// Of its secret. The record is found by it.
    pub hash: SecretHash,
    /// What its holder may do.
    pub role: AccessRole,
    /// Where.
    pub scope: Scope,
    /// Made at, in milliseconds since 1970 by the leader's wall clock.
    pub created_at: u64,
    /// Of no use from this moment on, by the wall clock of the peer that is asked. In milliseconds since 1970.
    pub expires_at: u64,
}

impl TokenRecord {
    /// Whether its holder may do `action` at `now`, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn permits(&self, action: Action<'_>, now: u64) -> Result<(), Forbidden> {
        if now >= self.expires_at {
            return Err(Forbidden::Expired);
        }
        permits(self.role, &self.scope, action)
    }
}

impl fmt::Display for AccessRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AccessRole::Viewer => "viewer",
            AccessRole::Operator => "operator",
            AccessRole::Admin => "admin",
        })
    }
}

impl FromStr for AccessRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<AccessRole, UnknownRole> {
        let all = [AccessRole::Viewer, AccessRole::Operator, AccessRole::Admin];
        let named = all.into_iter().find(|role| role.to_string() == text);
        named.ok_or(UnknownRole)
    }
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, operator or admin")]
pub struct UnknownRole;

#[cfg(test)]
mod tests {
    use super::*;
    use AccessRole::{Admin, Operator, Viewer};

    fn cluster(name: &str) -> ClusterName {
        ClusterName::new(name).unwrap()
    }

    #[test]
    fn a_role_permits_what_lower_ones_do() {
        let roles = [Viewer, Operator, Admin];
        for (rank, role) in roles.into_iter().enumerate() {
            for (need, needs) in roles.into_iter().enumerate() {
                let action = Action {
                    needs,
                    on: Subject::Installation,
                };
                let answer = permits(role, &Scope::Everything, action);
                let expected = match rank >= need {
                    true => Ok(()),
                    false => Err(Forbidden::Role { needs, has: role }),
                };
                assert_eq!(answer, expected, "{role} for {needs}");
            }
        }
    }

    #[test]
    fn a_scope_is_its_clusters_and_nothing_else() {
        let (demo, other) = (cluster("demo"), cluster("other"));
        let scope = Scope::Clusters(BTreeSet::from([demo.clone()]));
        let look = |on| Action { needs: Viewer, on };
        assert_eq!(
            permits(Admin, &scope, look(Subject::Cluster(&demo))),
            Ok(())
        );
        for on in [Subject::Cluster(&other), Subject::Installation] {
            let refused = permits(Admin, &scope, look(on));
            assert!(matches!(refused, Err(Forbidden::Scope(_))), "{on:?}");
        }
        let nothing = Scope::Clusters(BTreeSet::new());
        assert!(permits(Admin, &nothing, look(Subject::Cluster(&demo))).is_err());
    }

    fn record() -> TokenRecord {
        TokenRecord {
            name: "grafana".to_owned(),
            hash: SecretHash([0xAB; 32]),
            role: Viewer,
            scope: Scope::Clusters(BTreeSet::from([cluster("demo")])),
            created_at: 1_700_000_000_000,
            expires_at: 1_700_000_001_000,
        }
    }

    #[test]
    fn a_token_ends_at_its_moment() {
        let demo = cluster("demo");
        let action = Action {
            needs: Viewer,
            on: Subject::Cluster(&demo),
        };
        let record = record();
        assert_eq!(record.permits(action, record.expires_at - 1), Ok(()));
        let late = record.permits(action, record.expires_at);
        assert_eq!(late, Err(Forbidden::Expired));
    }

    #[test]
    fn a_record_keeps_its_bytes() {
        let records = [
            ("one-cluster", record()),
            (
                "everything",
                TokenRecord {
                    role: Admin,
                    scope: Scope::Everything,
                    ..record()
                },
            ),
        ];
        let line = |(name, record): &(&str, TokenRecord)| {
            let bytes = raft::seal(record).unwrap();
            let read: TokenRecord = raft::unseal(&bytes, raft::MAX_COMMAND_BYTES).unwrap();
            assert_eq!(read, *record, "{name}");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{name} {hex}\n")
        };
        let written: String = records.iter().map(line).collect();
        assert_eq!(
            written,
            include_str!("access.txt"),
            "written now:\n{written}"
        );
    }
}
