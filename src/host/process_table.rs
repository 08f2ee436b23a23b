//! What `/proc` says of single processes. Only "no such process" means that one is gone; any other refusal
//! is an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Result, on};

/// Every number in use. Errors: [`Error::File`](super::Error::File).
pub(super) fn all() -> Result<Vec<i32>> {
    let proc = Path::new("/proc");
    let mut pids = Vec::new();
    for entry in fs::read_dir(proc).map_err(on("list", proc))? {
        let name = entry.map_err(on("list", proc))?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// The two answers that mean that a process has ended.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let srch = rustix::io::Errno::SRCH.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(srch)
}

/// What a file of a process holds; none if the process is gone.
fn read_of(pid: i32, file: &str) -> Result<Option<String>> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(on("look at process", &path)(error)),
    }
}

/// A field of `/proc/<pid>/stat`, counted from the state; none if the process is gone.
fn field_of(pid: i32, number: usize) -> Result<Option<String>> {
    let stat = read_of(pid, "stat")?;
    Ok(stat.and_then(|stat| field_in(&stat, number)))
}

/// The state follows the name, which is in parentheses and may hold anything.
pub(crate) fn field_in(stat: &str, number: usize) -> Option<String> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(number).map(str::to_owned)
}

/// Whether it is gone, or dead and nobody has waited for it yet.
pub(super) fn is_zombie(pid: i32) -> Result<bool> {
    let state = field_of(pid, 0)?;
    Ok(state.is_none_or(|state| matches!(state.as_str(), "Z" | "X")))
}

/// Whether it can be nobody but root: real, effective, saved and file system user. No if it is gone.
pub(super) fn is_of_root(pid: i32) -> Result<bool> {
    let status = read_of(pid, "status")?;
    Ok(status.is_some_and(|status| names_root_alone(&status)))
}

fn names_root_alone(status: &str) -> bool {
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uids: Vec<&str> = uids.unwrap_or_default().split_whitespace().collect();
    uids.len() == 4 && uids.iter().all(|uid| *uid == "0")
}

/// Whose child it is; none if it is gone.
pub(super) fn parent_of(pid: i32) -> Result<Option<i32>> {
    Ok(field_of(pid, 1)?.and_then(|parent| parent.parse().ok()))
}

/// Its command line; none if it is gone.
pub(super) fn title_of(pid: i32) -> Result<Option<String>> {
    let line = read_of(pid, "cmdline")?;
    Ok(line.map(|line| line.replace('\0', " ").trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn who_may_still_become_another_is_not_root_alone() {
        for (status, is_root) in [
            ("Name:\tbash\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n", true),
            ("Uid:\t0\t0\t0\t26\n", false),
            ("Uid:\t26\t0\t0\t0\n", false),
            ("Uid:\t26\t26\t26\t26\n", false),
            ("Uid:\t0\n", false),
            ("", false),
        ] {
            assert_eq!(names_root_alone(status), is_root, "{status}");
        }
    }

    #[test]
    fn only_gone_is_gone() {
        for (errno, gone) in [
            (Errno::NOENT, true),
            (Errno::SRCH, true),
            (Errno::ACCESS, false),
            (Errno::MFILE, false),
            (Errno::IO, false),
        ] {
            assert_eq!(is_gone(&errno.into()), gone, "{errno}");
        }
    }
}
