//! What this machine offers a `dev`: a folder, a user that may run PostgreSQL, and PostgreSQL.
//! Everything is looked at before anything is written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::layout::Layout;
use super::{DevError, processes};

/// The oldest PostgreSQL that tells whether replay is paused (`pg_get_wal_replay_pause_state`).
const OLDEST: u32 = 15;

/// Refuses a folder that holds anything, or that sockets could not live below.
pub(super) fn check_folder(folder: &Path) -> Result<(), DevError> {
    if !folder.is_absolute() {
        return Err(DevError::usage(
            format!("--folder {} is not absolute", folder.display()),
            "write the whole path",
        ));
    }
    // Sockets live below it, and their names may have 107 bytes.
    if folder.as_os_str().len() > 60 {
        return Err(DevError::usage(
            format!("--folder {} is longer than 60 characters", folder.display()),
            "choose a shorter path: PostgreSQL's sockets live below it",
        ));
    }
    let Ok(found) = fs::symlink_metadata(folder) else {
        return Ok(());
    };
    let remedy = "primacy dev down, or choose another with --folder";
    if Layout::load(folder).is_some() {
        let what = if processes::of(folder).is_empty() {
            "holds what an earlier dev left"
        } else {
            "holds a dev that runs"
        };
        return Err(DevError::usage(
            format!("{} {what}", folder.display()),
            remedy,
        ));
    }
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    let is_ours = found.uid() == rustix::process::getuid().as_raw();
    if found.is_dir() && is_empty && is_ours {
        return Ok(());
    }
    let why = match (found.is_dir(), is_ours) {
        (false, _) => "is not a folder",
        (true, false) => "belongs to another user",
        (true, true) => "is not empty and holds no dev",
    };
    Err(DevError::usage(
        format!("{} {why}", folder.display()),
        "choose another with --folder",
    ))
}

/// PostgreSQL refuses to run as root: then everything runs as the user `postgres`.
pub(super) fn account() -> Result<Option<(u32, u32)>, DevError> {
    if !rustix::process::getuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_postgres = fields.next() == Some("postgres");
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        is_postgres.then_some((user, group))
    });
    found.map(Some).ok_or_else(|| {
        DevError::usage(
            "PostgreSQL does not run as root and there is no user postgres",
            "run as another user, or install a PostgreSQL package that creates postgres",
        )
    })
}

/// Refuses a folder that the account could not come to; the user itself is refused by the kernel. `folder` need
/// not exist yet.
pub(super) fn check_reach(folder: &Path, account: Option<(u32, u32)>) -> Result<(), DevError> {
    let Some((user, group)) = account else {
        return Ok(());
    };
    // Links are followed: what counts is where they lead.
    let exists = folder.ancestors().find_map(|it| it.canonicalize().ok());
    // What is to be made is open, and so is the folder itself: its mode is set.
    let above = exists.iter().flat_map(|it| it.ancestors());
    let closed = above.filter(|it| *it != folder).find(|it| {
        fs::metadata(it).is_ok_and(|found| {
            let needed = match () {
                () if found.uid() == user => 0o100,
                () if found.gid() == group => 0o010,
                () => 0o001,
            };
            found.mode() & needed == 0
        })
    });
    match closed {
        None => Ok(()),
        Some(closed) => Err(DevError::usage(
            format!(
                "everything of a dev of root runs as postgres, and {} is closed to it",
                closed.display()
            ),
            "choose a folder below one that everybody may enter, such as /tmp, with --folder",
        )),
    }
}

/// The newest PostgreSQL of this machine.
pub(super) fn find_postgres() -> Result<PathBuf, DevError> {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut places: Vec<_> = packaged
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path));
    let found = places.into_iter().filter_map(|place| {
        let has = |program: &str| place.join(program).exists();
        if !has("postgres") || !has("pg_basebackup") || !has("initdb") {
            return None;
        }
        let output = Command::new(place.join("postgres"))
            .arg("--version")
            .output();
        let version = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
        let number = version.split_whitespace().last()?;
        let number = version
            .split_whitespace()
            .find_map(|word| word.split('.').next()?.parse::<u32>().ok())
            .or_else(|| number.parse().ok())?;
        Some((number, place))
    });
    match found.max() {
        Some((version, place)) if version >= OLDEST => Ok(place),
        Some((version, place)) => Err(DevError::usage(
            format!("PostgreSQL {version} in {} is too old", place.display()),
            format!("install PostgreSQL {OLDEST} or newer"),
        )),
        None => Err(DevError::usage(
            "PostgreSQL is not installed",
            "install it, for example: apt-get install postgresql",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_ours_is_refused() {
        assert!(check_folder(Path::new("dev")).unwrap_err().is_usage);
        assert!(check_folder(Path::new("/etc")).unwrap_err().is_usage);
    }

    #[test]
    fn a_folder_that_the_account_cannot_come_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let mode = |mode| {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
        };
        let folder = root.path().join("some/dev");
        // Nobody that any file here belongs to.
        let account = Some((54_321, 54_321));
        mode(0o755);
        assert!(check_reach(&folder, account).is_ok());
        mode(0o700);
        assert!(check_reach(&folder, None).is_ok());
        let error = check_reach(&folder, account).unwrap_err();
        assert!(error.is_usage);
        let expected = format!(
            "everything of a dev of root runs as postgres, and {} is closed to it",
            root.path().canonicalize().unwrap().display()
        );
        assert_eq!(error.text, expected);
    }
}
