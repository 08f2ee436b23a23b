//! The data folder (PGDATA): what it holds, whose it is, and the marks that we put into it.
//!
//! Never deletes data: what must make room is renamed aside. All functions block on the disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::durable;
use super::error::{Error, Result, on};
use super::processes;
use crate::clock;
use crate::model::{ClusterName, Incarnation, InstanceId};

const FILLING: &str = "primacy.incarnation";
const STANDBY_SIGNAL: &str = "standby.signal";
const RECOVERY_SIGNAL: &str = "recovery.signal";
/// Between the name of a data folder and the stamp of old data.
const OLD: &str = ".old-";
const PROMOTE_TRIGGER: &str = "promote";

/// What was found at the path of a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing is there.
    Absent,
    /// An empty folder.
    Empty,
    /// Something that is no database cluster (a lost+found, a half-made copy): hands off.
    NotEmptyNoCluster,
    /// A database cluster, made by this major version.
    Cluster {
        /// The text of `PG_VERSION`, such as `15`.
        version: String,
    },
}

/// Looks what a data folder holds. Errors: [`Error::File`].
pub fn inspect(data: &Path) -> Result<Content> {
    let mut entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Absent),
        Err(error) => return Err(on("list", data)(error)),
    };
    if entries
        .next()
        .transpose()
        .map_err(on("list", data))?
        .is_none()
    {
        return Ok(Content::Empty);
    }
    match durable::read(&data.join("PG_VERSION"))? {
        Some(version) if durable::exists(&data.join("global/pg_control"))? => {
            Ok(Content::Cluster {
                version: version.trim().to_owned(),
            })
        }
        _ => Ok(Content::NotEmptyNoCluster),
    }
}

/// Checks that the folder belongs to the user that runs PostgreSQL.
/// Errors: [`Error::ForeignOwner`] with the `chown` line, [`Error::File`].
pub fn check_owner(data: &Path, account: Account) -> Result<()> {
    let owner = fs::metadata(data).map_err(on("look at", data))?.uid();
    if owner == account.uid && !account.is_root() {
        return Ok(());
    }
    Err(Error::ForeignOwner {
        folder: data.to_owned(),
        owner,
        wanted: account.uid,
    })
}

/// Which filling of which instance a data folder is, and under which Raft group it was filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filling {
    /// The UUID of the Raft group.
    pub group: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// The instance.
    pub instance: InstanceId,
    /// The recorded filling.
    pub incarnation: Incarnation,
}

/// Notes durably which filling of the folder this is. Errors: [`Error::File`].
pub fn write_filling(data: &Path, filling: &Filling) -> Result<()> {
    let text = serde_json::to_string(filling).expect("plain fields become JSON");
    durable::write(&data.join(FILLING), format!("{text}\n").as_bytes())
}

/// Reads the filling back; `None` if there is no note. It may be another instance's, as in a copy that was
/// rewound or cloned from that one. Errors: [`Error::File`], [`Error::Malformed`].
pub fn read_filling(data: &Path) -> Result<Option<Filling>> {
    let path = data.join(FILLING);
    let Some(text) = durable::read(&path)? else {
        return Ok(None);
    };
    let filling = serde_json::from_str(&text).map_err(|error| Error::Malformed {
        path,
        reason: format!("{error}; remove it, the instance then has to be admitted anew"),
    })?;
    Ok(Some(filling))
}

/// Forgets which filling the folder is: it is about to become another. Errors: [`Error::File`].
pub fn remove_filling(data: &Path) -> Result<bool> {
    durable::remove(&data.join(FILLING))
}

/// Makes the next start a standby's, durably. What would make it the recovery of a restored backup is removed: single-user
/// recovery refuses to run beside it. Errors: [`Error::File`].
pub fn create_standby_signal(data: &Path) -> Result<()> {
    durable::remove(&data.join(RECOVERY_SIGNAL))?;
    // In place of whatever stands there: PostgreSQL follows a link, and starts as a primary if it leads to nothing.
    durable::write(&data.join(STANDBY_SIGNAL), b"")
}

