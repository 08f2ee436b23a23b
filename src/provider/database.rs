//! What every database engine must be able to do for us, or say that it cannot.
//!
//! The first seven operations have the names and the meaning of the database provider abstraction that others know
//! (`GetReplicationStatus` and so on, keyed by host and port). `tests/provider.rs` is the one table of what each
//! operation must show, and every engine is held to it.

use std::future::Future;
use std::time::Duration;

use super::{Operation, Outcome, Result};
use crate::model::{
    Address, InstanceFacts, Position, PositionOrder, ReplicationStatus, SyncPolicy, SyncState,
};

/// What an engine can do in one of its versions, over SQL alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// A standby can be given another source without a restart.
    pub reparent: bool,
    /// A standby can be promoted.
    pub promote: bool,
    /// A primary can become a standby. Where not, an agent is needed.
    pub demote: bool,
    /// A fence outlives a session that does not want it. Where not, it is a courtesy.
    pub durable_fence: bool,
    /// Transactions have identifiers of their own that survive a change of primary.
    pub gtid: bool,
    /// A role without superuser can be given every right that is needed.
    pub least_privilege: bool,
}

/// How far WAL, or what the engine has in its place, must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Received and flushed: a promotion would keep it.
    Received,
    /// Applied: reads show it.
    Applied,
}

/// Questions about global transaction identifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gtid {
    /// All that the instance has executed.
    Executed,
    /// What it has executed and this other instance has not.
    Errant {
        /// The one to compare with.
        against: Address,
    },
}

