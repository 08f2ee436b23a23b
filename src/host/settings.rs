//! The settings that we manage, and nothing else of the user's configuration.
//!
//! They live in `primacy.conf`, included at the very end of `postgresql.conf`. PostgreSQL reads
//! `postgresql.auto.conf` after that, so our names must not stand there: clones and pg_rewind bring
//! the source's along. Changes of ours are written whole; PostgreSQL sees them after a reload. All
//! functions block on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use super::durable;
use super::error::{Error, Result};

/// The file with our settings, in the data folder.
pub const FILE: &str = "primacy.conf";
const INCLUDE: &str = "include_if_exists = 'primacy.conf'";

/// Names and values of settings, unquoted.
pub type Settings = BTreeMap<String, String>;

/// Where the server of an instance listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `listen_addresses`, such as `*`.
    pub addresses: String,
    /// The TCP port and the number of the Unix socket.
    pub port: u16,
    /// The folder of the Unix socket.
    pub socket_folder: String,
}

/// What every managed instance needs; `extra` is added and wins.
pub fn base(listen: &Listen, max_connections: u32, extra: &Settings) -> Settings {
    let port = listen.port.to_string();
    let max_connections = max_connections.to_string();
    let fixed = [
        ("listen_addresses", listen.addresses.as_str()),
        ("port", &port),
        ("unix_socket_directories", &listen.socket_folder),
        ("max_connections", &max_connections),
        ("hot_standby", "on"),
        ("wal_level", "replica"),
        ("max_wal_senders", "20"),
        ("max_replication_slots", "20"),
        ("wal_log_hints", "on"),
        ("wal_keep_size", "256MB"),
        // What a standby that is away may cost the primary's disk; later it is cloned anew.
        ("max_slot_wal_keep_size", "1GB"),
        ("wal_receiver_timeout", "1s"),
        ("wal_receiver_status_interval", "1s"),
        ("wal_sender_timeout", "5s"),
        ("wal_retrieve_retry_interval", "100ms"),
        ("recovery_target_timeline", "latest"),
        // From a restore by hand: a standby would stop there.
        ("recovery_target", ""),
        ("recovery_target_lsn", ""),
        ("recovery_target_name", ""),
        ("recovery_target_time", ""),
        ("recovery_target_xid", ""),
        ("restart_after_crash", "off"),
        ("recovery_init_sync_method", init_sync_method()),
        ("synchronous_commit", "on"),
        ("default_transaction_read_only", "off"),
    ];
    let mut settings: Settings = fixed
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    settings.extend(extra.clone());
    settings
}

/// How a server that crashed, or was fenced by being stopped, brings its files to the disk before it recovers: one call for the
/// whole file system where the kernel reports what went wrong in it (Linux 5.8, PostgreSQL's manual), else file by file,
/// which takes seconds for some thousand files.
fn init_sync_method() -> &'static str {
    let system = rustix::system::uname();
    match is_told_of_errors(&system.release().to_string_lossy()) {
        true => "syncfs",
        false => "fsync",
    }
}

/// Whether the kernel of this release reports errors of a file system that is brought to the disk as a whole.
fn is_told_of_errors(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|it| it.parse::<u32>().ok());
    (number(), number()) >= (Some(5), Some(8))
}

/// Writes `primacy.conf`, makes `postgresql.conf` include it last, and takes the names out of
/// `postgresql.auto.conf`. Idempotent. `also_ours` are names that we manage but do not set now,
/// such as `primary_conninfo` on a primary.
///
/// Errors: [`Error::Malformed`] if `postgresql.conf` is not in the data folder, or only as a link, or a name is not one
/// of PostgreSQL's, [`Error::File`].
pub fn write(data: &Path, settings: &Settings, also_ours: &[&str]) -> Result<()> {
    let path = data.join(FILE);
    let mut text = String::from("# Written by primacy; changes made here are lost.\n");
    for (name, value) in settings {
        if !is_name(name) {
            return Err(Error::Malformed {
                path,
                reason: format!("'{name}' is not the name of a setting; correct the configuration"),
            });
        }
        text.push_str(&format!("{name} = {}\n", quoted(value)));
    }
    durable::write(&path, text.as_bytes())?;
    include_last(data)?;
    let ours = settings
        .keys()
        .map(String::as_str)
        .chain(also_ours.iter().copied());
    neutralise_auto_conf(data, ours)
}