/// Makes the next start a primary's, durably; `false` if it would have been one anyway.
/// Errors: [`Error::File`].
pub fn remove_standby_signal(data: &Path) -> Result<bool> {
    durable::remove(&data.join(RECOVERY_SIGNAL))?;
    durable::remove(&data.join(STANDBY_SIGNAL))
}

/// Whether the next start would be a standby's. Errors: [`Error::File`].
pub fn has_standby_signal(data: &Path) -> Result<bool> {
    durable::exists(&data.join(STANDBY_SIGNAL))
}

/// Removes the file by which `pg_ctl promote` and `pg_promote()` ask for a promotion: left behind
/// it would promote the instance as soon as it runs. `false` if there was none.
/// Errors: [`Error::File`].
pub fn remove_promote_trigger(data: &Path) -> Result<bool> {
    durable::remove(&data.join(PROMOTE_TRIGGER))
}

/// Renames the folder to `<data>.old-<stamp>` and returns that path; nothing is deleted.
/// Errors: [`Error::Alive`] while processes work in it, [`Error::NotEmpty`] if the stamp was used
/// before, [`Error::File`].
pub fn rename_aside(data: &Path, stamp: &str) -> Result<PathBuf> {
    processes::check_none_alive(data)?;
    let aside = beside(data, &format!("{OLD}{stamp}"));
    durable::rename(data, &aside)?;
    Ok(aside)
}

/// The old data that lies beside the data folder, oldest first. Errors: [`Error::File`].
pub fn kept(data: &Path) -> Result<Vec<PathBuf>> {
    folders_beside(data, OLD)
}

