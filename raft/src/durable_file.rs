//! Replaces a small file so that after a power cut there is the old one or the new one, whole.
//!
//! The new bytes go beside the old file, to the platter, then take its name, and the folder is flushed so that the
//! new name is on the platter too. Never report success before the last of these.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Writes `bytes` as the file `folder/name`. Blocks for two flushes.
///
/// # Errors
/// Those of the filesystem; the old file is then still there, or the new one whole.
pub fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    sync_folder(folder)
}

/// Reads `folder/name`; `None` if there is no such file.
///
/// # Errors
/// Those of the filesystem.
pub fn read(folder: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts the names in `folder` on the platter.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates `folder` and all above it, and puts their names on the platter.
///
/// # Errors
/// Those of the filesystem.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for folder in folder.ancestors().take(2) {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        sync_folder(folder)?;
    }
    Ok(())
}
