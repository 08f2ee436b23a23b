//! The disk of a host: a file system of its own in one file, so that it can be cut off and filled.
//!
//! A power cut is the file system's own shutdown without flushing its log: what was synced is there at the next
//! mount, everything else is gone. It does not tear single sectors.

pub mod fsync;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::command::tool;
use crate::sys;

/// The file that fills a disk.
const FILLER: &str = "filler";

/// How often a disk is filled up again after a sync.
const ROUNDS: usize = 3;

/// What is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

impl Filesystem {
    /// Whether this machine can make one.
    pub fn is_available(self) -> bool {
        let program = match self {
            Filesystem::Ext4 => "mkfs.ext4",
            Filesystem::Xfs => "mkfs.xfs",
        };
        ["/sbin", "/usr/sbin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists())
    }
}

/// One host's disk.
#[derive(Debug, Clone)]
pub struct Disk {
    image: PathBuf,
    mounted: PathBuf,
    kind: Filesystem,
}

impl Disk {
    /// A new, empty disk of `bytes` in the file `image`, mounted at `mounted`.
    ///
    /// # Errors
    /// The caller is not root, or there is no loop device or place left.
    pub fn create(
        image: &Path,
        mounted: &Path,
        kind: Filesystem,
        bytes: u64,
    ) -> anyhow::Result<Disk> {
        let disk = Disk {
            image: image.to_owned(),
            mounted: mounted.to_owned(),
            kind,
        };
        File::create(image)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("make {}", image.display()))?;
        let file = image.to_string_lossy();
        match kind {
            // All of it is for everybody: root would otherwise never see it full.
            Filesystem::Ext4 => {
                let options = ["-q", "-m", "0", "-E", "nodiscard", "-J", "size=16", &file];
                tool("mkfs.ext4", &options)?
            }
            Filesystem::Xfs => tool("mkfs.xfs", &["-q", "-K", &file])?,
        };
        fs::create_dir_all(mounted)?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> anyhow::Result<()> {
        let (image, mounted) = (self.image.to_string_lossy(), self.mounted.to_string_lossy());
        let options = match self.kind {
            Filesystem::Ext4 => "loop,noatime",
            // No place is set aside for growing files: they would not notice a full disk.
            Filesystem::Xfs => "loop,noatime,allocsize=4k",
        };
        tool("mount", &["-o", options, &image, &mounted]).map(|_| ())
    }

    /// What was not synced is lost, and everything that is tried until [`Disk::restart`] fails.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        let root = File::open(&self.mounted)?;
        sys::shut_down_filesystem(&root)
            .with_context(|| format!("shut down {}", self.mounted.display()))
    }

    /// Mounts it anew after a power cut. Nobody may use it any more.
    ///
    /// # Errors
    /// It is in use, or its file system does not recover.
    pub fn restart(&self) -> anyhow::Result<()> {
        if is_mounted(&self.mounted) {
            tool("umount", &[&self.mounted.to_string_lossy()])?;
        }
        self.mount()
    }

    /// Whoever writes or syncs waits until [`Disk::thaw`]; reads go on.
    ///
    /// # Errors
    /// The kernel refuses, or does not end what is being written.
    pub fn freeze(&self) -> anyhow::Result<()> {
        tool("fsfreeze", &["--freeze", &self.mounted.to_string_lossy()]).map(|_| ())
    }

    /// Ends [`Disk::freeze`].
    ///
    /// # Errors
    /// It is not frozen.
    pub fn thaw(&self) -> anyhow::Result<()> {
        thaw(&self.mounted)
    }

