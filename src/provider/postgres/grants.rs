//! The rights that a role needs for all that [`super::Postgres`] does, and no more. PostgreSQL 15 or later; before, only
//! a superuser changes settings.

use std::fmt::Write as _;

/// A right.
pub(super) struct Right {
    /// How it is given to `{role}`.
    statement: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// Whether whoever asks has it.
    pub check: &'static str,
    /// Whether something fails without it; else less is known beforehand.
    pub is_needed: bool,
}

/// All of them, in the order in which they are printed.
pub(super) const RIGHTS: &[Right] = &[
    Right {
        statement: "GRANT pg_monitor TO {role}",
        why: "read statistics, settings and the names of WAL files",
        check: "pg_has_role('pg_monitor', 'USAGE')",
        is_needed: true,
    },
    Right {
        statement: "GRANT pg_signal_backend TO {role}",
        why: "end sessions of clients when fencing",
        check: "pg_has_role('pg_signal_backend', 'USAGE')",
        is_needed: true,
    },
    Right {
        statement: "ALTER ROLE {role} REPLICATION",
        why: "make a standby's slot at its new source",
        check: "(SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user)",
        is_needed: true,
    },
    Right {
        statement: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO {role}",
        why: "promote",
        check: "has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE')",
        is_needed: true,
    },
    Right {
        statement: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_wal_replay_pause() TO {role}",
        why: "stop replication",
        check: "has_function_privilege('pg_wal_replay_pause()', 'EXECUTE')",
        is_needed: true,
    },
    Right {
        statement: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_wal_replay_resume() TO {role}",
        why: "start replication",
        check: "has_function_privilege('pg_wal_replay_resume()', 'EXECUTE')",
        is_needed: true,
    },
    Right {
        statement: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO {role}",
        why: "put changed settings in force",
        check: "has_function_privilege('pg_reload_conf()', 'EXECUTE')",
        is_needed: true,
    },
    Right {
        statement: "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo TO {role}",
        why: "reparent, detach, reattach",
        check: "has_parameter_privilege('primary_conninfo', 'ALTER SYSTEM')",
        is_needed: true,
    },
    Right {
        statement: "GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only TO {role}",
        why: "set read-only, fence, promote",
        check: "has_parameter_privilege('default_transaction_read_only', 'ALTER SYSTEM')",
        is_needed: true,
    },
    Right {
        statement: "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO {role}",
        why: "set what commits wait for",
        check: "has_parameter_privilege('synchronous_standby_names', 'ALTER SYSTEM')",
        is_needed: true,
    },
    Right {
        statement: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO {role}",
        why: "tell a copy of the data that was restored or made anew from the one before it",
        check: "has_function_privilege('pg_stat_file(text, boolean)', 'EXECUTE')",
        is_needed: false,
    },
    Right {
        statement: "GRANT SELECT ON pg_catalog.pg_hba_file_rules TO {role}",
        why: "see whether pg_hba.conf lets standbys stream",
        check: "has_table_privilege('pg_hba_file_rules', 'SELECT')",
        is_needed: false,
    },
    Right {
        statement: "GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() TO {role}",
        why: "see whether pg_hba.conf lets standbys stream",
        check: "has_function_privilege('pg_hba_file_rules()', 'EXECUTE')",
        is_needed: false,
    },
];

impl Right {
    /// The statement that gives it to a role.
    pub fn given_to(&self, role: &str) -> String {
        self.statement.replace("{role}", &identifier(role))
    }
}

/// The statements for a role that exists, to be run as superuser on the primary: standbys receive them.
pub fn statements(role: &str) -> Vec<String> {
    RIGHTS.iter().map(|right| right.given_to(role)).collect()
}

/// The same as a script for people, each with its reason.
pub fn script(role: &str) -> String {
    let mut text = String::new();
    for right in RIGHTS {
        let statement = right.given_to(role);
        writeln!(text, "{statement}; -- {}", right.why).expect("a text takes everything");
    }
    text
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_reasons_given() {
        let all = statements("we\"ird");
        assert_eq!(all[0], "GRANT pg_monitor TO \"we\"\"ird\"");
        assert_eq!(script("x").lines().count(), all.len());
        assert!(script("x").lines().all(|line| line.contains("; -- ")));
    }
}
