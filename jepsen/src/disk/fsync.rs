//! Disks that refuse to sync: a library that is preloaded into every process of a host and fails `fsync`
//! for the programs whose file is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

const SOURCE: &str = include_str!("fsync.c");

/// The compiled library.
#[derive(Debug, Clone)]
pub struct Shim {
    library: PathBuf,
}

/// Of one host: what its processes get, and how they are made to fail.
#[derive(Debug, Clone)]
pub struct Switch {
    /// For `LD_PRELOAD`.
    pub library: PathBuf,
    /// For `JEPSEN_FSYNC_FAILS`.
    pub prefix: PathBuf,
}

impl Shim {
    /// Compiles the library into `folder`.
    ///
    /// # Errors
    /// There is no `cc`, or the folder cannot be written.
    pub fn compile(folder: &Path) -> anyhow::Result<Shim> {
        let library = folder.join("fsync.so");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O2", "-x", "c", "-", "-ldl", "-o"])
            .arg(&library);
        command::run(&mut compiler, SOURCE)?;
        Ok(Shim { library })
    }

    /// For the host of that name; its files live in `folder`.
    pub fn switch(&self, folder: &Path, host: &str) -> Switch {
        Switch {
            library: self.library.clone(),
            prefix: folder.join(format!("fsync-{host}")),
        }
    }
}

impl Switch {
    /// From now on every sync of `program` fails.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn fail(&self, program: &str) -> io::Result<()> {
        fs::write(self.file(program), "")
    }

    /// Every sync of `program` works again.
    ///
    /// # Errors
    /// The file is there and cannot be removed.
    pub fn work(&self, program: &str) -> io::Result<()> {
        match fs::remove_file(self.file(program)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn file(&self, program: &str) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(format!(".{program}"));
        path.into()
    }
}
