//! How large a world is, and how much may happen in it.

/// What may happen at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// N.
    pub members: u8,
    /// W at the beginning; none if `async`.
    pub standbys: u8,
    /// How often another durability is asked for.
    pub asks: u8,
    /// How often clients write.
    pub writes: u8,
    /// How often a primary dies.
    pub handovers: u8,
    /// How often the agent dies.
    pub crashes: u8,
    /// How often a standby is restarted.
    pub restarts: u8,
    /// The longest log.
    pub log: u8,
    /// Whether `async` may be asked for, too.
    pub to_async: bool,
}

impl Bounds {
    /// Every size, from every durability. The larger ones are left less time, and fewer have `async` asked for.
    pub fn all() -> Vec<Bounds> {
        let of_size = |members: u8| {
            (0..members).flat_map(move |standbys| {
                let of = move |asks, writes, handovers, crashes, restarts, log| Bounds {
                    members,
                    standbys,
                    asks,
                    writes,
                    handovers,
                    crashes,
                    restarts,
                    log,
                    to_async: false,
                };
                let to_async = move |of: Bounds| Bounds {
                    to_async: true,
                    ..of
                };
                match (members, standbys) {
                    (3, 0) => vec![
                        of(1, 1, 0, 1, 1, 3),
                        of(1, 1, 1, 0, 0, 3),
                        to_async(of(2, 1, 0, 0, 0, 3)),
                    ],
                    (3, _) => vec![
                        of(1, 1, 0, 1, 2, 3),
                        of(2, 1, 0, 1, 1, 3),
                        of(2, 1, 1, 0, 1, 4),
                        to_async(of(2, 1, 0, 0, 0, 3)),
                        to_async(of(1, 1, 1, 0, 0, 3)),
                    ],
                    (4, 0) => vec![of(1, 1, 0, 0, 0, 3)],
                    (4, _) => vec![
                        of(1, 1, 0, 1, 1, 3),
                        of(1, 1, 1, 0, 1, 3),
                        of(2, 1, 0, 0, 0, 3),
                    ],
                    (_, 0) => vec![of(1, 1, 0, 0, 0, 2)],
                    (_, _) => vec![of(1, 1, 0, 0, 1, 3), of(1, 1, 1, 0, 0, 3)],
                }
            })
        };
        (3..=5).flat_map(of_size).collect()
    }
}

#[cfg(feature = "mutants")]
impl Bounds {
    /// Small ones, in which a rule that is broken shows soon.
    pub fn near() -> Vec<Bounds> {
        let of = |asks, standbys| Bounds {
            members: 3,
            standbys,
            asks,
            writes: 1,
            handovers: 0,
            crashes: 0,
            restarts: 1,
            log: 3,
            to_async: false,
        };
        vec![of(1, 1), of(1, 2), of(2, 1), of(1, 0), of(2, 0)]
    }
}
