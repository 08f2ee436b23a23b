//! The two folders of an agent and what is around them: its state folder, and the room beside the data folder
//! in which copies are made and old data is put aside.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags, accessat, statx};

use super::{Refused, refuse};
use crate::agent::config::InvalidConfig;
use crate::gate::FolderLock;
use crate::host::Account;

/// Locks the state folder if it is there; if not, checks that it could be made.
pub(super) fn lock_state(folder: &Path, account: Account) -> Result<Option<FolderLock>, Refused> {
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let found = usable("folder", folder, access, account)?;
    if found != folder {
        return Ok(None);
    }
    let shown = found.display();
    let about = folder.metadata().map_err(|error| {
        InvalidConfig(format!(
            "`folder` {shown} cannot be looked at ({error}); check its disk"
        ))
    })?;
    if about.mode() & 0o077 != 0 {
        return Ok(refuse(format!(
            "`folder` {shown} is open to other users, and passwords and the lease are kept in it; run: chmod 700 '{shown}'"
        ))?);
    }
    let own = rustix::process::geteuid();
    if !own.is_root() && about.uid() != account.uid {
        return Ok(refuse(format!(
            "`folder` {shown} belongs to uid {}, not to uid {}; run: chown -R {} '{shown}'",
            about.uid(),
            account.uid,
            account.uid
        ))?);
    }
    Ok(Some(FolderLock::take(folder)?))
}

/// Checks that copies can be made beside the data folder, and that it can be renamed.
pub(super) fn check_room(data: &Path, account: Account) -> Result<(), InvalidConfig> {
    let Some(beside) = data.parent() else {
        return refuse("`data` is the root of this host; choose another folder".to_owned());
    };
    let access = Access::WRITE_OK | Access::EXEC_OK;
    usable("data", beside, access, account)?;
    if is_mounted(data) {
        return refuse(format!(
            "`data` {} is where a file system is mounted, so it cannot be renamed when a copy takes its place; choose a folder in it",
            data.display()
        ));
    }
    Ok(())
}

/// The folder, or the nearest one above it that is there: the agent may work in it, and PostgreSQL's user gets
/// through it.
fn usable<'a>(
    field: &str,
    folder: &'a Path,
    access: Access,
    account: Account,
) -> Result<&'a Path, InvalidConfig> {
    let Some(found) = folder.ancestors().find(|it| it.exists()) else {
        return refuse(format!(
            "`{field}` {} is nowhere; choose another",
            folder.display()
        ));
    };
    let shown = found.display();
    if !found.is_dir() {
        return refuse(format!(
            "`{field}`: {shown} is no folder; choose another path"
        ));
    }
    if let Err(error) = accessat(CWD, found, access, AtFlags::EACCESS) {
        return refuse(format!(
            "`{field}`: {shown} is not writable for this user ({error}); give it to the user that runs the agent, or choose another"
        ));
    }
    // The state folder itself is given to PostgreSQL's user.
    let way = if found == folder && field == "folder" {
        found.parent().unwrap_or(found)
    } else {
        found
    };
    if !lets_through(way, account)? {
        return refuse(format!(
            "`{field}`: uid {}, which runs PostgreSQL, does not get through {}; run: chmod +x for it and the folders above, or choose another",
            account.uid,
            way.display()
        ));
    }
    Ok(found)
}

/// Whether this user may pass through a folder and all above it: the kernel is asked as that user.
fn lets_through(folder: &Path, account: Account) -> Result<bool, InvalidConfig> {
    let mut command = Command::new("test");
    command.arg("-x").arg(folder).current_dir("/");
    command.stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(account.uid).gid(account.gid);
    }
    let status = command.status().map_err(|error| {
        InvalidConfig(format!(
            "`run_as`: a process of uid {} cannot be started ({error}); give the agent the right to, or another user",
            account.uid
        ))
    })?;
    Ok(status.success())
}

/// Whether a file system is mounted here; `false` where the kernel does not tell (Linux before 5.8).
fn is_mounted(data: &Path) -> bool {
    let about = statx(CWD, data, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    about.is_ok_and(|it| it.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The data folder, claimed by this process: a name in the kernel, which goes with the process and leaves
/// nothing on disk. It names the place and not the folder, which a clone replaces. Seen by whoever shares the
/// network namespace; another host, or a container with a network of its own, does not see it.
#[derive(Debug)]
pub struct DataLock {
    _name: UnixListener,
}

impl DataLock {
    /// Claims the data folder. Errors: another agent did, in one sentence.
    pub(super) fn take(data: &Path) -> Result<DataLock, InvalidConfig> {
        let failed = |error: std::io::Error| {
            InvalidConfig(match error.kind() {
                ErrorKind::AddrInUse => format!(
                    "another agent works on `data` {}; stop it, or choose another folder",
                    data.display()
                ),
                _ => format!(
                    "`data` {} cannot be claimed ({error}); check that this user may open sockets",
                    data.display()
                ),
            })
        };
        // Whatever links lead there.
        let above = data.ancestors().skip(1).find(|it| it.exists());
        let above = above.unwrap_or(data);
        let place = above.canonicalize().map_err(failed)?;
        let place = place.join(data.strip_prefix(above).unwrap_or(data));
        let place = place.as_os_str().as_bytes();
        // Such a name holds 107 bytes.
        let mut name = format!("primacy data {:08x} ", crc32c::crc32c(place)).into_bytes();
        name.extend_from_slice(&place[place.len().saturating_sub(80)..]);
        let address = SocketAddr::from_abstract_name(name).map_err(failed)?;
        let name = UnixListener::bind_addr(&address).map_err(failed)?;
        Ok(DataLock { _name: name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_works_on_a_data_folder_under_whatever_name() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("real")).unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path().join("real"), &link).unwrap();
        let (data, other) = (root.path().join("real/data"), root.path().join("real/b"));
        let lock = DataLock::take(&data).unwrap();
        let _beside = DataLock::take(&other).unwrap();
        // Also once it was made.
        std::fs::create_dir(&data).unwrap();
        let refused = DataLock::take(&link.join("data")).unwrap_err().to_string();
        assert!(refused.contains("another agent"), "{refused}");
        drop(lock);
        DataLock::take(&data).unwrap();
    }

    #[test]
    fn a_mount_is_told_from_a_folder() {
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(Path::new("/proc/self")));
        assert!(!is_mounted(Path::new("/nowhere")));
    }
}
