//! The files of sled, opened and flushed in the only way found to survive power cuts.
//!
//! sled 0.34 calls no fsync in `flush()`: it hands its buffers to the kernel and starts their writing
//! (spacejam/sled#1452). So a handle of our own stays open on its file `db`, and `fdatasync` on it is what makes a
//! flush count. Three more traps are closed here:
//! * a `*.generating` file left by a crash during open makes every later open fail (spacejam/sled#1527);
//! * values over a quarter of a segment go to files in `blobs/` that are never flushed, so there must be none;
//! * the files' names have to be flushed too, in their folder and in its parent.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::durable_file;

/// Size of sled's write buffers and of the units of its file, in bytes. Fixed for the life of a folder.
const SEGMENT_BYTES: usize = 512 * 1024;
/// Most memory sled keeps pages in, in bytes. The tail of the log that followers need fits many times.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// How long a process that ends may still hold its files, and how often to look.
const RELEASED_WITHIN: Duration = Duration::from_secs(2);
const RELEASE_STEP: Duration = Duration::from_millis(50);

/// An open sled database whose [`sync`](Self::sync) is durable.
pub(crate) struct SledFiles {
    db: sled::Db,
    /// The same file that sled writes. Held open for life, so that no write error is lost with a closed handle.
    file: File,
    blobs: PathBuf,
}

impl SledFiles {
    /// Opens or creates the database in `folder`. Blocks.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] if another handle has it open; otherwise what sled or the file system says.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        durable_file::create_folder(folder)?;
        remove_unfinished(folder)?;
        let db = open_released(folder)?;
        let file = File::open(folder.join("db"))?;
        let files = Self {
            db,
            file,
            blobs: folder.join("blobs"),
        };
        files.sync()?;
        files.file.sync_all()?;
        durable_file::sync_folder(folder)?;
        Ok(files)
    }

    pub(crate) fn tree(&self, name: &str) -> io::Result<sled::Tree> {
        Ok(self.db.open_tree(name)?)
    }

    /// Returns when everything written before the call is on the platter. After an error nothing is known about
    /// what is there, and trying again would not tell: the caller must not go on.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.db.flush()?;
        if fs::read_dir(&self.blobs)?.next().is_some() {
            return Err(io::Error::other(
                "sled keeps values outside its file, where they are never flushed",
            ));
        }
        self.file.sync_data()
    }
}

fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Opens the database; waits a moment for a former holder, whose last handle may be closing just now.
fn open_released(folder: &Path) -> io::Result<sled::Db> {
    let mut left = RELEASED_WITHIN;
    loop {
        let opened = sled::Config::new()
            .path(folder)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(busy_or_other);
        match opened {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && !left.is_zero() => {
                std::thread::sleep(RELEASE_STEP);
                left = left.saturating_sub(RELEASE_STEP);
            }
            other => return other,
        }
    }
}

fn busy_or_other(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
            io::Error::new(io::ErrorKind::ResourceBusy, error)
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_can_be_opened_after_a_crash_during_open() {
        let folder = tempfile::tempdir().unwrap();
        drop(SledFiles::open(folder.path()).unwrap());
        fs::write(folder.path().join("snap.0000.generating"), b"half").unwrap();
        SledFiles::open(folder.path()).unwrap();
    }

    #[test]
    fn a_database_in_use_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let _held = SledFiles::open(folder.path()).unwrap();
        let error = SledFiles::open(folder.path()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    }
}
