//! All that differs between PostgreSQL 12 and 17, so far as we ask for it. Read in the release notes and in the source of
//! each version (`system_views.sql`, `guc_tables.c` or `guc.c`); tested on 15.

use crate::provider::{Capabilities, ProviderError, Result};

/// A major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

/// What [`OLDEST`] has that nothing before it has: `pg_promote`, and settings in the place of `recovery.conf`.
const OLDEST: Version = Version(12);

impl Version {
    /// Reads `server_version`, such as `15.18 (Debian 15.18-0+deb12u1)` or `18beta1`. Errors: `Parse`; `Unsupported` if
    /// it is older than 12.
    pub fn parse(text: &str) -> Result<Version> {
        let end = text.find(|c: char| !c.is_ascii_digit());
        let major = text[..end.unwrap_or(text.len())].parse();
        let version = Version(major.map_err(|_| {
            let shown: String = text.chars().take(64).collect();
            ProviderError::Parse(format!("'{shown}' is no version"))
        })?);
        if version < OLDEST {
            return Err(ProviderError::Unsupported {
                operation: "PostgreSQL before 12",
                why: None,
            });
        }
        Ok(version)
    }

    /// What can be done over SQL alone.
    pub fn capabilities(self) -> Capabilities {
        Capabilities {
            reparent: self.reloads_source(),
            promote: true,
            demote: false,
            durable_fence: false,
            gtid: false,
            least_privilege: self.grants_settings(),
        }
    }

    /// 13 made `primary_conninfo` and `primary_slot_name` reloadable; in 12 they need a restart.
    pub fn reloads_source(self) -> bool {
        self >= Version(13)
    }

    /// 15 brought `GRANT ALTER SYSTEM ON PARAMETER`; before, only a superuser changes settings.
    pub fn grants_settings(self) -> bool {
        self >= Version(15)
    }

    /// 14 tells a pause that is asked for from one that is confirmed. Before, the one word counts as confirmed.
    pub fn pause_state(self) -> &'static str {
        match self >= Version(14) {
            true => "pg_get_wal_replay_pause_state()",
            false => "CASE WHEN pg_is_wal_replay_paused() THEN 'paused' ELSE 'not paused' END",
        }
    }

    /// What the startup process waits for when it has replayed every whole record: 13 gave it another name.
    pub fn waits_for_wal(self) -> &'static str {
        match self >= Version(13) {
            true => "RecoveryWalStream",
            false => "RecoveryWalAll",
        }
    }

    /// In which order the lines of `pg_hba.conf` count: 16 brought files that are included, and a number across them.
    pub fn hba_order(self) -> &'static str {
        match self >= Version(16) {
            true => "rule_number NULLS LAST, line_number",
            false => "line_number",
        }
    }

    /// 13 split the receiver's `received_lsn` into what is written and what is flushed; it always was what is flushed.
    pub fn flushed_column(self) -> &'static str {
        match self >= Version(13) {
            true => "flushed_lsn",
            false => "received_lsn",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("18beta1", Some(18)),
            ("12.0", Some(12)),
            ("9.6.24", None),
            ("11.22", None),
            ("", None),
            ("EnterpriseDB", None),
        ] {
            let found = Version::parse(text).ok();
            assert_eq!(found, expected.map(Version), "{text}");
        }
    }

    /// One line for each version: what of the above it is.
    #[test]
    fn the_recorded_facts() {
        let fact = |version: u32| {
            let version = Version(version);
            let pause = version.pause_state().split('(').next();
            format!(
                "{} {} {} {} {} {} {}",
                version.0,
                version.reloads_source(),
                version.grants_settings(),
                pause.unwrap_or_default(),
                version.flushed_column(),
                version.waits_for_wal(),
                version.hba_order().split(' ').next().unwrap_or_default()
            )
        };
        let before_14 = "CASE WHEN pg_is_wal_replay_paused";
        let since_14 = "pg_get_wal_replay_pause_state";
        let facts: Vec<_> = (12..=17).map(fact).collect();
        assert_eq!(
            facts,
            [
                format!("12 false false {before_14} received_lsn RecoveryWalAll line_number"),
                format!("13 true false {before_14} flushed_lsn RecoveryWalStream line_number"),
                format!("14 true false {since_14} flushed_lsn RecoveryWalStream line_number"),
                format!("15 true true {since_14} flushed_lsn RecoveryWalStream line_number"),
                format!("16 true true {since_14} flushed_lsn RecoveryWalStream rule_number"),
                format!("17 true true {since_14} flushed_lsn RecoveryWalStream rule_number"),
            ]
        );
    }
}
