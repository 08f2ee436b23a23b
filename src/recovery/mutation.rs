//! Safety rules that tests switch off one at a time, to show that breaking them is noticed.
//! Without the cargo feature `mutants` there is nothing to switch: `broken` is always false.

/// One safety rule, broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg(feature = "mutants")]
pub enum Mutation {
    /// An election needs one promise fewer than R + W + 1 > N asks for.
    QuorumTest,
    /// Agents obey any epoch.
    Gate,
    /// Agents order commands by epoch only.
    GateOrder,
    /// A handover begins without asking whether a proof can be reached.
    PrePromises,
    /// A standby counts as fenced as soon as its conninfo was emptied.
    ProvenFence,
    /// A promotion in progress is fenced and watched like a standby.
    PromotionFence,
    /// A promise carries the remembered position instead of the scanned one.
    ScannedPosition,
    /// A promotion takes the next free timeline number instead of the allocated one.
    AllocatedTimeline,
    /// Promises count whatever filling of the data folder they come from.
    DataIncarnation,
    /// A command to promote brings its own lease.
    OnlyRenewalGrants,
    /// A leader grants leases without asking a majority whether it still leads.
    HeartbeatBeforeGrant,
    /// Standbys that still stream do not stop a failover.
    Veto,
    /// A promise is kept in memory only.
    PersistedPromise,
    /// A promoted instance keeps the synchronous names it had.
    OwnSynchronousNames,
    /// The leash kills the postmaster only.
    LeashKillsAll,
}

#[cfg(feature = "mutants")]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "mutants")]
impl Mutation {
    /// Every rule that can be broken.
    pub const ALL: [Mutation; 15] = [
        Mutation::QuorumTest,
        Mutation::Gate,
        Mutation::GateOrder,
        Mutation::PrePromises,
        Mutation::ProvenFence,
        Mutation::PromotionFence,
        Mutation::ScannedPosition,
        Mutation::AllocatedTimeline,
        Mutation::DataIncarnation,
        Mutation::OnlyRenewalGrants,
        Mutation::HeartbeatBeforeGrant,
        Mutation::Veto,
        Mutation::PersistedPromise,
        Mutation::OwnSynchronousNames,
        Mutation::LeashKillsAll,
    ];

    /// Breaks `rule` on this thread; `None` mends everything.
    pub fn set(rule: Option<Mutation>) {
        BROKEN.set(rule);
    }

    /// Whether this rule is broken on this thread.
    pub fn is_broken(self) -> bool {
        BROKEN.get() == Some(self)
    }
}

/// Whether a rule was broken on purpose: `broken!(QuorumTest)`. Constantly false in a release.
#[macro_export]
macro_rules! broken {
    ($rule:ident) => {{
        #[cfg(feature = "mutants")]
        let broken = $crate::recovery::Mutation::$rule.is_broken();
        #[cfg(not(feature = "mutants"))]
        let broken = false;
        broken
    }};
}
