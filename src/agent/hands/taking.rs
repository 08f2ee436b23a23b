//! Making a database that was offered this agent's. A server that runs goes on: what cannot be changed by a reload waits
//! for its next start.

use tokio::task::block_in_place;

use super::{Done, Hands};
use crate::duty::How;
use crate::gate::Admission;
use crate::host::{Error, control_file, data_folder, processes};
use crate::model::Incarnation;

impl Hands {
    /// Settings, who may connect, and last the note of which filling it is: until then nothing of it is ours. Blocks.
    pub fn take_in(&self, by: &Admission, how: &How) -> Done {
        let data = self.data_path();
        let (source, names, incarnation) = match how {
            How::Primary {
                synchronous_standby_names,
            } => (None, Some(&**synchronous_standby_names), Incarnation::FIRST),
            How::Stopped => (None, None, Incarnation::FIRST),
            How::Standby { source } => (Some(source), None, Incarnation::NEVER_FILLED),
        };
        self.write_access(data)?;
        self.write_settings(data, source, names)?;
        match how {
            How::Primary { .. } => {}
            How::Stopped => {
                data_folder::create_standby_signal(data)?;
                data_folder::remove_promote_trigger(data)?;
            }
            How::Standby { .. } => data_folder::create_standby_signal(data)?,
        }
        data_folder::write_filling(data, &self.filling(by, incarnation))?;
        self.note_identity(control_file::read(data)?.system)?;
        self.reload();
        tracing::info!(instance = %self.instance(), epoch = %by.order().epoch, "its database is taken over");
        Ok(())
    }

    /// Makes the role for replication in a database that does not run. It may recover from a crash by that.
    pub async fn make_roles_at_rest(&self, _by: &Admission) -> Done {
        let data = self.data_path();
        block_in_place(|| processes::check_none_alive(data))?;
        let statements = self.role_statements()?;
        self.alone(data, &statements).await
    }

    /// Statements, one in a line, that make the role for replication what it must be, whether it is there or not.
    pub fn role_statements(&self) -> Done<String> {
        let replication = &self.config.replication;
        let password = replication.password().map_err(|error| Error::Malformed {
            path: replication.password_file.clone(),
            reason: error.to_string(),
        })?;
        let name = format!("\"{}\"", replication.user);
        // A tag that neither of the two holds.
        let tag = (0..)
            .map(|number| format!("$primacy{number}$"))
            .find(|tag| !password.contains(&**tag))
            .expect("a password is finite");
        let password = format!("'{}'", password.replace('\'', "''"));
        let rights = format!("{name} LOGIN REPLICATION PASSWORD {password}");
        let is_there = format!(
            "EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{}')",
            replication.user
        );
        Ok(format!(
            "DO {tag}BEGIN IF {is_there} THEN ALTER ROLE {rights}; ELSE CREATE ROLE {rights}; END IF; END{tag};\n{}",
            super::filling::grants(&name)
        ))
    }
}
