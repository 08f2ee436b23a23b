//! A small write to the disk of a database, synced: whether it still takes any.
//!
//! The file has no name and is gone when it is closed, so that nobody meets it: initdb and a clone ask for an
//! empty folder, pg_basebackup and pg_rewind copy whatever they find. It takes new room each time, or a full
//! disk would not be noticed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstatvfs, open};
use rustix::io::Errno;

use super::durable::Folder;

/// One page of PostgreSQL, the least that a table grows by. Not zeros: a file system may keep no room for them.
const PAGE: [u8; 8192] = [0x5a; 8192];
/// The name that the file bears for a moment where files without names are not known (NFS, some overlays).
const NAME: &str = "primacy.probe";

/// Writes and syncs one page on every file system of the database in `data`: that of the folder, and that of
/// `pg_wal` if it is another. Does nothing where no database is. Blocks for as long as the disk does.
/// Errors: a disk refuses, in words for the operator. What speaks of the agent and not of the disk (too many open
/// files, a missing right) is none.
pub fn write(data: &Path) -> Result<(), String> {
    match has_database(data) {
        Ok(true) => try_folder(data)?,
        Ok(false) => return Ok(()),
        Err(error) => return judge(data, error),
    }
    let wal = data.join("pg_wal");
    match is_elsewhere(&wal, data) {
        Ok(true) => try_folder(&wal),
        Ok(false) => Ok(()),
        Err(error) => judge(&wal, error),
    }
}

/// Whoever is about to fill the folder asks for an empty one.
fn has_database(data: &Path) -> io::Result<bool> {
    data.join("PG_VERSION").try_exists()
}

fn try_folder(folder: &Path) -> Result<(), String> {
    write_in(folder).or_else(|error| judge(folder, error))
}

fn judge(folder: &Path, error: io::Error) -> Result<(), String> {
    let refuses = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::ROFS,
        Errno::UCLEAN,
    ];
    if Errno::from_io_error(&error).is_some_and(|errno| refuses.contains(&errno)) {
        return Err(format!("write in {}: {error}", folder.display()));
    }
    if error.kind() != io::ErrorKind::NotFound {
        tracing::debug!(folder = %folder.display(), %error, "the disk could not be tried");
    }
    Ok(())
}

fn is_elsewhere(wal: &Path, data: &Path) -> io::Result<bool> {
    Ok(fs::metadata(wal)?.dev() != fs::metadata(data)?.dev())
}

fn write_in(folder: &Path) -> io::Result<()> {
    let folder = Folder::open(folder)?;
    let mut file = match nameless(&folder) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => named(&folder)?,
        opened => opened?,
    };
    file.write_all(&PAGE)?;
    file.sync_data()?;
    let space = fstatvfs(&file)?;
    if space.f_blocks > 0 && space.f_bavail == 0 {
        // An agent that runs as root may use what is set aside for it; PostgreSQL may not.
        return Err(Errno::NOSPC.into());
    }
    Ok(())
}

fn nameless(folder: &Folder) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    open(folder.path(), flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Whoever owns the folder may have put a link there: that goes, and what it leads to is untouched.
fn named(folder: &Folder) -> io::Result<File> {
    let file = folder.create(OsStr::new(NAME))?;
    fs::remove_file(folder.path().join(NAME))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_leaves_nothing_behind() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("pg_wal")).unwrap();
        assert!(!has_database(data.path()).unwrap());
        fs::write(data.path().join("PG_VERSION"), "15").unwrap();
        assert!(has_database(data.path()).unwrap());
        assert_eq!(write(data.path()), Ok(()));
        let mut file = named(&Folder::open(data.path()).unwrap()).unwrap();
        file.write_all(&PAGE).unwrap();
        drop(file);
        let left = fs::read_dir(data.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name == NAME) && left.len() == 2);
        assert_eq!(write(&data.path().join("absent")), Ok(()));
    }

    #[test]
    fn nothing_is_written_through_a_planted_link() {
        let root = tempfile::tempdir().unwrap();
        let (data, secret) = (root.path().join("data"), root.path().join("secret"));
        fs::create_dir(&data).unwrap();
        fs::write(&secret, "secret").unwrap();
        std::os::unix::fs::symlink(&secret, data.join(NAME)).unwrap();
        let folder = Folder::open(&data).unwrap();
        named(&folder).unwrap().write_all(&PAGE).unwrap();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    }

    #[test]
    fn only_the_disk_is_judged() {
        let of = |errno: Errno| judge(Path::new("/d"), errno.into());
        assert!(of(Errno::NOSPC).unwrap_err().contains("/d"));
        assert!(of(Errno::IO).is_err() && of(Errno::ROFS).is_err());
        for agents_own in [Errno::MFILE, Errno::ACCESS, Errno::NOENT] {
            assert_eq!(of(agents_own), Ok(()));
        }
    }
}
