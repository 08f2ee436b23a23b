//! Root works in a folder of another user: what it leaves there belongs to that user, whose peer could not start else.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use super::{Exit, Failure};

/// Gives everything in `folder` to its owner.
pub(super) fn give_away(folder: &Path) -> Result<(), Failure> {
    let given = fs::metadata(folder).and_then(|of| give(folder, of.uid(), of.gid()));
    given.map_err(|error| {
        let folder = folder.display();
        let text = format!("what is in {folder} cannot be given to its owner: {error}");
        Failure {
            exit: Exit::Failed,
            text,
            hint: Some("do so by hand, or be that user".to_owned()),
        }
    })
}

/// Links are not followed: what they lead to is somewhere else.
fn give(folder: &Path, uid: u32, gid: u32) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if (found.uid(), found.gid()) != (uid, gid) {
            lchown(entry.path(), Some(uid), Some(gid))?;
        }
        if found.is_dir() {
            give(&entry.path(), uid, gid)?;
        }
    }
    Ok(())
}
