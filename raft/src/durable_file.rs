//! Replaces a small file so that after a power cut there is the old one or the new one, whole.
//!
//! The new bytes go beside the old file, to the platter, then take its name, and the folder is flushed so that the
//! new name is on the platter too. Never report success before the last of these.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use crate::wire::MAX_SNAPSHOT_BYTES;

/// Most bytes of a file that is read. The longest that is written is a saved snapshot with a few words before it.
const MAX_FILE_BYTES: u64 = MAX_SNAPSHOT_BYTES as u64 + 64 * 1024;

/// Writes `bytes` as the file `folder/name`. Blocks for two flushes. Only once at a time for each name: whoever may
/// write it twice at once takes turns by a lock, because the new bytes go beside the old file under one name.
///
/// # Errors
/// Those of the filesystem; the old file is then still there, or the new one whole.
pub fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        // What a group records is nobody else's to read.
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    sync_folder(folder)
}

/// Reads `folder/name`; `None` if there is no such file.
///
/// # Errors
/// Those of the filesystem; [`io::ErrorKind::InvalidData`] if the file is longer than any that is written.
pub fn read(folder: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match read_whole(&folder.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a file; one that is longer than any that is written is refused before memory is taken for it.
pub(crate) fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        let text = format!("file of {length} bytes is over the limit of {MAX_FILE_BYTES}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It may grow meanwhile.
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
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
    // What a group records is nobody else's to read.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("file")).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = read(folder.path(), "file").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("over the limit"), "{error}");
        file.set_len(3).unwrap();
        assert_eq!(read(folder.path(), "file").unwrap().unwrap(), [0; 3]);
        assert!(read(folder.path(), "none").unwrap().is_none());
    }
}