/// Writes `pg_hba.conf` from whole lines, which apply from the next reload. Errors: [`Error::File`].
pub fn write_hba(data: &Path, rules: &[String]) -> Result<()> {
    let mut text = String::from("# Written by primacy; changes made here are lost.\n");
    for rule in rules {
        text.push_str(rule);
        text.push('\n');
    }
    durable::write(&data.join("pg_hba.conf"), text.as_bytes())
}

/// What stands around rules of ours in a `pg_hba.conf` whose other rules are the user's.
const HBA_BEGIN: &str =
    "# Written by primacy, down to the next line of this kind; changes made here are lost.";
const HBA_END: &str = "# End of what primacy wrote; what follows is kept.";

/// Whether `pg_hba.conf` has rules of the user's that are kept. Errors: [`Error::File`].
pub fn keeps_hba(data: &Path) -> Result<bool> {
    let text = durable::read(&data.join("pg_hba.conf"))?.unwrap_or_default();
    Ok(text.lines().next() == Some(HBA_BEGIN))
}

/// Writes whole lines before all others of `pg_hba.conf`, in place of those that were written so before. They apply from
/// the next reload. Errors: [`Error::File`].
pub fn write_hba_before(data: &Path, rules: &[String]) -> Result<()> {
    let path = data.join("pg_hba.conf");
    let text = durable::read(&path)?.unwrap_or_default();
    let kept = match text.split_once(&format!("{HBA_END}\n")) {
        Some((_, kept)) if text.starts_with(HBA_BEGIN) => kept,
        _ => &text,
    };
    let rules: String = rules.iter().map(|rule| format!("{rule}\n")).collect();
    let changed = format!("{HBA_BEGIN}\n{rules}{HBA_END}\n{kept}");
    match changed == text {
        true => Ok(()),
        false => durable::write(&path, changed.as_bytes()),
    }
}

fn include_last(data: &Path) -> Result<()> {
    let path = data.join("postgresql.conf");
    let Some(text) = durable::read(&path)? else {
        return Err(Error::Malformed {
            path,
            reason: "it is missing; keep the configuration in the data folder".to_owned(),
        });
    };
    match with_include_last(&text) {
        Some(changed) => durable::write(&path, changed.as_bytes()),
        None => Ok(()),
    }
}

/// `None` if nothing has to change.
pub(crate) fn with_include_last(text: &str) -> Option<String> {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    if text.lines().rfind(is_code) == Some(INCLUDE) {
        return None;
    }
    let mut changed = String::with_capacity(text.len() + 64);
    for line in text.lines().filter(|line| *line != INCLUDE) {
        changed.push_str(line);
        changed.push('\n');
    }
    changed.push_str(INCLUDE);
    changed.push('\n');
    Some(changed)
}

fn neutralise_auto_conf<'a>(data: &Path, ours: impl Iterator<Item = &'a str>) -> Result<()> {
    let path = data.join("postgresql.auto.conf");
    let Some(text) = durable::read(&path)? else {
        return Ok(());
    };
    let ours: Vec<String> = ours.map(str::to_ascii_lowercase).collect();
    let kept = without(&text, &ours);
    if kept == text {
        return Ok(());
    }
    durable::write(&path, kept.as_bytes())
}

pub(crate) fn without(text: &str, ours: &[String]) -> String {
    let sets_ours = |line: &str| {
        let is_end = |c: char| c == '=' || c.is_whitespace();
        let name = line.trim_start().split(is_end).next().unwrap_or("");
        ours.contains(&name.to_ascii_lowercase())
    };
    text.split_inclusive('\n')
        .filter(|line| !sets_ours(line))
        .collect()
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(plain)
}

