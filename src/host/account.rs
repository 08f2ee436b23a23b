//! Under which user PostgreSQL's programs run.

use std::process::Command;

use super::error::{Error, Result};

/// A system user. PostgreSQL refuses to run as root, so an agent that is root needs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

impl Account {
    /// The user of this process.
    pub fn own() -> Account {
        Account {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    /// Looks a user up (through `id`, so that directory services count too). Blocks.
    /// Errors: [`Error::NoAccount`].
    pub fn named(name: &str) -> Result<Account> {
        let number = |flag: &str| -> Option<u32> {
            let output = Command::new("id").arg(flag).arg("--").arg(name).output();
            String::from_utf8(output.ok()?.stdout)
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        match (number("-u"), number("-g")) {
            (Some(uid), Some(gid)) => Ok(Account { uid, gid }),
            _ => Err(Error::NoAccount {
                name: name.to_owned(),
            }),
        }
    }

    /// Whether PostgreSQL accepts to run as this user.
    pub fn is_root(self) -> bool {
        self.uid == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up() {
        assert!(Account::named("root").unwrap().is_root());
        assert!(matches!(
            Account::named("no-such-user"),
            Err(Error::NoAccount { .. })
        ));
    }
}
