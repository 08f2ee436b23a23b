//! A peer whose file says how to reach databases and nothing of other peers, as one that was written for orchestrator
//! does: it is a group of its own, with defaults for all the rest.

use std::ffi::OsString;
use std::path::PathBuf;

/// The failure domain of a peer that has no other.
pub(super) const ZONE: &str = "z1";
/// Where it listens: what is said of a group to others of the host only.
pub(super) const LISTEN: &str = "127.0.0.1:7001";

/// Where the log of such a peer is kept: in the folder that systemd gives a service, in /var/lib for root, else in the
/// user's own state folder. None if the user has none.
pub(super) fn folder() -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    folder_of(is_root, |name| std::env::var_os(name))
}

fn folder_of(is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(variable(name)?);
        path.is_absolute().then_some(path)
    };
    let root = || is_root.then(|| PathBuf::from("/var/lib/primacy"));
    let of_user = || {
        let state = absolute("XDG_STATE_HOME");
        let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        Some(state.join("primacy"))
    };
    let folder = absolute("STATE_DIRECTORY").or_else(root).or_else(of_user)?;
    Some(folder.join("peer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_the_system_keeps_state() {
        let check = |is_root, given: &[(&str, &str)], expected: Option<&str>| {
            let variable = |name: &str| {
                let found = given.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let found = folder_of(is_root, variable);
            assert_eq!(found, expected.map(PathBuf::from), "{given:?}");
        };
        let home = ("HOME", "/home/ana");
        check(false, &[home], Some("/home/ana/.local/state/primacy/peer"));
        check(
            false,
            &[home, ("XDG_STATE_HOME", "/state")],
            Some("/state/primacy/peer"),
        );
        check(
            false,
            &[home, ("XDG_STATE_HOME", "state")],
            Some("/home/ana/.local/state/primacy/peer"),
        );
        check(true, &[home], Some("/var/lib/primacy/peer"));
        let given = ("STATE_DIRECTORY", "/var/lib/private/primacy");
        check(true, &[home, given], Some("/var/lib/private/primacy/peer"));
        check(false, &[], None);
    }
}
