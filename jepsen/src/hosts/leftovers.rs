//! Taking down what belongs to an owner, found by its name alone: at the end of a run, and at the start of the
//! next one for owners that are gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::control_group;
use crate::net::owner::Owner;
use crate::{disk, net};

/// Where files of ours lie, below folders with the owner's name.
pub fn folders() -> [PathBuf; 2] {
    [std::env::temp_dir(), PathBuf::from("/dev/shm")]
}

/// Kills, unmounts and removes everything of `owner`.
///
/// # Errors
/// Something does not end or cannot be removed; the rest is gone all the same, if it could be.
pub fn remove(owner: Owner) -> anyhow::Result<()> {
    for folder in own_folders(owner) {
        disk::thaw_all(&folder);
    }
    let results = [
        control_group::remove(&owner.to_string()),
        net::remove(owner),
        remove_folders(owner),
    ];
    results.into_iter().collect()
}

fn own_folders(owner: Owner) -> Vec<PathBuf> {
    let entries = folders()
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    entries
        .flat_map(|entries| entries.flatten())
        .filter(|entry| entry.file_name().to_str().and_then(Owner::of) == Some(owner))
        .map(|entry| entry.path())
        .collect()
}

fn remove_folders(owner: Owner) -> anyhow::Result<()> {
    let own = own_folders(owner);
    for folder in &own {
        disk::unmount_all(folder)?;
    }
    for folder in &own {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Removes everything of every owner that is gone; answers who they were.
///
/// # Errors
/// As [`remove`].
pub fn remove_all() -> anyhow::Result<Vec<Owner>> {
    let mut places: Vec<_> = folders().into();
    places.push(Path::new(net::namespace::FOLDER).to_owned());
    places.extend(control_group::root());
    let mut owners: Vec<_> = places
        .iter()
        .flat_map(|place| Owner::all_in(place))
        .filter(|owner| !owner.is_alive())
        .collect();
    owners.sort_unstable();
    owners.dedup();
    for owner in &owners {
        remove(*owner)?;
    }
    Ok(owners)
}
