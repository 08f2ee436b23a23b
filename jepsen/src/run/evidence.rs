//! What is kept of a round, and where.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jepsen::history::History;

use super::judgement::Judgement;
use crate::nemesis::ground::Ground;

/// The folder of a run.
#[derive(Debug)]
pub struct Evidence {
    folder: PathBuf,
    keep: Keep,
    kept_bytes: u64,
}

/// Which rounds leave their history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All.
    All,
    /// Those that are not valid, as long as all together are not larger than so many bytes.
    Failed(u64),
}

impl Evidence {
    /// An empty folder; what an earlier run left in it is removed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(folder: &Path, keep: Keep) -> anyhow::Result<Evidence> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            // Nothing else is ever ours.
            if name.to_string_lossy().starts_with("round-") && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Evidence {
            folder: folder.to_owned(),
            keep,
            kept_bytes: 0,
        })
    }

    /// Where the evidence of a round is.
    pub fn of_round(&self, number: usize) -> PathBuf {
        self.folder.join(format!("round-{number}"))
    }

    /// Where its clients write meanwhile.
    pub fn logs(&self, number: usize) -> PathBuf {
        self.of_round(number).join("clients")
    }

    /// Writes a file of the run itself; a reader sees the old one or the new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let draft = self.folder.join(format!("{name}.new"));
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, self.folder.join(name))?)
    }

    /// Keeps what shall be kept of a round and removes the rest; answers whether there is anything left. `history`
    /// and `ground` are none if there was no such thing.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn settle(
        &mut self,
        number: usize,
        (judgement, is_valid): (&Judgement, bool),
        history: Option<&History>,
        plot: Option<&str>,
        ground: Option<&Ground>,
    ) -> anyhow::Result<Option<PathBuf>> {
        let folder = self.of_round(number);
        let is_kept = match self.keep {
            Keep::All => true,
            Keep::Failed(limit) => !is_valid && self.kept_bytes < limit,
        };
        if !is_kept {
            remove(&folder)?;
            return Ok(None);
        }
        fs::create_dir_all(&folder)?;
        if let Some(history) = history {
            fs::write(folder.join("history.jsonl"), history.to_json_lines())?;
            fs::write(folder.join("history.edn"), history.to_edn())?;
            // The history holds all of them.
            remove(&self.logs(number))?;
        }
        if let Some(plot) = plot {
            fs::write(folder.join("plot.svg"), plot)?;
        }
        fs::write(folder.join("verdicts.txt"), judgement.text())?;
        if let (Some(Ground::Hosts(hosts)), false) = (ground, is_valid) {
            hosts.keep_logs(&folder.join("hosts"))?;
        }
        self.kept_bytes += size(&folder);
        Ok(Some(folder))
    }

    /// Removes what a round left that was not finished.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self, number: usize) -> anyhow::Result<()> {
        remove(&self.of_round(number))
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn size(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(it) if it.is_dir() => size(&entry.path()),
        Ok(it) => it.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soak_keeps_what_failed_until_it_is_too_much() {
        let place = tempfile::tempdir().unwrap();
        let mut evidence = Evidence::create(place.path(), Keep::Failed(10)).unwrap();
        let judgement = Judgement::failed("why".to_owned());
        let mut settle = |number, is_valid| {
            fs::create_dir_all(evidence.logs(number)).unwrap();
            let history = History::default();
            let settled = evidence.settle(
                number,
                (&judgement, is_valid),
                Some(&history),
                Some("a plot of more than 10 bytes"),
                None,
            );
            settled.unwrap().is_some()
        };
        assert!(!settle(1, true));
        assert!(settle(2, false));
        assert!(!settle(3, false));
        let left: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        Evidence::create(place.path(), Keep::All).unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