    /// Leaves no byte free.
    ///
    /// # Errors
    /// Anything but that it is full.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.mounted.join(FILLER))?;
        let mut end = 0;
        let space = statvfs(&self.mounted)?;
        let mut piece = space.f_bavail * space.f_frsize;
        while piece >= 4096 {
            match fallocate(&file, FallocateFlags::empty(), end, piece) {
                Ok(()) => end += piece,
                Err(Errno::NOSPC) => piece /= 2,
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
        // What no extent was found for; a file system sets a little aside until it is synced.
        file.seek(SeekFrom::Start(end))?;
        for _ in 0..ROUNDS {
            while file.write_all(&[0; 4096]).is_ok() {}
            let _ = file.sync_all();
        }
        Ok(())
    }

    /// Takes away what [`Disk::fill`] put there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn empty(&self) -> std::io::Result<()> {
        match fs::remove_file(self.mounted.join(FILLER)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn thaw(mounted: &Path) -> anyhow::Result<()> {
    tool("fsfreeze", &["--unfreeze", &mounted.to_string_lossy()]).map(|_| ())
}

fn is_mounted(place: &Path) -> bool {
    mounted_below(place).iter().any(|known| known == place)
}

/// Every place at or below `folder` where something is mounted, the innermost first.
fn mounted_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut below: Vec<_> = places
        .map(PathBuf::from)
        .filter(|place| place.starts_with(folder))
        .collect();
    below.sort_unstable();
    below.reverse();
    below
}

/// Thaws everything below `folder`, frozen or not: nobody who waits for it could end otherwise.
pub fn thaw_all(folder: &Path) {
    for place in mounted_below(folder) {
        // Of what is not frozen it only says so.
        let _ = thaw(&place);
    }
}

/// Unmounts everything below `folder`. Whoever still uses it keeps it until the end.
///
/// # Errors
/// The kernel refuses.
pub fn unmount_all(folder: &Path) -> anyhow::Result<()> {
    for place in mounted_below(folder) {
        tool("umount", &["--lazy", &place.to_string_lossy()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A folder that is unmounted and removed.
    struct Place(PathBuf);

    impl Place {
        /// None, and why, if this machine can have no disk of that kind.
        fn new(name: &str, kinds: &[Filesystem]) -> Option<Place> {
            let lacking = [
                (!rustix::process::getuid().is_root(), "root"),
                (!Path::new("/dev/loop-control").exists(), "loop devices"),
                (!kinds.iter().all(|kind| kind.is_available()), "its mkfs"),
            ];
            if let Some((_, lacks)) = lacking.iter().find(|(is_lacking, _)| *is_lacking) {
                eprintln!("skipped: {name} needs {lacks}");
                return None;
            }
            let owner = crate::net::owner::Owner::this();
            let folder = std::env::temp_dir().join(format!("{owner}-{name}"));
            fs::create_dir_all(&folder).unwrap();
            Some(Place(folder))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = unmount_all(&self.0);
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn survives(kind: Filesystem) {
        let Some(place) = Place::new(&format!("{kind:?}"), &[kind]) else {
            return;
        };
        let home = place.0.join("disk");
        let disk = Disk::create(&place.0.join("image"), &home, kind, 400 << 20).unwrap();
        File::open(&home).unwrap().sync_all().unwrap();
        let write = |name: &str, is_synced: bool| {
            let mut file = File::create(home.join(name)).unwrap();
            file.write_all(&[7; 10_000]).unwrap();
            if is_synced {
                file.sync_all().unwrap();
                File::open(&home).unwrap().sync_all().unwrap();
            }
        };
        write("synced", true);
        write("unsynced", false);
        disk.cut_power().unwrap();
        assert!(File::create(home.join("later")).is_err());
        disk.restart().unwrap();
        let mut found = vec![];
        let mut file = File::open(home.join("synced")).unwrap();
        file.read_to_end(&mut found).unwrap();
        assert_eq!(found, [7; 10_000]);
        let unsynced = fs::read(home.join("unsynced")).unwrap_or_default();
        assert_ne!(unsynced, [7; 10_000]);

        drop(file);
        disk.fill().unwrap();
        // A page of a table that is there already.
        let append = || File::options().append(true).open(home.join("synced"));
        let full =
            append().and_then(|mut file| (0..16).try_for_each(|_| file.write_all(&[1; 8_192])));
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        disk.empty().unwrap();
        fs::write(home.join("more"), [1; 1 << 16]).unwrap();
    }

    #[test]
    fn as_root_a_power_cut_of_ext4_keeps_what_was_synced_and_nothing_else() {
        survives(Filesystem::Ext4);
    }

    #[test]
    fn as_root_a_power_cut_of_xfs_keeps_what_was_synced_and_nothing_else() {
        survives(Filesystem::Xfs);
    }

    #[test]
    fn as_root_a_sync_fails_for_the_program_that_is_named() {
        let Some(place) = Place::new("shim", &[]) else {
            return;
        };
        let switch = fsync::Shim::compile(&place.0)
            .unwrap()
            .switch(&place.0, "a");
        let sync = || {
            let mut sync = std::process::Command::new("sync");
            sync.arg(place.0.join("fsync.so"))
                .env("LD_PRELOAD", &switch.library)
                .env("JEPSEN_FSYNC_FAILS", &switch.prefix);
            crate::command::run(&mut sync, "").is_ok()
        };
        assert!(sync());
        switch.fail("postgres").unwrap();
        assert!(sync());
        switch.fail("sync").unwrap();
        assert!(!sync());
        switch.work("sync").unwrap();
        assert!(sync());
    }
}
