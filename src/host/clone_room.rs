//! The folder beside the data in which a clone or the first data is made, and what stands in its way.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::account::Account;
use super::error::{Error, Result, on};
use super::{data_folder, durable, processes};

/// How long a copier may survive SIGKILL before that is an error.
const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// How the folders of tablespaces begin that a clone makes where there is one already.
pub(super) const TABLESPACE: &str = "primacy-";
/// What a copy must leave free, one part in so many: its own WAL comes on top.
const LEFT_FREE: u64 = 20;

/// Whether a copy of so many bytes fits where `target` is. True if nobody can tell.
pub(super) fn is_enough(target: &Path, needed: u64) -> bool {
    free(target).is_none_or(|free| needed + needed / LEFT_FREE <= free)
}

/// The refusal of a copy of so many bytes into `target`, with what lies beside it from before.
pub(super) fn no_room(target: &Path, needed: u64) -> Error {
    let data = target.with_extension("");
    Error::NoRoom {
        target: target.to_owned(),
        needed,
        // It may not be there yet.
        free: free(target)
            .or_else(|| free(target.parent()?))
            .unwrap_or_default(),
        kept: data_folder::kept(&data).unwrap_or_default(),
    }
}

fn free(folder: &Path) -> Option<u64> {
    let about = rustix::fs::statvfs(folder).ok()?;
    Some(about.f_bavail * about.f_frsize)
}

/// Removes the tablespaces of an unfinished copy. As their owner: whoever may write there could name any folder.
fn remove_tablespaces(held: &Path, account: Account) -> Result<()> {
    let links = held.join("pg_tblspc");
    let Ok(entries) = fs::read_dir(&links) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let Ok(place) = fs::read_link(entry.path()) else {
            continue;
        };
        let name = place.file_name().unwrap_or_default();
        if !name.to_string_lossy().starts_with(TABLESPACE) || !place.is_absolute() {
            continue;
        }
        let mut command = Command::new("rm");
        command.args(["-rf", "--"]).arg(&place).current_dir("/");
        command.stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(account.uid).gid(account.gid);
        }
        let ended = command.status().map_err(on("remove", &place))?;
        if !ended.success() {
            tracing::warn!(folder = %place.display(), "an unfinished copy of a tablespace is left");
        }
    }
    Ok(())
}

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
        remove_tablespaces(&held, account)?;
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
    fn tablespaces_of_an_unfinished_copy_go_with_it_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        let (fresh, mark) = (root.path().join("data.new"), root.path().join("mark"));
        let account = Account::own();
        make(&fresh, &mark, "1", account).unwrap();
        let links = fresh.join("pg_tblspc");
        fs::create_dir(&links).unwrap();
        let places = ["primacy-1", "theirs"].map(|name| root.path().join("space").join(name));
        for (number, place) in places.iter().enumerate() {
            fs::create_dir_all(place.join("PG_15")).unwrap();
            std::os::unix::fs::symlink(place, links.join(number.to_string())).unwrap();
        }
        make(&fresh, &mark, "2", account).unwrap();
        assert_eq!(places.map(|it| it.exists()), [false, true]);
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
