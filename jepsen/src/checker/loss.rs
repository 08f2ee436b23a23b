//! Is every acknowledged row there in the end?

use std::collections::BTreeMap;

use crate::history::acknowledgement::{Acknowledgement, Writer};

/// What became of the rows of one writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// How many rows were acknowledged.
    pub acknowledged: usize,
    /// The ids that are missing.
    pub lost: Vec<i64>,
    /// The ids that are there more than once: each was written once.
    pub repeated: Vec<i64>,
}

/// Compares what was acknowledged to `writer` with the rows that were found in the end. Rows that
/// nobody was told about may be there.
pub fn check(history: &[Acknowledgement], writer: Writer, found: &[i64]) -> Loss {
    let mut times: BTreeMap<i64, usize> = BTreeMap::new();
    for id in found {
        *times.entry(*id).or_default() += 1;
    }
    let of_writer = || history.iter().filter(|it| it.writer == writer);
    Loss {
        acknowledged: of_writer().count(),
        lost: of_writer()
            .map(|it| it.id)
            .filter(|id| !times.contains_key(id))
            .collect(),
        repeated: times
            .into_iter()
            .filter_map(|(id, times)| (times > 1).then_some(id))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::acknowledgement::testing::acknowledged;

    #[test]
    fn only_acknowledged_rows_can_be_lost() {
        let history = [
            acknowledged(Writer::Client, "a", 1, 10),
            acknowledged(Writer::Client, "a", 2, 20),
            acknowledged(Writer::Client, "b", 4, 30),
            acknowledged(Writer::Prober, "b", 9, 30),
        ];
        let loss = check(&history, Writer::Client, &[1, 3, 4, 4]);
        assert_eq!(
            loss,
            Loss {
                acknowledged: 3,
                lost: vec![2],
                repeated: vec![4],
            }
        );
        let loss = check(&history, Writer::Prober, &[]);
        assert_eq!((loss.acknowledged, loss.lost), (1, vec![9]));
    }
}
