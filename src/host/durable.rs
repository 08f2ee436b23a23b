//! Writing small files so that they are whole or absent after a power cut.
//!
//! All functions block on the disk. A new file gets the owner of its folder, so that an agent that
//! runs as root leaves nothing in a data folder that PostgreSQL cannot read.
//!
//! That owner may plant what it likes in its folder: a link, or a second name of a file of root's. So nothing that was
//! there before is opened to be written into with root's rights or given away, none of its links is followed, and an act
//! looks its folder up once.

mod folder;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::fs::{linkat, openat, renameat, renameat_with, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;

use super::error::{Error, Result, on};

pub use folder::Folder;

/// Most bytes of a file that is read: settings that people wrote are the longest, and a thousandth of this.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Replaces `path` by a file with this content and mode 0600: temporary file, fsync, rename, fsync
/// of the folder. A link that stands there is replaced, and what it leads to stays. Errors: [`Error::File`].
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let entry = Entry::of(path).map_err(on("write", path))?;
    let temporary = entry.prepare(content)?;
    let folder = &entry.folder.opened;
    renameat(folder, &temporary, folder, entry.name)
        .map_err(io::Error::from)
        .map_err(on("rename into place", path))?;
    entry.sync()
}

/// Like [`write()`], but leaves an existing file alone and returns `false`: the check and the
/// creation are one act (`link`). Errors: [`Error::File`].
pub fn create(path: &Path, content: &[u8]) -> Result<bool> {
    let entry = Entry::of(path).map_err(on("create", path))?;
    let temporary = entry.prepare(content)?;
    let folder = &entry.folder.opened;
    let linked = linkat(folder, &temporary, folder, entry.name, AtFlags::empty());
    unlinkat(folder, &temporary, AtFlags::empty())
        .map_err(io::Error::from)
        .map_err(on("remove", &path.with_file_name(&temporary)))?;
    match linked {
        Ok(()) => entry.sync().map(|()| true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(on("create", path)(error.into())),
    }
}

/// Opens a file to append to it: the output of a program. One that is not there, that is a link, or that does not belong
/// to the folder's owner while this is root, is made anew, with mode 0600. Errors: the system's.
pub fn append(path: &Path) -> io::Result<File> {
    let entry = Entry::of(path)?;
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(&entry.folder.opened, entry.name, flags, Mode::empty());
    match retry_on_intr(open).map(File::from) {
        Ok(file) if !geteuid().is_root() || file.metadata()?.uid() == entry.folder.owner => {
            Ok(file)
        }
        Ok(_) | Err(Errno::NOENT | Errno::LOOP) => entry.folder.create(entry.name),
        Err(error) => Err(error.into()),
    }
}

/// Removes a file durably; `false` if there was none. Errors: [`Error::File`].
pub fn remove(path: &Path) -> Result<bool> {
    let removed = Entry::of(path).and_then(|entry| {
        unlinkat(&entry.folder.opened, entry.name, AtFlags::empty())?;
        Ok(entry)
    });
    match removed {
        Ok(entry) => entry.sync().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(on("remove", path)(error)),
    }
}

/// Renames within one parent folder, durably; refuses an existing target (never overwrites).
/// Errors: [`Error::File`], [`Error::NotEmpty`].
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let old = Entry::of(from).map_err(on("rename", from))?;
    let new = Entry::of(to).map_err(on("rename to", to))?;
    let (source, target) = (&old.folder.opened, &new.folder.opened);
    let renamed = renameat_with(source, old.name, target, new.name, RenameFlags::NOREPLACE);
    renamed.map_err(|error| match error {
        Errno::EXIST => Error::NotEmpty {
            folder: to.to_owned(),
        },
        other => on("rename", from)(other.into()),
    })?;
    new.sync()
}

/// Gives a folder to this user, and nothing that is in it. Errors: the system's, also if it is a link; the way to where it is
/// is not safe for root, see [`Folder::open`].
pub fn give_folder(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = Folder::open(path.parent().unwrap_or(Path::new(".")))?.folder(name)?;
    match folder.metadata()?.uid() == uid {
        true => Ok(()),
        false => fchown(folder, Some(uid), Some(gid)),
    }
}

/// Whether something is there; a link counts as what it leads to. Errors: [`Error::File`] if that cannot be told.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(on("look at", path))
}

/// Reads a text file; `None` if there is none. Errors: those of [`open`].
pub fn read(path: &Path) -> Result<Option<String>> {
    let bytes = read_bytes(path)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads a file as it is; `None` if there is none. Errors: those of [`open`].
pub fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    content(file).map(Some).map_err(on("read", path))
}

