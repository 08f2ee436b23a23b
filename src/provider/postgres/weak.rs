//! Whose commits do not wait for standbys, as one column: what `ALTER ROLE` and `ALTER DATABASE` have set, which no session
//! of ours would show by itself.

use super::snapshot::Snapshot;
use super::synchronous;
use crate::model::SyncState;

/// A text, one line for each; null if there is nobody. Who is set to wait is not among them.
pub(super) const COLUMN: &str = r"(
           SELECT string_agg(whose || ': ' || setting, E'\n' ORDER BY whose) FROM (
               SELECT concat_ws(' in ', CASE WHEN setrole <> 0 THEN 'role ' || quote_ident(pg_get_userbyid(setrole)) END,
                                        'database ' || quote_ident(datname),
                                        CASE WHEN setrole = 0 AND setdatabase = 0 THEN 'every role' END) AS whose,
                      replace(setting, '=', ' = ') AS setting
                 FROM pg_db_role_setting LEFT JOIN pg_database ON pg_database.oid = setdatabase,
                      unnest(setconfig) AS setting
                WHERE setting ~* '^synchronous_commit=(?!(on|true|yes|1|remote_apply)$)' LIMIT 20) AS weak)";

/// What the column says.
pub(super) fn understand(column: Option<&str>) -> Vec<String> {
    let lines = column.unwrap_or_default().lines();
    lines.map(str::to_owned).collect()
}

/// Whether sessions with this `synchronous_commit` wait until standbys have flushed.
pub(super) fn waits(synchronous_commit: &str) -> bool {
    matches!(synchronous_commit, "on" | "remote_apply")
}

/// What is said of sessions without a setting of their own where they do not wait.
pub(super) fn of_everybody(synchronous_commit: &str) -> String {
    format!("sessions without a setting of their own: synchronous_commit = {synchronous_commit}")
}

/// What commits wait for, and whose do not.
pub(super) fn sync_state(seen: &Snapshot) -> SyncState {
    let text = &seen.synchronous_standby_names;
    let commits_wait = waits(&seen.synchronous_commit);
    let mut weak = seen.weak.clone();
    if !seen.in_recovery && !text.is_empty() && !commits_wait {
        weak.push(of_everybody(&seen.synchronous_commit));
    }
    SyncState {
        policy: synchronous::parse(text),
        text: text.clone(),
        commits_wait,
        weak,
        waiting: seen.waiting,
    }
}
