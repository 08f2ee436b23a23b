//! A file system in a file, whose power can be cut.
//!
//! A cut is the file system's own shutdown without flushing its log (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`, which
//! `xfs_io` gives both): everything in the page cache that was not flushed is gone at the next mount, and whatever is
//! tried in between fails. What it does not simulate is the disk: its own volatile cache, a flush that it only
//! pretends, sectors that are torn or land in another order.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// XFS takes no less than 300 MiB; the file is sparse.
const BYTES: u64 = 400 << 20;

#[derive(Debug, Clone, Copy)]
pub enum Filesystem {
    Ext4,
    Xfs,
}

pub struct Disk {
    place: TempDir,
}

impl Disk {
    /// A new, empty one of `kind`; none, and why, if this machine can have none.
    pub fn new(kind: Filesystem) -> Option<Self> {
        let mkfs: &[&str] = match kind {
            Filesystem::Ext4 => &[
                "mkfs.ext4",
                "-q",
                "-m",
                "0",
                "-E",
                "nodiscard",
                "-J",
                "size=16",
            ],
            Filesystem::Xfs => &["mkfs.xfs", "-q", "-K"],
        };
        let is_installed = |program: &str| Path::new("/usr/sbin").join(program).exists();
        let lacking = [
            (fs::metadata("/proc/self").unwrap().uid() != 0, "root"),
            (!Path::new("/dev/loop-control").exists(), "loop devices"),
            (!is_installed(mkfs[0]), mkfs[0]),
            (!is_installed("xfs_io"), "xfs_io (xfsprogs)"),
        ];
        if let Some((_, lacks)) = lacking.iter().find(|(is_lacking, _)| *is_lacking) {
            eprintln!("skipped: a disk of {kind:?} needs {lacks}");
            return None;
        }
        let disk = Self {
            place: tempfile::tempdir().unwrap(),
        };
        File::create(disk.image()).unwrap().set_len(BYTES).unwrap();
        tool(Command::new(mkfs[0]).args(&mkfs[1..]).arg(disk.image()));
        fs::create_dir(disk.home()).unwrap();
        disk.mount("loop,noatime");
        Some(disk)
    }

    fn image(&self) -> PathBuf {
        self.place.path().join("image")
    }

    /// Where it is mounted.
    pub fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    fn mount(&self, options: &str) {
        tool(
            Command::new("mount")
                .args(["-o", options])
                .arg(self.image())
                .arg(self.home()),
        );
    }

    pub fn cut_power(&self) {
        tool(
            Command::new("xfs_io")
                .args(["-x", "-c", "shutdown"])
                .arg(self.home()),
        );
    }

    /// Mounts it anew. Nobody may use it any more.
    pub fn restart(&self) {
        self.restart_with("loop,noatime");
    }

    pub fn restart_read_only(&self) {
        self.restart_with("loop,noatime,ro");
    }

    fn restart_with(&self, options: &str) {
        tool(Command::new("umount").arg(self.home()));
        self.mount(options);
    }

    /// Leaves no byte free; the file that does it.
    pub fn fill(&self) -> PathBuf {
        use std::io::Write;
        let filler = self.home().join("filler");
        let mut file = File::create(&filler).unwrap();
        for piece in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; piece]).is_ok() {}
            let _ = file.sync_all();
        }
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.home())
            .status();
    }
}

fn tool(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
