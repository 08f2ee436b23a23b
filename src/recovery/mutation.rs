//! Safety rules that tests switch off one at a time, to show that breaking them is noticed.
//! Without the cargo feature `mutants` there is nothing to switch: `broken` is always false.
//!
//! The simulator breaks a rule on one thread, where it runs one world. The real binary breaks one for the whole
//! process, because its work is spread over threads; which one, the command line says (`cli`).

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
    /// The end of a lease stops nothing: neither the agent nor the leash cares.
    LeaseEnd,
    /// Leases are counted on the wall clock.
    LeaseClock,
    /// A leader waits only for the half of the leases that were granted before.
    WholeLease,
    /// A linearizable question is answered by whoever believes to lead.
    ConfirmedRead,
    /// Of those who promised, the one that holds least is promoted.
    BestCandidate,
    /// The longer lease of a planned stop is granted without a record of it.
    RecordedStop,
    /// Recoveries begin although somebody switched automation off.
    Held,
    /// An instance is promoted although operators said that it must not be.
    PromotionRule,
    /// Whom a switchover names is promoted, whatever it holds.
    NamedHoldsAll,
    /// A forced failover waits for no lease.
    ForcedLease,
    /// A forced failover elects whoever can be asked, whatever was accepted to be lost.
    AcceptedLoss,
    /// A switchover that is given up is over before the agent of the primary knows.
    Recall,
    /// A standby promises a newer epoch although it gave its word to back the primary.
    BackingWord,
    /// A restarted agent does not know that it may have given its word.
    BackingMark,
    /// Who has promised a newer epoch still gives its word for an older one.
    BackingPromised,
    /// A primary counts on a word from the moment at which it arrived.
    BackingClock,
    /// One word fewer than a proof leaves is enough.
    BackingEnough,
    /// Fewer standbys acknowledge before the record says so.
    WeakerFirst,
    /// A stronger durability is recorded without a commit that was acknowledged under it.
    ConfirmingCommit,
    /// A stronger durability is recorded without a look at what walsenders run.
    ConfirmedSenders,
    /// What was confirmed of an earlier change of durability counts for a later one.
    LateConfirmation,
    /// A quorum is recorded in the place of `async` without a look whether commits wait at all.
    ConfirmedWaiting,
    /// Walsenders under a rule of another number are taken for those that run the new one.
    ConfirmedNumber,
    /// `async` is recorded in the place of a quorum while longer leases and fewer words may last.
    LongerLeases,
    /// Over SQL, one peer that finds the primary gone is enough.
    SqlMajority,
    /// Over SQL, standbys that still hear the primary do not stop a failover.
    SqlVeto,
    /// Over SQL, a standby counts although it was not seen to receive nothing.
    SqlRevocation,
    /// Over SQL, of the revoked standbys the one that holds least is promoted.
    SqlBestCandidate,
    /// Over SQL, another candidate is chosen while what became of the first is not known.
    SqlUndecided,
    /// Over SQL, one that was told to become the primary and did so unseen is taken for somebody else's choice.
    SqlTold,
    /// Over SQL, nobody looks whether the old primary of a switchover is quiet still.
    SqlQuiet,
    /// Over SQL, a voter counts whatever copy of the data it holds.
    SqlCopies,
    /// Over SQL, one that opened a branch of its own is forgotten to have done so once it is in recovery.
    SqlBranch,
    /// Over SQL, a copy of the data is proven as soon as it streams, however far it has come.
    SqlGoal,
    /// Over SQL, a copy is the same after another start if its mark is, whoever knows what it held.
    SqlStart,
    /// Over SQL, what had a branch of its own is taken for replaced as soon as its mark changes.
    SqlWritten,
    /// Over SQL, a switchover begins without asking whether a proof can be reached.
    SqlReach,
    /// Over SQL, a stronger rule of whom commits wait for is believed as soon as it is seen.
    SqlBarrier,
}

#[cfg(feature = "mutants")]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "mutants")]
static EVERYWHERE: std::sync::OnceLock<Mutation> = std::sync::OnceLock::new();

#[cfg(feature = "mutants")]
impl Mutation {
    /// Every rule that the simulator breaks.
    pub const ALL: [Mutation; 28] = [
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
        Mutation::RecordedStop,
        Mutation::Held,
        Mutation::PromotionRule,
        Mutation::NamedHoldsAll,
        Mutation::ForcedLease,
        Mutation::AcceptedLoss,
        Mutation::Recall,
        Mutation::BackingWord,
        Mutation::BackingMark,
        Mutation::BackingPromised,
        Mutation::BackingClock,
        Mutation::BackingEnough,
        Mutation::LongerLeases,
    ];

    /// The rules that are broken in the real binary alone, most of them because they live in its shell.
    pub const IN_THE_SHELL: [Mutation; 5] = [
        Mutation::LeaseEnd,
        Mutation::LeaseClock,
        Mutation::WholeLease,
        Mutation::ConfirmedRead,
        Mutation::BestCandidate,
    ];

    /// The rules of a durability that is changed; the model of `tests/durability_model` breaks them.
    pub const OF_DURABILITY: [Mutation; 6] = [
        Mutation::WeakerFirst,
        Mutation::ConfirmingCommit,
        Mutation::ConfirmedSenders,
        Mutation::LateConfirmation,
        Mutation::ConfirmedWaiting,
        Mutation::ConfirmedNumber,
    ];

    /// The rules of clusters without agents; the model of `tests/sql_model` breaks them.
    pub const OVER_SQL: [Mutation; 14] = [
        Mutation::SqlMajority,
        Mutation::SqlVeto,
        Mutation::SqlRevocation,
        Mutation::SqlBestCandidate,
        Mutation::SqlUndecided,
        Mutation::SqlTold,
        Mutation::SqlQuiet,
        Mutation::SqlCopies,
        Mutation::SqlBranch,
        Mutation::SqlGoal,
        Mutation::SqlStart,
        Mutation::SqlWritten,
        Mutation::SqlReach,
        Mutation::SqlBarrier,
    ];

    /// Its name as it is typed: `leash-kills-all`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// The rule of that name.
    pub fn named(name: &str) -> Option<Mutation> {
        let mut all = Mutation::ALL.into_iter().chain(Mutation::IN_THE_SHELL);
        all.find(|rule| rule.name() == name)
    }

    /// Breaks `rule` on this thread; `None` mends everything that is broken here alone.
    pub fn set(rule: Option<Mutation>) {
        BROKEN.set(rule);
    }

    /// Breaks `rule` in this whole process, for good; false if another one is broken already.
    pub fn break_everywhere(rule: Mutation) -> bool {
        *EVERYWHERE.get_or_init(|| rule) == rule
    }

    /// Whether this rule is broken on this thread or in this process.
    pub fn is_broken(self) -> bool {
        BROKEN.get() == Some(self) || EVERYWHERE.get() == Some(&self)
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

#[cfg(all(test, feature = "mutants"))]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_one_name() {
        let all = Mutation::ALL.into_iter().chain(Mutation::IN_THE_SHELL);
        for rule in all {
            assert_eq!(Mutation::named(&rule.name()), Some(rule));
        }
        assert_eq!(Mutation::LeashKillsAll.name(), "leash-kills-all");
        assert_eq!(Mutation::named("LeashKillsAll"), None);
    }
}