/// A value as PostgreSQL's configuration files want it.
pub fn quoted(value: &str) -> String {
    let escaped = value
        .replace('\\', "\\\\")
        .replace('\'', "''")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    format!("'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_synced_whole_where_errors_are_told() {
        for (release, told) in [
            ("6.1.0-18-amd64", true),
            ("5.10.0", true),
            ("5.8.0", true),
            ("5.7.19", false),
            ("4.18.0-553.el8", false),
            ("strange", false),
        ] {
            assert_eq!(is_told_of_errors(release), told, "{release}");
        }
    }

    #[test]
    fn values_are_quoted_as_postgresql_reads_them() {
        for (value, expected) in [
            ("", "''"),
            ("plain", "'plain'"),
            ("it's", "'it''s'"),
            (r"a\b", r"'a\\b'"),
            ("two\nlines\r", r"'two\nlines\r'"),
            (r"\'", r"'\\'''"),
        ] {
            assert_eq!(quoted(value), expected);
        }
    }

    #[test]
    fn ours_win_and_the_users_stay() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        std::fs::write(data.join("postgresql.conf"), "port = 1\n").unwrap();
        let auto = "# x\nPrimary_Conninfo = 'host=a'\nwork_mem = '8MB'\nport=3\n";
        std::fs::write(data.join("postgresql.auto.conf"), auto).unwrap();
        let settings = Settings::from([("port".to_owned(), "it's 7".to_owned())]);
        for _ in 0..2 {
            write(data, &settings, &["primary_conninfo"]).unwrap();
            let text = |name| std::fs::read_to_string(data.join(name)).unwrap();
            assert_eq!(text("postgresql.conf"), format!("port = 1\n{INCLUDE}\n"));
            assert_eq!(text("postgresql.auto.conf"), "# x\nwork_mem = '8MB'\n");
            assert!(text(FILE).ends_with("\nport = 'it''s 7'\n"));
        }
        let bad = Settings::from([("port = 1\nfsync".to_owned(), "off".to_owned())]);
        assert!(matches!(
            write(data, &bad, &[]),
            Err(Error::Malformed { .. })
        ));
    }

    /// Whoever may write in the data folder has root write there.
    #[test]
    fn planted_links_lead_nowhere() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let (data, secret) = (root.path().join("data"), root.path().join("secret"));
        std::fs::create_dir(&data).unwrap();
        let theirs = "root:x\nport=5\n";
        std::fs::write(&secret, theirs).unwrap();
        let ours = Settings::from([("port".to_owned(), "7".to_owned())]);
        let all = || write(&data, &ours, &[]).and_then(|()| write_hba(&data, &[]));
        let (conf, auto) = ("postgresql.conf", "postgresql.auto.conf");
        for is_hard in [false, true] {
            std::fs::write(data.join(conf), "port = 1\n").unwrap();
            std::fs::write(data.join(auto), "port = 1\n").unwrap();
            let _ = std::fs::remove_file(data.join(FILE));
            for name in [conf, auto, FILE, "pg_hba.conf"] {
                let link = data.join(format!("{name}.primacy-tmp"));
                match is_hard {
                    true => std::fs::hard_link(&secret, link).unwrap(),
                    false => symlink(&secret, link).unwrap(),
                }
            }
            symlink(&secret, data.join(FILE)).unwrap();
            all().unwrap();
            for name in [conf, auto, FILE, "pg_hba.conf"] {
                let path = data.join(name);
                assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
                assert!(!std::fs::read_to_string(&path).unwrap().contains("root"));
            }
            assert_eq!(std::fs::read_to_string(&secret).unwrap(), theirs);
        }
        for name in [conf, auto] {
            std::fs::remove_file(data.join(name)).unwrap();
            symlink(&secret, data.join(name)).unwrap();
            let refused = all().unwrap_err().to_string();
            let told = format!("{name}: it is a symbolic link");
            assert!(refused.contains(&told), "{refused}");
            assert!(refused.contains("put the file itself in its place"));
            assert_eq!(std::fs::read_to_string(&secret).unwrap(), theirs);
            std::fs::remove_file(data.join(name)).unwrap();
            std::fs::write(data.join(name), "").unwrap();
        }
    }

    #[test]
    fn the_users_rules_are_kept_below_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pg_hba.conf");
        let theirs = "# mine\nlocal all all peer\n";
        std::fs::write(&path, theirs).unwrap();
        assert!(!keeps_hba(folder.path()).unwrap());
        for rule in ["host a", "host b"] {
            write_hba_before(folder.path(), &[rule.to_owned()]).unwrap();
            assert!(keeps_hba(folder.path()).unwrap());
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{HBA_BEGIN}\n{rule}\n{HBA_END}\n{theirs}"));
        }
        write_hba(folder.path(), &[]).unwrap();
        assert!(!keeps_hba(folder.path()).unwrap());
    }

    #[test]
    fn the_include_moves_to_the_end() {
        let moved = with_include_last(&format!("{INCLUDE}\nport = 2\n# end\n")).unwrap();
        assert_eq!(moved, format!("port = 2\n# end\n{INCLUDE}\n"));
        assert_eq!(with_include_last(&moved), None);
    }
}
