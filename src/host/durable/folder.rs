//! A folder that is found once and then held, so that nobody who may write above it sends root elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, readlinkat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::folder_of;

/// As many links as the kernel follows on one way.
const MOST_LINKS: usize = 40;

/// A folder that is held: what is done in it is done there, whatever bears its name meanwhile.
#[derive(Debug)]
pub struct Folder {
    /// Opened as a place only, for which no right to read it is needed.
    pub(super) opened: File,
    pub(super) owner: u32,
    group: u32,
}

impl Folder {
    /// Finds a folder. To root, links on the way count only if they are root's, or lead to a folder of their own owner:
    /// whoever may put a link somewhere must not send root into the folder of another.
    /// Errors: the system's; [`io::ErrorKind::PermissionDenied`] for such a link.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut ahead = names(path);
        let mut at: Option<File> = None;
        let mut owners = Vec::new();
        while let Some(name) = ahead.pop() {
            let from = at.as_ref().map_or(CWD, |at| at.as_fd());
            match openat(from, &name, place | OFlags::DIRECTORY, Mode::empty()) {
                Ok(folder) => at = Some(File::from(folder)),
                Err(Errno::NOTDIR) => {
                    let link = File::from(openat(from, &name, place, Mode::empty())?);
                    let about = link.metadata()?;
                    if !about.is_symlink() {
                        return Err(Errno::NOTDIR.into());
                    }
                    if owners.len() == MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    owners.push(about.uid());
                    let target = readlinkat(&link, "", Vec::<u8>::new())?;
                    ahead.extend(names(Path::new(OsStr::from_bytes(target.to_bytes()))));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let opened = at.ok_or(Errno::NOENT)?;
        let about = opened.metadata()?;
        let leads_astray = |&owner: &u32| owner != 0 && owner != about.uid();
        if geteuid().is_root()
            && let Some(owner) = owners.into_iter().find(leads_astray)
        {
            let text = format!(
                "a symbolic link of uid {owner} leads to a folder of uid {}, and root does not follow it; name the folder itself",
                about.uid()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Folder {
            opened,
            owner: about.uid(),
            group: about.gid(),
        })
    }

    /// The folder that `path` is in, held, and the path through it: whoever moves a folder above does not send elsewhere
    /// what is done there. A link that bears the last name is not followed. Errors: those of [`Folder::open`].
    pub fn around(path: &Path) -> io::Result<(Folder, PathBuf)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let folder = Folder::open(folder_of(path))?;
        let held = folder.path().join(name);
        Ok((folder, held))
    }

    /// Makes this folder and those above it that are not there, each in the one that was found or made before.
    /// Errors: those of [`Folder::open`].
    pub fn make(path: &Path) -> io::Result<Folder> {
        match (Folder::open(path), path.file_name()) {
            (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
                let above = Folder::make(folder_of(path))?;
                match mkdirat(&above.opened, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => Folder::open(path),
                    Err(error) => Err(error.into()),
                }
            }
            (found, _) => found,
        }
    }

    /// A path that leads into this folder and no other, for as long as it is held.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.opened.as_raw_fd()).into()
    }

    /// The folder opened to be read, for what a place alone does not allow. Errors: the system's.
    pub fn reopen(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&self.opened, ".", flags, Mode::empty())?;
        Ok(File::from(opened))
    }

    /// A folder in it, which is no link. Errors: the system's.
    pub(super) fn folder(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(
            &self.opened,
            name,
            flags,
            Mode::empty(),
        )?))
    }

    /// Makes creations, renames and removals in it durable. Errors: the system's.
    pub fn sync(&self) -> io::Result<()> {
        self.reopen()?.sync_all()
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.owner != geteuid().as_raw()
    }

    /// A new and empty file of the folder's owner, which alone may read it, to append to. What bore the name is gone,
    /// and what it led to is untouched.
    pub(in crate::host) fn create(&self, name: &OsStr) -> io::Result<File> {
        match unlinkat(&self.opened, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(openat(&self.opened, name, flags, mode)?);
        if self.is_foreign() {
            fchown(&file, Some(self.owner), Some(self.group))?;
        }
        Ok(file)
    }
}

/// The parts of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev();
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::super::{give_folder, read, remove, write};
    use super::*;
    use crate::host::Error;

    const NOBODY: u32 = 65_534;

    #[test]
    fn folders_are_made_where_they_are_not_and_held_under_another_name() {
        let root = tempfile::tempdir().unwrap();
        let (deep, moved) = (root.path().join("a/b/c"), root.path().join("moved"));
        Folder::make(&deep).unwrap();
        Folder::make(&deep).unwrap();
        let (_folder, held) = Folder::around(&deep).unwrap();
        fs::rename(root.path().join("a"), &moved).unwrap();
        fs::create_dir_all(&deep).unwrap();
        fs::remove_dir(&held).unwrap();
        assert!(deep.exists() && !moved.join("b/c").exists());
        fs::write(root.path().join("file"), "").unwrap();
        assert!(Folder::make(&root.path().join("file/x")).is_err());
        symlink("nowhere", root.path().join("dangling")).unwrap();
        assert!(Folder::make(&root.path().join("dangling/x")).is_err());
        assert!(!root.path().join("nowhere").exists());
    }

    #[test]
    fn a_folder_is_found_through_links_that_lead_root_not_astray() {
        let root = tempfile::tempdir().unwrap();
        let [own, theirs, links] = ["own", "theirs", "links"].map(|name| root.path().join(name));
        for (folder, text) in [(&own, "own"), (&theirs, "theirs"), (&links, "")] {
            fs::create_dir(folder).unwrap();
            let file = folder.join("file");
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        symlink("../own", links.join("own")).unwrap();
        symlink(&theirs, links.join("theirs")).unwrap();
        symlink("again", links.join("again")).unwrap();
        if geteuid().is_root() {
            chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let found = |name: &str| read(&links.join(name).join("file"));
        assert_eq!(found("own").unwrap().as_deref(), Some("own"));
        assert_eq!(found("theirs").unwrap().as_deref(), Some("theirs"));
        assert_eq!(found("absent").unwrap(), None);
        assert!(found("own/file").is_err() && found("again").is_err());
        if geteuid().is_root() {
            for name in ["own", "theirs"] {
                lchown(links.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            assert_eq!(found("theirs").unwrap().as_deref(), Some("theirs"));
            assert!(matches!(found("own"), Err(Error::File { .. })));
            let astray = links.join("own/file");
            assert!(write(&astray, b"x").is_err() && remove(&astray).is_err());
            assert!(give_folder(&links.join("own"), NOBODY, NOBODY).is_err());
            assert_eq!(fs::metadata(&own).unwrap().uid(), 0);
            assert_eq!(fs::read_to_string(own.join("file")).unwrap(), "own");
            // On a way through a link of theirs, to what is theirs: as if it had no link.
            fs::create_dir(theirs.join("new")).unwrap();
            give_folder(&links.join("theirs/new"), NOBODY, NOBODY).unwrap();
            assert_eq!(fs::metadata(theirs.join("new")).unwrap().uid(), NOBODY);
            assert!(Folder::make(&links.join("own/new")).is_err() && !own.join("new").exists());
            give_folder(&own, NOBODY, NOBODY).unwrap();
            assert_eq!(fs::metadata(&own).unwrap().uid(), NOBODY);
            assert_eq!(fs::metadata(own.join("file")).unwrap().uid(), 0);
        }
    }
}