/// The folders beside the data folder whose names are its own with `suffix` and a stamp, oldest first.
pub(super) fn folders_beside(data: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let prefix = beside(data, suffix);
    let (Some(folder), Some(prefix)) = (prefix.parent(), prefix.file_name()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(on("list", folder))? {
        let entry = entry.map_err(on("list", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Nobody else's, however its name begins: what is ours is removed when there is no room for it.
        let stamp = name.strip_prefix(&*prefix.to_string_lossy());
        let is_ours = stamp.is_some_and(clock::is_stamp);
        if is_ours
            && entry
                .file_type()
                .map_err(on("look at", &entry.path()))?
                .is_dir()
        {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The path with `suffix` added to its last part.
pub(crate) fn beside(data: &Path, suffix: &str) -> PathBuf {
    let plain: PathBuf = data.components().collect();
    let mut name = plain.into_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes the replication slots whose names begin so, of a server that does not run.
/// Errors: [`Error::File`].
pub fn remove_slots(data: &Path, prefix: &str) -> Result<()> {
    let folder = data.join("pg_replslot");
    // Held, or a link could be put in its place between the look and the removal.
    let held = durable::Folder::open(&folder).map_err(on("list", &folder))?;
    for entry in fs::read_dir(held.path()).map_err(on("list", &folder))? {
        let entry = entry.map_err(on("list", &folder))?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(prefix) {
            let removed = fs::remove_dir_all(entry.path());
            removed.map_err(on("remove", &folder.join(name)))?;
        }
    }
    held.sync().map_err(on("fsync folder", &folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    #[test]
    fn content_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        assert_eq!(inspect(&data).unwrap(), Content::Absent);
        fs::create_dir(&data).unwrap();
        assert_eq!(inspect(&data).unwrap(), Content::Empty);
        fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(inspect(&data).unwrap(), Content::NotEmptyNoCluster);
        fs::create_dir(data.join("global")).unwrap();
        fs::write(data.join("global/pg_control"), "").unwrap();
        let version = "15".to_owned();
        assert_eq!(inspect(&data).unwrap(), Content::Cluster { version });
    }

    #[test]
    fn a_filling_is_noted_and_forgotten() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(read_filling(data.path()).unwrap(), None);
        let filling = Filling {
            group: "g".to_owned(),
            cluster: ClusterName::new("main").unwrap(),
            instance: InstanceId::new("pg-a").unwrap(),
            incarnation: Incarnation(3),
        };
        write_filling(data.path(), &filling).unwrap();
        assert_eq!(read_filling(data.path()).unwrap(), Some(filling));
        // A note that does not say its group is nobody's.
        let half = r#"{"instance":"pg-a","incarnation":3}"#;
        fs::write(data.path().join(FILLING), half).unwrap();
        let refused = read_filling(data.path());
        assert!(
            matches!(refused, Err(Error::Malformed { .. })),
            "{refused:?}"
        );
        assert!(remove_filling(data.path()).unwrap());
    }

    #[test]
    fn a_foreign_folder_is_refused_with_the_remedy() {
        let data = tempfile::tempdir().unwrap();
        let other = Account { uid: 4711, gid: 1 };
        let text = check_owner(data.path(), other).unwrap_err().to_string();
        assert!(text.contains("chown -R 4711"), "{text}");
    }

    #[test]
    fn a_planted_link_makes_no_primary() {
        let data = tempfile::tempdir().unwrap();
        let signal = data.path().join(STANDBY_SIGNAL);
        symlink("nowhere", &signal).unwrap();
        create_standby_signal(data.path()).unwrap();
        assert!(fs::symlink_metadata(&signal).unwrap().is_file());
        assert!(has_standby_signal(data.path()).unwrap());
    }

    #[test]
    fn a_planted_link_does_not_tell_a_file_as_the_version() {
        let data = tempfile::tempdir().unwrap();
        let (data, secret) = (data.path().join("data"), data.path().join("secret"));
        fs::create_dir_all(data.join("global")).unwrap();
        fs::write(data.join("global/pg_control"), "").unwrap();
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, data.join("PG_VERSION")).unwrap();
        let refused = inspect(&data).unwrap_err().to_string();
        assert!(refused.contains("PG_VERSION: it is a symbolic link"));
    }

    #[test]
    fn slots_are_removed_and_nothing_behind_a_planted_link() {
        let root = tempfile::tempdir().unwrap();
        let (data, other) = (root.path().join("data"), root.path().join("other"));
        let slots = data.join("pg_replslot");
        for folder in ["primacy_a", "users"].map(|name| slots.join(name)) {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("state"), "").unwrap();
        }
        fs::create_dir_all(other.join("primacy_b")).unwrap();
        symlink(other.join("primacy_b"), slots.join("primacy_b")).unwrap();
        remove_slots(&data, "primacy_").unwrap();
        let left: Vec<_> = fs::read_dir(&slots).unwrap().flatten().collect();
        assert!(left.len() == 1 && left[0].file_name() == "users");
        assert!(other.join("primacy_b").exists());
        if rustix::process::geteuid().is_root() {
            fs::rename(&slots, data.join("aside")).unwrap();
            symlink(&other, &slots).unwrap();
            lchown(&slots, Some(65_534), Some(65_534)).unwrap();
            assert!(remove_slots(&data, "primacy_").is_err());
            assert!(other.join("primacy_b").exists());
        }
    }

    #[test]
    fn old_data_is_renamed_not_deleted() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("precious"), "x").unwrap();
        let aside = rename_aside(&root.path().join("data/"), "t1").unwrap();
        assert_eq!(aside, root.path().join("data.old-t1"));
        assert!(aside.join("precious").exists() && !data.exists());
        fs::create_dir(&data).unwrap();
        let ours = rename_aside(&data, "20260414T093000250Z").unwrap();
        fs::create_dir(root.path().join("data.old-archive")).unwrap();
        assert_eq!(kept(&data).unwrap(), [ours]);
        fs::create_dir(&data).unwrap();
        assert!(matches!(
            rename_aside(&data, "t1"),
            Err(Error::NotEmpty { .. })
        ));
    }
}
