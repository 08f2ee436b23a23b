//! What clients do, by workload, and the remarks of the harness.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One operation. In an invocation, what will be read is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "kebab-case")]
pub enum Operation {
    /// `set`: insert a value that nobody inserts again.
    Add(i64),
    /// `set`: all values, each as often as it is there.
    Read(Option<Vec<i64>>),
    /// `append`: a transaction on lists.
    #[serde(rename = "txn")]
    Transaction(Vec<MicroOperation>),
    /// `bank`: move money.
    Transfer(Transfer),
    /// `bank`: all balances by account.
    Balances(Option<BTreeMap<i64, i64>>),
    /// `status`: ask who is in charge.
    Status(Status),
    /// A register that clients change.
    Register(Register),
    /// `fenceprobe`: a raw commit of a unique value on one node.
    Probe(i64),
    /// An instance promised an epoch: from now on it acknowledges nothing.
    Fence(Fence),
    /// An instance was let go under a higher epoch.
    Unfence(Fence),
    /// Somebody surely held a lease.
    Lease(Lease),
    /// A recovery as the API shows it.
    Recovery(Recovery),
    /// A peer's account of itself.
    Peer(PeerState),
    /// What the run is about.
    Setup(Setup),
    /// A fault begins or is healed.
    Fault(Fault),
}

impl Operation {
    /// Whether an acknowledgement of it says that something was committed.
    pub fn is_write(&self) -> bool {
        match self {
            Operation::Add(_) | Operation::Transfer(_) | Operation::Probe(_) => true,
            Operation::Transaction(micro) => micro
                .iter()
                .any(|it| matches!(it, MicroOperation::Append { .. })),
            Operation::Read(_)
            | Operation::Balances(_)
            | Operation::Status(_)
            | Operation::Register(_)
            | Operation::Fence(_)
            | Operation::Unfence(_)
            | Operation::Lease(_)
            | Operation::Recovery(_)
            | Operation::Peer(_)
            | Operation::Setup(_)
            | Operation::Fault(_) => false,
        }
    }

    /// The name and the value that are written.
    pub(super) fn into_written(self) -> (String, Value) {
        let written = serde_json::to_value(self).expect("operations have no odd keys");
        let name = written["f"].as_str().unwrap_or_default().to_owned();
        (name, written.get("value").cloned().unwrap_or_default())
    }

    /// From what was written.
    pub(super) fn from_written(f: &str, value: Value) -> Result<Operation, String> {
        serde_json::from_value(json!({ "f": f, "value": value }))
            .map_err(|error| format!("operation {f}: {error}"))
    }
}

/// A part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "(String, i64, Option<Element>)",
    into = "(String, i64, Option<Element>)"
)]
pub enum MicroOperation {
    /// Append an element to the list of a key; no element is appended to a key twice.
    Append {
        /// The list.
        key: i64,
        /// What is appended.
        element: i64,
    },
    /// Read a list.
    Read {
        /// The list.
        key: i64,
        /// What was read; none in an invocation.
        list: Option<Vec<i64>>,
    },
}

/// What stands third in a written micro-operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Element {
    One(i64),
    Many(Vec<i64>),
}

impl From<MicroOperation> for (String, i64, Option<Element>) {
    fn from(micro: MicroOperation) -> Self {
        match micro {
            MicroOperation::Append { key, element } => {
                ("append".to_owned(), key, Some(Element::One(element)))
            }
            MicroOperation::Read { key, list } => ("r".to_owned(), key, list.map(Element::Many)),
        }
    }
}

impl TryFrom<(String, i64, Option<Element>)> for MicroOperation {
    type Error = String;

    fn try_from(written: (String, i64, Option<Element>)) -> Result<Self, String> {
        match (written.0.as_str(), written.2) {
            ("append", Some(Element::One(element))) => Ok(MicroOperation::Append {
                key: written.1,
                element,
            }),
            ("r", None) => Ok(MicroOperation::Read {
                key: written.1,
                list: None,
            }),
            ("r", Some(Element::Many(list))) => Ok(MicroOperation::Read {
                key: written.1,
                list: Some(list),
            }),
            (other, _) => Err(format!("{other} is no micro-operation with such a value")),
        }
    }
}

