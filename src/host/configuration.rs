//! The configuration files in a data folder: what is an instance's own, whatever becomes of its data.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::durable;
use super::error::{Result, on};

/// Of settings, of rules who may connect, and of certificates with their keys.
const KINDS: [&str; 5] = ["conf", "crt", "key", "pem", "crl"];
/// The customary folder of an `include_dir`.
const MORE: &str = "conf.d";

/// The content of each, by its path below the data folder. Links are not among them.
#[derive(Debug, Default)]
pub struct Configuration(BTreeMap<PathBuf, Vec<u8>>);

impl Configuration {
    /// Those at the top of the data folder and in its `conf.d`. Errors: [`super::Error::File`].
    pub fn read(data: &Path) -> Result<Configuration> {
        let mut files = BTreeMap::new();
        for below in ["", MORE] {
            let folder = data.join(below);
            for name in names(&folder)? {
                if let Some(content) = durable::read_bytes(&folder.join(&name))? {
                    files.insert(Path::new(below).join(name), content);
                }
            }
        }
        Ok(Configuration(files))
    }

    /// Puts them into a data folder, in place of all that are there. Without a `postgresql.conf` among them nothing would start:
    /// then what is there stays. Errors: [`super::Error::File`].
    pub fn write(&self, data: &Path) -> Result<()> {
        if !self.0.contains_key(Path::new("postgresql.conf")) {
            return Ok(());
        }
        for path in Configuration::read(data)?.0.keys() {
            if !self.0.contains_key(path) {
                durable::remove(&data.join(path))?;
            }
        }
        let more = data.join(MORE);
        if self.0.keys().any(|it| it.starts_with(MORE)) && !more.exists() {
            let owner = fs::metadata(data).map_err(on("look at", data))?;
            let made = durable::Folder::make(&more).map(drop);
            made.and_then(|()| durable::give_folder(&more, owner.uid(), owner.gid()))
                .map_err(on("create folder", &more))?;
        }
        for (path, content) in &self.0 {
            let path = data.join(path);
            if durable::read_bytes(&path)?.as_ref() != Some(content) {
                durable::write(&path, content)?;
            }
        }
        Ok(())
    }
}

/// The names of plain files of these kinds; none if there is no such folder.
fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(on("list", folder)(error)),
    };
    let mut names = vec![];
    for entry in entries {
        let entry = entry.map_err(on("list", folder))?;
        let name = PathBuf::from(entry.file_name());
        let kind = name.extension().and_then(|it| it.to_str());
        let is_plain = entry.file_type().map_err(on("list", folder))?.is_file();
        if is_plain && kind.is_some_and(|kind| KINDS.contains(&kind)) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_keys_are_put_back_as_they_were_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir_all(data.join(MORE)).unwrap();
        let own = [
            ("postgresql.conf", b"own\xe9".as_slice()),
            ("postgresql.auto.conf", b"own"),
            ("server.key", b"own"),
            ("conf.d/memory.conf", b"own"),
        ];
        for (name, content) in own {
            fs::write(data.join(name), content).unwrap();
        }
        fs::write(data.join("PG_VERSION"), "15").unwrap();
        std::os::unix::fs::symlink("/dev/null", data.join("root.crt")).unwrap();
        let kept = Configuration::read(&data).unwrap();
        // As by a rewind.
        fs::remove_dir_all(data.join(MORE)).unwrap();
        fs::remove_file(data.join("server.key")).unwrap();
        for name in [
            "postgresql.conf",
            "postgresql.auto.conf",
            "more.conf",
            "PG_VERSION",
        ] {
            fs::write(data.join(name), "the source's").unwrap();
        }
        kept.write(&data).unwrap();
        for (name, content) in own {
            assert_eq!(fs::read(data.join(name)).unwrap(), content, "{name}");
        }
        assert!(!data.join("more.conf").exists());
        Configuration::default().write(&data).unwrap();
        assert!(data.join("postgresql.conf").exists());
        let version = fs::read_to_string(data.join("PG_VERSION")).unwrap();
        assert_eq!(version, "the source's");
        assert!(data.join("root.crt").is_symlink());
        assert!(
            Configuration::read(&root.path().join("none"))
                .unwrap()
                .0
                .is_empty()
        );
    }
}
