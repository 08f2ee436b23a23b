//! The group of peers begun anew from a saved state, with the peer of one configuration alone.

use std::path::{Path, PathBuf};

use raft::{Restored, Saved, SavedError};

use crate::clock;
use crate::model::{ClusterName, Durability, Standing};
use crate::recovery::proof::promises_needed;
use crate::state::{ClusterState, State};

use super::propose::draw;
use super::{Config, Machine, ServerError, join};

/// What the group begins anew with.
#[derive(Debug)]
pub struct BegunAnew {
    /// All that is in the state.
    pub saved: Saved<Machine>,
    /// Clusters whose first data was still being created: they are not in it any more.
    pub left_out: Vec<ClusterName>,
    /// Clusters of which too few instances count to elect a primary: how many do, and how many must.
    pub stuck: Vec<(ClusterName, usize, usize)>,
    /// Where the files of before are; none if there were none.
    pub before: Option<PathBuf>,
}

/// Why it does not.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Of the configuration.
    #[error(transparent)]
    Config(#[from] ServerError),
    /// Of the file or the folder.
    #[error(transparent)]
    Saved(#[from] SavedError),
}

/// The last primary alone proves nothing where nobody knows who that was.
fn stuck(state: &ClusterState) -> Option<(ClusterName, usize, usize)> {
    let cluster = &state.cluster;
    let members = cluster.members.values();
    let counted = members.filter(|it| it.standing == Standing::Voter).count();
    let needed = match cluster.durability {
        Durability::Async => 1,
        Durability::Quorum { .. } => promises_needed(cluster),
    };
    (counted < needed).then(|| (cluster.name.clone(), counted, needed))
}

/// Begins anew from `file`, or from what the peer's own folder knows. Nothing may run in that folder. Blocks.
///
/// # Errors
/// [`RestoreError`]; nothing was changed, or the folder is refused by every start until it is restored again.
pub async fn begin_anew(config: Config, file: Option<&Path>) -> Result<BegunAnew, RestoreError> {
    let config = join::placed(config)?;
    let address = config.peers.get(&config.id).ok_or_else(|| {
        let why = format!(
            "nothing says where peer {} answers; list it under [peers]",
            config.id
        );
        ServerError::Join(why)
    })?;
    let mut left_out = vec![];
    let change = |machine: &mut Machine| {
        let drawn = u32::from_le_bytes(draw());
        machine.change(|state: &mut State| {
            left_out = state.begin_anew(clock::wall_millis(), drawn);
        });
    };
    let restored = Restored {
        group: config.group,
        folder: &config.folder,
        id: config.id.0,
        address,
    };
    let (saved, before) = match file {
        Some(file) => (restored.from_file(file, change).await?, None),
        None => {
            let (saved, before) = restored.from_own_folder(Machine::default(), change).await?;
            (saved, Some(before))
        }
    };
    let stuck = saved.state.clusters.values().filter_map(stuck).collect();
    Ok(BegunAnew {
        stuck,
        saved,
        left_out,
        before,
    })
}
