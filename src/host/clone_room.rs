//! The folder beside the data in which a clone or the first data is made, and what stands in its way.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::account::Account;
use super::error::{Result, on};
use super::{data_folder, durable, processes};

/// How long a copier may survive SIGKILL before that is an error.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// Makes `fresh` an empty folder of this user, and notes in `mark` that it is ours. An unfinished copy that
/// is ours by that mark is removed; anything else is renamed aside, and its new path returned. Blocks, for as long as removing a copy takes.
/// Errors: [`Error::Alive`](super::Error::Alive), [`Error::File`](super::Error::File).
pub(super) fn make(
    fresh: &Path,
    mark: &Path,
    stamp: &str,
    account: Account,
) -> Result<Option<PathBuf>> {
    // Held, or another folder could be put in its place between the look and the removal.
    let (_beside, held) = durable::Folder::around(fresh).map_err(on("look at", fresh))?;
    let found = identity(&held)?;
    let is_ours = found.is_some() && found == durable::read(mark)?;
    if is_ours {
        // The agent that began the copy may have been killed, and its pg_basebackup not.
        processes::kill_all(fresh, KILLED_WITHIN)?;
    }
    processes::check_none_alive(fresh)?;
    let in_the_way = if is_ours {
        fs::remove_dir_all(&held).map_err(on("remove the unfinished copy", fresh))?;
        None
    } else if durable::exists(fresh)? {
        Some(data_folder::rename_aside(fresh, stamp)?)
    } else {
        None
    };
    let created = DirBuilder::new().mode(0o700).create(&held);
    created.map_err(on("create folder", fresh))?;
    if rustix::process::geteuid().is_root() {
        let given = durable::give_folder(fresh, account.uid, account.gid);
        given.map_err(on("chown", fresh))?;
    }
    if let Some(identity) = identity(&held)? {
        durable::write(mark, identity.as_bytes())?;
    }
    Ok(in_the_way)
}

/// Which folder it is, whatever its name: device, number and time of birth, because numbers are given out
/// again; none if no folder is there, or the file system keeps no births. A link is none: what it leads to is not ours.
fn identity(folder: &Path) -> Result<Option<String>> {
    if !durable::exists(folder)? {
        return Ok(None);
    }
    let about = fs::symlink_metadata(folder).map_err(on("look at", folder))?;
    if !about.is_dir() {
        return Ok(None);
    }
    let born = about.created().ok();
    let born = born.and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok(born.map(|born| format!("{} {} {}", about.dev(), about.ino(), born.as_nanos())))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_link_is_never_our_folder() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("data.new");
        std::os::unix::fs::symlink("/", &link).unwrap();
        assert_eq!(identity(&link).unwrap(), None);
        assert!(identity(folder.path()).unwrap().is_some());
    }

    #[test]
    fn a_copier_that_outlived_its_agent_is_killed_with_its_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (fresh, mark) = (folder.path().join("data.new"), folder.path().join("mark"));
        let account = Account::own();
        make(&fresh, &mark, "1", account).unwrap();
        let mut copier = Command::new("sleep")
            .arg("60")
            .current_dir(&fresh)
            .spawn()
            .unwrap();
        fs::write(fresh.join("half"), b"").unwrap();
        assert_eq!(make(&fresh, &mark, "2", account).unwrap(), None);
        assert!(!copier.wait().unwrap().success());
        assert!(!fresh.join("half").exists());
        fs::remove_file(&mark).unwrap();
        let aside = make(&fresh, &mark, "3", account).unwrap();
        assert!(aside.is_some_and(|it| it.exists()), "nobody knows whose");
        // The number of a folder that was removed is given out again at once.
        fs::remove_dir(&fresh).unwrap();
        fs::create_dir(&fresh).unwrap();
        let aside = make(&fresh, &mark, "4", account).unwrap();
        assert!(aside.is_some_and(|it| it.exists()), "somebody else's");
    }
}