/// One database engine, for every instance of one cluster. Reads take their deadline, changes take an [`Operation`] with
/// one. A change is idempotent: what is so already is a success. One whose answer was lost is looked at once more within
/// its deadline and never made twice; [`super::ProviderError::outcome_unknown`] says that this did not settle it.
///
/// Every method can return [`super::ProviderError`] `Unreachable`, `Timeout`, `TooManyConnections`, `StartingUp`,
/// `ShuttingDown`, `AuthFailed`, `PermissionDenied`, `Server`, `Parse`; every change also `FencedOut` and
/// `Unsupported`. What else one returns stands at it.
pub trait DatabaseProvider: Send + Sync + 'static {
    /// `postgresql`, `mysql` ….
    fn provider_name(&self) -> &'static str;

    /// How the instance replicates.
    fn get_replication_status(
        &self,
        of: &Address,
        within: Duration,
    ) -> impl Future<Output = Result<ReplicationStatus>> + Send;

    /// Whether it receives from a source that was heard not long ago, and applies.
    fn is_replica_running(
        &self,
        of: &Address,
        within: Duration,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Makes new transactions read-only unless they say otherwise, or no longer. A courtesy, not a fence: a session can
    /// say otherwise, and a transaction that is open goes on. Returns when it is in force.
    fn set_read_only(
        &self,
        by: &Operation,
        of: &Address,
        on: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Whether new transactions are read-only unless they say otherwise. Says nothing of recovery.
    fn is_read_only(
        &self,
        of: &Address,
        within: Duration,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Lets a standby apply what it receives. Does nothing on a primary.
    fn start_replication(
        &self,
        by: &Operation,
        of: &Address,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Has a standby apply nothing more until it is started again; it goes on receiving. Returns once that is
    /// confirmed. Errors: `WrongRole` on a primary.
    fn stop_replication(
        &self,
        by: &Operation,
        of: &Address,
    ) -> impl Future<Output = Result<()>> + Send;

    /// What can be done with a server of this version. Errors: `Unsupported`, `Parse`.
    fn capabilities(&self, server_version: &str) -> Result<Capabilities>;

    /// All that is to be seen of the instance.
    fn discover(
        &self,
        of: &Address,
        within: Duration,
    ) -> impl Future<Output = Result<InstanceFacts>> + Send;

    /// Resolves once the session that is kept with the instance from call to call is ended by the server or by the network,
    /// as a server that dies or is stopped does at once; never without a session, nor with one that served a single
    /// [`DatabaseProvider::discover`]: who ends every session at once would be asked without a pause. It says that it is
    /// time to look, and nothing else.
    fn hung_up(&self, of: &Address) -> impl Future<Output = ()> + Send;

    /// Commits something that is in no table and waits for the instance's own disk, not for standbys. Whoever asks often
    /// writes often: it is for an instance whose log does not move although somebody writes. Errors: `WrongRole` on a
    /// standby; `Timeout` while the disk does not take it.
    fn probe_write(
        &self,
        of: &Address,
        within: Duration,
    ) -> impl Future<Output = Result<()>> + Send;

    /// How `a` stands to `b`.
    fn compare(&self, a: &Position, b: &Position) -> PositionOrder;

    /// Waits until the instance has come as far as `to`, and says how far it is then. Errors: `NotCaughtUp` at the
    /// deadline; `Diverged` if it is on another branch; `Precondition` if `to` is of another engine.
    fn wait_position(
        &self,
        of: &Address,
        extent: Extent,
        to: &Position,
        within: Duration,
    ) -> impl Future<Output = Result<Position>> + Send;

    /// Makes a standby the primary, with new transactions read-write; returns once it is, with where its history begins to
    /// be its own, or a little after. Errors: `WrongRole` if it is one.
    fn promote(
        &self,
        by: &Operation,
        of: &Address,
    ) -> impl Future<Output = Result<Position>> + Send;

    /// Makes a primary a standby of `to`. A standby is reparented. Errors: `AgentRequired`, before anything is changed,
    /// where the server must be restarted for it; as [`DatabaseProvider::reparent`].
    fn demote(
        &self,
        by: &Operation,
        of: &Address,
        to: &Address,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Asks a primary to accept nothing more: read-only by default, and every session of a client ended. A courtesy: it
    /// keeps nobody from writing who is set on it. `Applied` once no session from before is left. Errors: `WrongRole` on
    /// a standby; `PermissionDenied` while a session remains that only a superuser may end.
    fn fence(&self, by: &Operation, of: &Address) -> impl Future<Output = Result<Outcome>> + Send;

    /// Has a standby follow `to`: host and port change and nothing else, so that user, secret, TLS, name and slot stay.
    /// Returns once that is in force; that it streams is to be seen in its status. Errors: `WrongRole` on a primary;
    /// `AgentRequired` where it needs a restart; `Precondition` if `to` does not answer, is of another history or follows
    /// `of`, if the standby would not notice, or if a password would come into its log.
    fn reparent(
        &self,
        by: &Operation,
        of: &Address,
        to: &Address,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Has a standby follow nobody until it is reattached; it stays a standby and can be read. Returns once it receives
    /// nothing more. Errors: as [`DatabaseProvider::reparent`].
    fn detach(&self, by: &Operation, of: &Address) -> impl Future<Output = Result<()>> + Send;

    /// Has a standby receive nothing more and apply nothing more, proven: it is detached, whatever it did before, nothing
    /// receives there, and its pause is confirmed. Answers with the end of what it has; none if that cannot be known over
    /// SQL, as after a restart with WAL that is not replayed. Lasts until it is reattached and started. Errors: `WrongRole`
    /// on a primary; `AgentRequired` where it needs a restart; as [`DatabaseProvider::reparent`] of a password.
    fn revoke(
        &self,
        by: &Operation,
        of: &Address,
    ) -> impl Future<Output = Result<Option<Position>>> + Send;

    /// Takes a [`DatabaseProvider::detach`] back: it follows whom it followed before. Errors: as
    /// [`DatabaseProvider::reparent`].
    fn reattach(&self, by: &Operation, of: &Address) -> impl Future<Output = Result<()>> + Send;

    /// Answers a question about transaction identifiers with a set of them. Errors: `Unsupported`.
    fn gtid(
        &self,
        of: &Address,
        question: &Gtid,
        within: Duration,
    ) -> impl Future<Output = Result<String>> + Send;

    /// What commits wait for.
    fn get_sync(
        &self,
        of: &Address,
        within: Duration,
    ) -> impl Future<Output = Result<SyncState>> + Send;

    /// Has commits wait for these. Returns once that is in force for new commits. Less than before lets go of commits
    /// that wait. Errors: `Precondition` for a policy that no commit could ever meet, or that could not be written.
    fn set_sync(
        &self,
        by: &Operation,
        of: &Address,
        policy: &SyncPolicy,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Makes a commit of nothing, and returns once it was acknowledged under this policy and every process of the primary is
    /// known to go by it: what was acknowledged before, and what is from now on, is on as many standbys as it asks for.
    /// Nobody need lead for it. Errors: `WrongRole` on a standby; `Precondition` if another policy is in force; `Timeout` if
    /// it is not known by then.
    fn prove_sync(
        &self,
        of: &Address,
        policy: &SyncPolicy,
        within: Duration,
    ) -> impl Future<Output = Result<()>> + Send;
}