/// Money that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who pays.
    pub from: i64,
    /// Who gets it.
    pub to: i64,
    /// How much.
    pub amount: i64,
}

/// Which promise a status query asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// The leader answers after a majority confirmed it.
    Linearizable,
    /// Whatever the asked peer knows.
    Stale,
}

/// A query of who is in charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `primary` (its number is the epoch) or `leader` (its number is the Raft term).
    pub register: String,
    /// The promise asked for.
    pub consistency: Consistency,
    /// The number; none in an invocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Who is in charge; none in an invocation or while nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

/// An operation on a register; registers begin at 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Which.
    pub key: String,
    /// What.
    #[serde(flatten)]
    pub action: RegisterAction,
}

/// What is done to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegisterAction {
    /// Its value; none in an invocation.
    Read(Option<i64>),
    /// Set it.
    Write(i64),
    /// Set it to the second if it is the first. `ok` means done, `fail` that it was another.
    Cas(i64, i64),
}

/// An instance and an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Which instance, named as in [`super::Answerer::node`].
    pub node: String,
    /// The epoch that it promised, or under which it was let go.
    pub epoch: u64,
}

/// A time in which a lease was held for sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who held it.
    pub holder: String,
    /// Under which epoch or term.
    pub epoch: u64,
    /// From when, in ns of CLOCK_MONOTONIC.
    pub from: u64,
    /// Until when, in ns of CLOCK_MONOTONIC.
    pub until: u64,
}

/// A recovery at the moment of a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Its number.
    pub id: u64,
    /// The epoch that it ran under.
    pub epoch: u64,
    /// Who was promoted; none if nobody was yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<String>,
    /// How it ended; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What it lost of what was acknowledged, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

/// A peer's account of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// The host of the peer.
    pub peer: String,
    /// Its number in the group, if it tells: another number on the same host is another peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Its Raft term.
    pub term: u64,
    /// Whether it calls itself leader of that term.
    pub leads: bool,
    /// The last index that it knows to be committed, if it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<u64>,
    /// The last index that it applied, if it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<u64>,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Nobody else: a failover may lose the tail.
    Async,
    /// Standbys: nothing acknowledged is ever lost.
    #[default]
    Quorum,
}

/// What a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// Of the cluster.
    pub durability: Durability,
    /// How old a stale status may be, in ms.
    pub staleness_ms: u64,
    /// How long before a fault the oldest acknowledgement may be that an asynchronous cluster loses, in ms.
    pub lag_ms: u64,
    /// How old the data may be that a transaction reads that writes nothing, in ms: an isolated primary
    /// answers reads until its lease ends. 0 if reads are strict.
    pub stale_reads_ms: u64,
    /// For how long after a fault is healed a primary that it froze may still acknowledge, in ms: until its leash has
    /// killed it. 0 if never.
    #[serde(skip_serializing_if = "is_zero")]
    pub resumed_ms: u64,
    /// How long a leader of the peers may take to notice that one of a higher number was elected in its term, in ms. Not
    /// written if it is what old histories were made with.
    #[serde(skip_serializing_if = "is_as_of_old")]
    pub superseded_ms: u64,
    /// Whether nothing is done to the cluster: then nobody may elect or recover.
    #[serde(skip_serializing_if = "is_false")]
    pub quiet: bool,
    /// Whether what is done to the cluster is no reason to replace a primary: then nobody may.
    #[serde(skip_serializing_if = "is_false")]
    pub noise: bool,
    /// What all accounts of the bank hold together; none if the first read says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(is_so: &bool) -> bool {
    !*is_so
}

const SUPERSEDED_MS: u64 = 1_200;

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_as_of_old(ms: &u64) -> bool {
    *ms == SUPERSEDED_MS
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            durability: Durability::default(),
            staleness_ms: 5_000,
            lag_ms: 1_000,
            stale_reads_ms: 0,
            resumed_ms: 0,
            superseded_ms: SUPERSEDED_MS,
            quiet: false,
            noise: false,
            total: None,
        }
    }
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What it is.
    pub name: String,
    /// Whom it hits; several hosts are joined by `+`.
    pub target: String,
    /// `installed`, `healed`, `skipped` or `indeterminate`.
    pub status: String,
}

impl Fault {
    /// Every host that it hits.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.target.split('+')
    }
}
