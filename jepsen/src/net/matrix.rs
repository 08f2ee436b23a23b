//! The network as a value: what each directed link does to the frames that pass it.
//!
//! A link that is not named is perfect. Several faults at once are several matrices laid over each other, so
//! that healing one leaves the others as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// From whom to whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
}

/// What a link does to frames. The default does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Quality {
    /// Nothing passes, and what is under way is lost.
    pub cut: bool,
    /// Every frame takes that long, in microseconds.
    pub delay_us: u64,
    /// And up to that much longer, drawn for each frame, so that frames overtake each other.
    pub jitter_us: u64,
    /// So many of a million frames are lost.
    pub loss_ppm: u32,
    /// So many of a million frames arrive twice.
    pub duplicate_ppm: u32,
    /// Bytes a second; none for as fast as it goes. What would wait longer than 200 ms is lost.
    pub bandwidth: Option<u64>,
}

impl Quality {
    /// Nothing passes.
    pub const CUT: Quality = Quality {
        cut: true,
        delay_us: 0,
        jitter_us: 0,
        loss_ppm: 0,
        duplicate_ppm: 0,
        bandwidth: None,
    };

    /// Both one after the other.
    #[must_use]
    pub fn and(self, other: Quality) -> Quality {
        Quality {
            cut: self.cut || other.cut,
            delay_us: self.delay_us + other.delay_us,
            jitter_us: self.jitter_us + other.jitter_us,
            loss_ppm: (self.loss_ppm + other.loss_ppm).min(1_000_000),
            duplicate_ppm: (self.duplicate_ppm + other.duplicate_ppm).min(1_000_000),
            bandwidth: match (self.bandwidth, other.bandwidth) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            },
        }
    }
}

/// Every directed link that is not perfect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Matrix(#[serde(with = "as_list")] BTreeMap<Link, Quality>);

impl Matrix {
    /// What the link from `from` to `to` does.
    pub fn between(&self, from: &str, to: &str) -> Quality {
        let link = Link {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        self.0.get(&link).copied().unwrap_or_default()
    }

    /// Every link that is not perfect, and what it does.
    pub fn links(&self) -> impl Iterator<Item = (&Link, Quality)> {
        self.0.iter().map(|(link, quality)| (link, *quality))
    }

    /// Adds `quality` to every link from one of `from` to one of `to`, in that direction only.
    #[must_use]
    pub fn one_way<S: AsRef<str>>(mut self, from: &[S], to: &[S], quality: Quality) -> Matrix {
        for (from, to) in pairs(from, to) {
            let known = self.0.entry(Link { from, to }).or_default();
            *known = known.and(quality);
        }
        self
    }

    /// Adds `quality` to every link between one of `one` and one of `other`, in both directions.
    #[must_use]
    pub fn both_ways<S: AsRef<str>>(self, one: &[S], other: &[S], quality: Quality) -> Matrix {
        self.one_way(one, other, quality)
            .one_way(other, one, quality)
    }

    /// Cuts each of `hosts` off from all but its neighbours in a ring, so that each still reaches a majority
    /// and no two the same one. `hosts` is the order of the ring.
    #[must_use]
    pub fn ring<S: AsRef<str>>(hosts: &[S]) -> Matrix {
        let count = hosts.len();
        // Half of the majority that each sees, itself left out, on either side.
        let reach = (count / 2).div_ceil(2);
        let mut matrix = Matrix::default();
        for (one, from) in hosts.iter().enumerate() {
            for (other, to) in hosts.iter().enumerate() {
                let apart = one.abs_diff(other);
                if apart.min(count - apart) > reach {
                    matrix = matrix.one_way(&[from], &[to], Quality::CUT);
                }
            }
        }
        matrix
    }

    /// Both laid over each other.
    #[must_use]
    pub fn and(mut self, other: &Matrix) -> Matrix {
        for (link, quality) in &other.0 {
            let known = self.0.entry(link.clone()).or_default();
            *known = known.and(*quality);
        }
        self
    }
}

fn pairs<S: AsRef<str>>(from: &[S], to: &[S]) -> Vec<(String, String)> {
    let own = |host: &S| host.as_ref().to_owned();
    let all = from
        .iter()
        .flat_map(|one| to.iter().map(move |other| (own(one), own(other))));
    all.filter(|(one, other)| one != other).collect()
}

/// JSON knows no keys that are structures.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Link, Quality};

    pub fn serialize<S: Serializer>(
        links: &BTreeMap<Link, Quality>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(links)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<BTreeMap<Link, Quality>, D::Error> {
        Ok(Vec::<(Link, Quality)>::deserialize(from)?
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_has_a_direction_and_never_cuts_a_host_from_itself() {
        let matrix = Matrix::default().one_way(&["a", "b"], &["b", "c"], Quality::CUT);
        let cut = |from, to| matrix.between(from, to).cut;
        assert!(cut("a", "b") && cut("a", "c") && cut("b", "c"));
        assert!(!cut("b", "b") && !cut("b", "a") && !cut("c", "a"));
    }

    #[test]
    fn faults_add_up_and_come_apart() {
        let slow = Quality {
            delay_us: 10,
            bandwidth: Some(5),
            ..Quality::default()
        };
        let slow = Matrix::default().both_ways(&["a"], &["b"], slow);
        let cut = Matrix::default().one_way(&["a"], &["b"], Quality::CUT);
        let both = slow.clone().and(&cut);
        assert!(both.between("a", "b").cut);
        assert_eq!(both.between("a", "b").delay_us, 10);
        assert!(!both.between("b", "a").cut);
        assert_eq!(
            slow.and(&Matrix::default()).between("a", "b").bandwidth,
            Some(5)
        );
    }

    #[test]
    fn in_a_ring_each_reaches_a_majority_and_no_two_the_same() {
        for count in [5, 6, 7, 9] {
            let hosts: Vec<_> = (0..count).map(|number| number.to_string()).collect();
            let ring = Matrix::ring(&hosts);
            let reached: std::collections::BTreeSet<Vec<_>> = hosts
                .iter()
                .map(|from| {
                    let reached = hosts.iter().filter(|to| !ring.between(from, to).cut);
                    reached.cloned().collect()
                })
                .collect();
            assert_eq!(reached.len(), count);
            assert!(
                reached
                    .iter()
                    .all(|them| them.len() * 2 > count && them.len() < count)
            );
        }
    }

    #[test]
    fn it_survives_the_socket() {
        let matrix = Matrix::ring(&["a", "b", "c", "d", "e"]);
        let text = serde_json::to_string(&matrix).unwrap();
        assert_eq!(serde_json::from_str::<Matrix>(&text).unwrap(), matrix);
    }
}
