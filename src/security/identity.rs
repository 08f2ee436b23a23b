//! Who a certificate speaks for: an installation, a role in it, and a name in that role.
//!
//! It stands in the certificate as a URI, `primacy://<group>/peer/<number>`,
//! `primacy://<group>/agent/<cluster>/<instance>` or `primacy://<group>/tool/<role>/<name>`, where the role is one of
//! [`AccessRole`] and counts for the whole installation. A certificate of the user's
//! own authority carries the same URI or, where that authority writes DNS names only, the same words as a name under
//! `<group>.primacy.internal`, from the narrow to the wide: `1.peer.<group>.primacy.internal`,
//! `a.demo.agent.<group>.primacy.internal`, `backup.viewer.tool.<group>.primacy.internal`. Nothing else in a certificate
//! identifies anybody: an authority that signs for a whole company signs for many hosts that are no peers.

use std::fmt;

use raft::GroupId;
use serde::{Deserialize, Serialize};

use crate::model::{AccessRole, ClusterName, InstanceId, PeerId};

const SCHEME: &str = "primacy://";
const DOMAIN: &str = ".primacy.internal";

/// Who somebody is within an installation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Who {
    /// A voter or learner of the Raft group.
    Peer(PeerId),
    /// The agent of an instance.
    Agent {
        /// The cluster of the instance.
        cluster: ClusterName,
        /// The instance.
        instance: InstanceId,
    },
    /// A program of the user, or the user.
    Tool {
        /// What it may do, in the whole installation.
        role: AccessRole,
        /// Its name.
        name: ToolName,
    },
}

/// The name of a program of the user: 1 to 32 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

impl ToolName {
    /// Follows the rules of the names of instances. Errors: the rule that it breaks.
    pub fn new(name: &str) -> Result<ToolName, crate::model::InvalidName> {
        InstanceId::new(name).map(|name| ToolName(name.as_str().to_owned()))
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ToolName {
    type Error = crate::model::InvalidName;
    fn try_from(name: String) -> Result<ToolName, Self::Error> {
        ToolName::new(&name)
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> String {
        name.0
    }
}

/// Who somebody is, and in which installation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The installation: its Raft group.
    pub group: GroupId,
    /// Who in it.
    pub who: Who,
}

impl Who {
    /// The words after the group, from the wide to the narrow.
    fn words(&self) -> Vec<String> {
        match self {
            Who::Peer(id) => vec!["peer".to_owned(), id.to_string()],
            Who::Agent { cluster, instance } => {
                let (cluster, instance) = (cluster.to_string(), instance.to_string());
                vec!["agent".to_owned(), cluster, instance]
            }
            Who::Tool { role, name } => {
                vec!["tool".to_owned(), role.to_string(), name.0.clone()]
            }
        }
    }

    fn from_words(words: &[&str]) -> Option<Who> {
        match words {
            ["peer", id] => {
                let number = id.parse().ok().map(PeerId)?;
                // One spelling only: no `+1`, no `01`.
                (number.to_string() == *id).then_some(Who::Peer(number))
            }
            ["agent", cluster, instance] => Some(Who::Agent {
                cluster: ClusterName::new(cluster).ok()?,
                instance: InstanceId::new(instance).ok()?,
            }),
            ["tool", role, name] => Some(Who::Tool {
                role: role.parse().ok()?,
                name: ToolName::new(name).ok()?,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Peer(id) => write!(f, "peer {id}"),
            Who::Agent { cluster, instance } => write!(f, "the agent of {instance} in {cluster}"),
            Who::Tool { role, name } => write!(f, "tool {name} ({role})"),
        }
    }
}

impl Identity {
    /// As it stands in a certificate.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}/{}", self.group, self.who.words().join("/"))
    }

    /// The DNS name that stands for it.
    pub fn dns(&self) -> String {
        let mut words = self.who.words();
        words.reverse();
        format!("{}.{}{DOMAIN}", words.join("."), self.group)
    }

    /// Reads [`Identity::uri`]; `None` if it is anything else.
    pub fn from_uri(uri: &str) -> Option<Identity> {
        let (group, who) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let words: Vec<_> = who.split('/').collect();
        Identity::of(group, &words)
    }

    /// Reads [`Identity::dns`]; `None` if it is anything else.
    pub fn from_dns(name: &str) -> Option<Identity> {
        let (who, group) = name.strip_suffix(DOMAIN)?.rsplit_once('.')?;
        let words: Vec<_> = who.rsplit('.').collect();
        Identity::of(group, &words)
    }

    fn of(group: &str, words: &[&str]) -> Option<Identity> {
        let id: GroupId = group.parse().ok()?;
        let who = Who::from_words(words)?;
        (id.to_string() == group).then_some(Identity { group: id, who })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of installation {}", self.who, self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId::from_bytes([7; 16]);

    fn identity(who: Who) -> Identity {
        Identity { group: GROUP, who }
    }

    #[test]
    fn an_identity_reads_back_as_it_is_written() {
        let agent = Who::Agent {
            cluster: ClusterName::new("demo").unwrap(),
            instance: InstanceId::new("a").unwrap(),
        };
        let tool = Who::Tool {
            role: AccessRole::Viewer,
            name: ToolName::new("backup").unwrap(),
        };
        let group = "07070707-0707-0707-0707-070707070707";
        for (who, uri, dns) in [
            (Who::Peer(PeerId(1)), "peer/1", "1.peer"),
            (agent, "agent/demo/a", "a.demo.agent"),
            (tool, "tool/viewer/backup", "backup.viewer.tool"),
        ] {
            let identity = identity(who);
            assert_eq!(identity.uri(), format!("primacy://{group}/{uri}"));
            assert_eq!(identity.dns(), format!("{dns}.{group}.primacy.internal"));
            assert_eq!(Identity::from_uri(&identity.uri()), Some(identity.clone()));
            assert_eq!(Identity::from_dns(&identity.dns()), Some(identity));
        }
    }

    #[test]
    fn nothing_else_is_an_identity() {
        let group = GROUP.to_string();
        for who in [
            "peer/01",
            "peer/+1",
            "peer/",
            "peer/1/2",
            "peer/1/",
            "peers/1",
            "agent/demo",
            "agent/Demo/a",
            "tool/backup",
            "tool/root/backup",
            "tool/admin/a_b",
            "tool/admin/a.b",
            "",
            "/peer/1",
        ] {
            let uri = format!("primacy://{group}/{who}");
            assert_eq!(Identity::from_uri(&uri), None, "{uri}");
        }
        let plain = group.replace('-', "");
        for uri in [
            format!("primacy://{plain}/peer/1"),
            format!("primacy://{}/peer/1", group.replace('7', "A")),
            format!("PRIMACY://{group}/peer/1"),
            format!("spiffe://{group}/peer/1"),
        ] {
            assert_eq!(Identity::from_uri(&uri), None, "{uri}");
        }
        for name in [
            format!("1.peer.{group}.primacy.internal.example.com"),
            format!("x.1.peer.{group}.primacy.internal"),
            format!("*.peer.{group}.primacy.internal"),
            "db-1.example.com".to_owned(),
        ] {
            assert_eq!(Identity::from_dns(&name), None, "{name}");
        }
    }
}
