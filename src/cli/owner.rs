//! Who may work in the folder of a peer: what root left there, or wrote through a link that the user made there, would
//! not be that user's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Exit, Failure};

/// Refuses root where the folder belongs to somebody else, and a folder that there is not.
pub(super) fn must_own(folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    let found = fs::metadata(folder).map_err(|error| Failure {
        exit: Exit::NotFound,
        text: format!("{shown}: {error}"),
        hint: Some("give the `folder` of the peer's configuration; it belongs to the user that runs the peer".to_owned()),
    })?;
    if rustix::process::geteuid().is_root() && found.uid() != 0 {
        return Err(Failure {
            exit: Exit::Refused,
            text: format!(
                "{shown} belongs to the user {}, and this is root",
                found.uid()
            ),
            hint: Some(format!(
                "do it as that user: setpriv --reuid {} --regid {} --init-groups primacy peers snapshot …",
                found.uid(),
                found.gid()
            )),
        });
    }
    Ok(())
}
