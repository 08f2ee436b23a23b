//! How much may happen to a world, and how much has.

/// How much may happen, so that the world is finite.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Whether commits wait for any one standby.
    pub is_quorum: bool,
    pub epochs: u64,
    pub commits: u8,
    pub crashes: u8,
    /// Of peers from servers, and of `p` from standbys.
    pub cuts: u8,
    pub switchovers: u8,
    /// What somebody does by hand.
    pub hands: u8,
    /// Of the data of servers, from others and from old backups.
    pub copies: u8,
    /// Of what commits wait for.
    pub names: u8,
    /// Of volumes that are put back, with the times of all files.
    pub rollbacks: u8,
    /// Of files whose entries are changed and whose contents are not (`chown`).
    pub touches: u8,
    /// Whether the leader may see the marks of copies.
    pub sees_marks: bool,
    /// Whether copies are recorded from the beginning; else the group has just come to the level on which they are.
    pub has_copies: bool,
}

impl Bounds {
    /// Nothing but what goes wrong by itself.
    pub fn faults(is_quorum: bool) -> Bounds {
        Bounds {
            is_quorum,
            epochs: 4,
            commits: 2,
            crashes: 2,
            cuts: 4,
            switchovers: 0,
            hands: 0,
            copies: 0,
            names: 0,
            rollbacks: 0,
            touches: 0,
            sees_marks: true,
            has_copies: true,
        }
    }
}

/// What has happened of what is bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) commits: u8,
    pub(super) crashes: u8,
    pub(super) cuts: u8,
    pub(super) switchovers: u8,
    pub(super) hands: u8,
    pub(super) copies: u8,
    pub(super) names: u8,
    pub(super) rollbacks: u8,
    pub(super) touches: u8,
}
