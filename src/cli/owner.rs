//! Who may work in a folder of Primacy: what root left there, or wrote through a link that the user made there, would
//! not be that user's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Exit, Failure};

/// Refuses root where the folder belongs to somebody else or is reached through a link of somebody else's, and a folder
/// that there is not.
pub(super) fn must_own(folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    let look = fs::symlink_metadata(folder).and_then(|link| Ok([link, fs::metadata(folder)?]));
    let found = look.map_err(|error| Failure {
        exit: Exit::NotFound,
        text: format!("{shown}: {error}"),
        hint: Some("give a folder that is there: that of the configuration, or `tls` in it; it belongs to the user that runs the peer or agent".to_owned()),
    })?;
    if rustix::process::geteuid().is_root()
        && let Some(found) = found.iter().find(|it| it.uid() != 0)
    {
        return Err(Failure {
            exit: Exit::Refused,
            text: format!(
                "{shown} belongs to the user {}, and this is root",
                found.uid()
            ),
            hint: Some(format!(
                "do it as that user: setpriv --reuid {} --regid {} --init-groups primacy …",
                found.uid(),
                found.gid()
            )),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;

    #[test]
    fn root_works_in_its_own_folders_and_follows_no_link_of_others() {
        const USER: u32 = 65_534;
        let root = tempfile::tempdir().unwrap();
        let [own, link, other] = ["own", "link", "other"].map(|name| root.path().join(name));
        fs::create_dir(&own).unwrap();
        fs::create_dir(&other).unwrap();
        symlink(&own, &link).unwrap();
        assert!(must_own(&own).is_ok() && must_own(&link).is_ok());
        let absent = must_own(&root.path().join("absent")).unwrap_err();
        assert_eq!(absent.exit, Exit::NotFound);
        if rustix::process::geteuid().is_root() {
            chown(&other, Some(USER), Some(USER)).unwrap();
            lchown(&link, Some(USER), Some(USER)).unwrap();
            for folder in [&other, &link] {
                assert_eq!(must_own(folder).unwrap_err().exit, Exit::Refused);
            }
        }
    }
}
