//! Writing small files so that they are whole or absent after a power cut.
//!
//! All functions block on the disk. A new file gets the owner of its folder, so that an agent that
//! runs as root leaves nothing in a data folder that PostgreSQL cannot read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use super::error::{Error, Result, on};

/// Most bytes of a file that is read: settings that people wrote are the longest, and a thousandth of this.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Replaces `path` by a file with this content and mode 0600: temporary file, fsync, rename, fsync
/// of the folder. Errors: [`Error::File`].
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = prepare(path, content)?;
    fs::rename(&temporary, path).map_err(on("rename into place", path))?;
    sync_folder(folder_of(path))
}

/// Like [`write()`], but leaves an existing file alone and returns `false`: the check and the
/// creation are one act (`link`). Errors: [`Error::File`].
pub fn create(path: &Path, content: &[u8]) -> Result<bool> {
    let temporary = prepare(path, content)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(on("remove", &temporary))?;
    match linked {
        Ok(()) => sync_folder(folder_of(path)).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(on("create", path)(error)),
    }
}

/// Removes a file durably; `false` if there was none. Errors: [`Error::File`].
pub fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(folder_of(path)).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(on("remove", path)(error)),
    }
}

/// Renames within one parent folder, durably; refuses an existing target (never overwrites).
/// Errors: [`Error::File`], [`Error::NotEmpty`].
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(|error| match error {
        rustix::io::Errno::EXIST => Error::NotEmpty {
            folder: to.to_owned(),
        },
        other => on("rename", from)(other.into()),
    })?;
    sync_folder(folder_of(to))
}

/// Makes creations, renames and removals in a folder durable. Errors: [`Error::File`].
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(on("fsync folder", folder))
}

/// Whether something is there. Errors: [`Error::File`] if that cannot be told.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(on("look at", path))
}

/// Reads a text file; `None` if there is none. Errors: [`Error::File`].
pub fn read(path: &Path) -> Result<Option<String>> {
    match read_whole(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(on("read", path)(error)),
    }
}

/// The bytes of a file; one that is too long is refused before memory is taken for it.
pub(crate) fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LONGEST {
        let text = format!("it has {length} bytes, and {LONGEST} is the most that is read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It may grow meanwhile.
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn prepare(path: &Path, content: &[u8]) -> Result<std::path::PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".primacy-tmp");
    let temporary = std::path::PathBuf::from(name);
    let folder = folder_of(path);
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        let owner = fs::metadata(folder)?;
        if owner.uid() != rustix::process::geteuid().as_raw() {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(content)?;
        file.sync_all()
    };
    written().map_err(on("write", &temporary))?;
    Ok(temporary)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(matches!(read(&path), Err(Error::File { .. })));
        file.set_len(3).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("\0\0\0"));
    }

    #[test]
    fn an_existing_file_survives_create_and_rename() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        assert!(create(&one, b"first").unwrap());
        assert!(!create(&one, b"second").unwrap());
        assert_eq!(read(&one).unwrap().as_deref(), Some("first"));
        write(&two, b"x").unwrap();
        assert!(matches!(rename(&two, &one), Err(Error::NotEmpty { .. })));
        assert!(remove(&one).unwrap() && !remove(&one).unwrap());
        rename(&two, &one).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