/// Opens a file to read it; `None` if there is none. Errors: [`Error::File`]; [`Error::Malformed`] if it is a link, or if
/// root would read for the owner of the folder what that owner may not read.
pub fn open(path: &Path) -> Result<Option<File>> {
    let refuse = |reason: String| Error::Malformed {
        path: path.to_owned(),
        reason,
    };
    let entry = match Entry::of(path) {
        Ok(entry) => entry,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(on("read", path)(error)),
    };
    let folder = &entry.folder;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(&folder.opened, entry.name, flags, Mode::empty());
    let file = match retry_on_intr(open) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => {
            let why = "it is a symbolic link, and none is followed here; put the file itself in its place";
            return Err(refuse(why.to_owned()));
        }
        Err(error) => return Err(on("read", path)(error.into())),
    };
    let about = file.metadata().map_err(on("look at", path))?;
    // A second name of a file of somebody else's tells its owner no secret if everybody may read it.
    let is_told = about.uid() == folder.owner || about.mode() & 0o004 != 0;
    if geteuid().is_root() && folder.is_foreign() && !is_told {
        let (found, owner) = (about.uid(), folder.owner);
        return Err(refuse(format!(
            "it belongs to uid {found}, and its folder to uid {owner}; if it should be there, run: chown {owner} '{}'",
            path.display()
        )));
    }
    Ok(Some(file))
}

/// The bytes of a file that the operator named, through whatever links; one that is too long is refused before memory is
/// taken for it.
pub(crate) fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    content(File::open(path)?)
}

fn content(file: File) -> io::Result<Vec<u8>> {
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

/// A name in a folder that is held.
struct Entry<'a> {
    path: &'a Path,
    name: &'a OsStr,
    folder: Folder,
}

impl<'a> Entry<'a> {
    fn of(path: &'a Path) -> io::Result<Entry<'a>> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let folder = Folder::open(folder_of(path))?;
        Ok(Entry { path, name, folder })
    }

    /// Writes the content beside the file, and returns under which name.
    fn prepare(&self, content: &[u8]) -> Result<OsString> {
        let mut temporary = self.name.to_owned();
        temporary.push(".primacy-tmp");
        let written = || -> io::Result<()> {
            let mut file = self.folder.create(&temporary)?;
            file.write_all(content)?;
            file.sync_all()
        };
        written().map_err(on("write", &self.path.with_file_name(&temporary)))?;
        Ok(temporary)
    }

    fn sync(&self) -> Result<()> {
        let synced = self.folder.sync();
        synced.map_err(on("fsync folder", folder_of(self.path)))
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;

    use super::*;

    const NOBODY: u32 = 65_534;

    /// A folder, given to somebody else if this is root, and beside it a file that is not the folder's.
    fn foreign(root: &Path) -> (PathBuf, PathBuf) {
        let (folder, secret) = (root.join("folder"), root.join("secret"));
        fs::create_dir(&folder).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        if geteuid().is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        (folder, secret)
    }

    fn plant(target: &Path, link: &Path, is_hard: bool) {
        match is_hard {
            true => fs::hard_link(target, link).unwrap(),
            false => symlink(target, link).unwrap(),
        }
    }

    fn untouched(secret: &Path) {
        assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
        let about = fs::metadata(secret).unwrap();
        assert_eq!(about.uid(), geteuid().as_raw(), "it was given away");
    }

    #[test]
    fn nothing_is_written_through_a_planted_link() {
        let root = tempfile::tempdir().unwrap();
        let (folder, secret) = foreign(root.path());
        let path = folder.join("file");
        let acts: [fn(&Path) -> bool; 2] = [
            |path| write(path, b"new").is_ok(),
            |path| create(path, b"new").is_ok(),
        ];
        for is_hard in [true, false] {
            for planted in ["file.primacy-tmp", "file"] {
                for act in acts {
                    plant(&secret, &folder.join(planted), is_hard);
                    assert!(act(&path), "{planted}");
                    untouched(&secret);
                    assert!(remove(&path).unwrap());
                    untouched(&secret);
                }
            }
        }
        symlink(root.path().join("absent"), folder.join("file.primacy-tmp")).unwrap();
        write(&path, b"new").unwrap();
        assert!(!root.path().join("absent").exists());
        let about = fs::symlink_metadata(&path).unwrap();
        assert!(about.is_file() && about.mode() & 0o777 == 0o600);
        assert_eq!(about.uid(), fs::metadata(&folder).unwrap().uid());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_appended_through_a_planted_link() {
        let root = tempfile::tempdir().unwrap();
        let (folder, secret) = foreign(root.path());
        let path = folder.join("log");
        // Whoever is not root may do to its own file what it likes.
        let kinds = [false, true].into_iter();
        for is_hard in kinds.take(1 + usize::from(geteuid().is_root())) {
            plant(&secret, &path, is_hard);
            for text in ["one", "two"] {
                append(&path).unwrap().write_all(text.as_bytes()).unwrap();
            }
            untouched(&secret);
            assert_eq!(read(&path).unwrap().as_deref(), Some("onetwo"));
            assert!(remove(&path).unwrap());
        }
    }

    #[test]
    fn nothing_is_read_through_a_planted_link() {
        let root = tempfile::tempdir().unwrap();
        let (folder, secret) = foreign(root.path());
        let path = folder.join("file");
        let refused = |path: &Path| match read(path) {
            Err(Error::Malformed { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        symlink(&secret, &path).unwrap();
        assert!(refused(&path).contains("put the file itself in its place"));
        assert!(remove(&path).unwrap());
        fs::hard_link(&secret, &path).unwrap();
        if geteuid().is_root() {
            assert!(refused(&path).contains("chown 65534"));
        }
        // Told to everybody.
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("secret"));
    }

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
