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

    /// All that is asked of the catalogue over SQL alone, and the version that brought it; what came before 9 as 8. None of it
    /// has gone since, up to 17 (release notes, appendix E).
    const NAMES: &[(&str, u32)] = &[
        ("pg_backend_pid", 8),
        ("pg_catalog", 8),
        ("pg_control_system", 9),
        ("pg_create_physical_replication_slot", 9),
        ("pg_current_wal_flush_lsn", 10),
        ("pg_current_wal_insert_lsn", 10),
        ("pg_current_wal_lsn", 10),
        ("pg_database", 8),
        ("pg_db_role_setting", 9),
        ("pg_get_userbyid", 8),
        ("pg_get_wal_replay_pause_state", 14),
        ("pg_has_role", 8),
        ("pg_hba_file_rules", 10),
        ("pg_is_in_recovery", 9),
        ("pg_is_wal_replay_paused", 10),
        ("pg_last_wal_receive_lsn", 10),
        ("pg_last_wal_replay_lsn", 10),
        ("pg_last_xact_replay_timestamp", 9),
        ("pg_logical_emit_message", 9),
        ("pg_ls_waldir", 10),
        ("pg_lsn", 9),
        ("pg_monitor", 10),
        ("pg_postmaster_start_time", 8),
        ("pg_promote", 12),
        ("pg_read_all_settings", 10),
        ("pg_reload_conf", 8),
        ("pg_replication_slots", 9),
        ("pg_roles", 8),
        ("pg_settings", 8),
        ("pg_signal_backend", 9),
        ("pg_size_bytes", 9),
        ("pg_stat_activity", 8),
        ("pg_stat_file", 8),
        ("pg_stat_replication", 9),
        ("pg_stat_wal_receiver", 9),
        ("pg_tablespace", 8),
        ("pg_tablespace_location", 9),
        ("pg_terminate_backend", 8),
        ("pg_wal_replay_pause", 10),
        ("pg_wal_replay_resume", 10),
        ("pg_walfile_name", 10),
    ];
    /// Names that are none of the catalogue: a program, and a file.
    const OTHERS: [&str; 2] = ["pg_basebackup", "pg_hba"];

    #[test]
    fn nothing_is_asked_of_12_that_it_does_not_know() {
        let sources = [
            include_str!("barrier.rs"),
            include_str!("copies.rs"),
            include_str!("grants.rs"),
            include_str!("preflight.rs"),
            include_str!("preflight/hba.rs"),
            include_str!("preflight/room.rs"),
            include_str!("replicas.rs"),
            include_str!("revocation.rs"),
            include_str!("roles.rs"),
            include_str!("session.rs"),
            include_str!("settings.rs"),
            include_str!("snapshot.rs"),
            include_str!("sources.rs"),
            include_str!("survey.rs"),
            include_str!("synchronous.rs"),
            include_str!("weak.rs"),
            include_str!("write_probe.rs"),
        ];
        for source in sources {
            // Tests ask one version alone.
            let source = source.split("#[cfg(test)]").next().unwrap();
            let words = source.split(|c: char| !c.is_ascii_lowercase() && c != '_');
            for word in words.filter(|it| it.starts_with("pg_") && !OTHERS.contains(it)) {
                let known = NAMES.iter().find(|(name, _)| *name == word);
                let (_, since) = known.unwrap_or_else(|| panic!("{word} is not recorded"));
                assert!(*since <= OLDEST.0, "{word} came with {since}");
            }
        }
        let gated = NAMES.iter().filter(|(_, since)| *since > OLDEST.0);
        for (name, since) in gated {
            let asks = |version| Version(version).pause_state().contains(name);
            assert!(asks(*since) && !asks(since - 1), "{name}");
        }
    }
}
