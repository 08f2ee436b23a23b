//! Which other installations of Primacy look after a server: their peers keep sessions there, and a session says whose it is.
//! Two that do not know of each other would each promote for themselves.

use std::time::Duration;

use super::call::Call;
use super::login::INSTALLATION;
use super::preflight::Lack;
use super::remote::Postgres;
use super::session::Session;
use super::settings::literal;
use crate::model::Address;
use crate::provider::Result;

impl Postgres {
    /// The groups of other peers that look after an instance.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn other_installations(&self, of: &Address, within: Duration) -> Result<Vec<String>> {
        let call = Call::begin("look for other installations", within);
        let work = async {
            let (session, _) = self.seen(&call, of).await?;
            let others = others(&call, &session, self.application_name()).await?;
            self.keep(of, session);
            Ok(others)
        };
        call.run(work).await
    }
}

/// The groups of peers that have a session there, those of `own` left out.
pub(super) async fn others(call: &Call, session: &Session, own: &str) -> Result<Vec<String>> {
    // Everybody sees how sessions are called.
    let statement = format!(
        "SELECT DISTINCT application_name FROM pg_stat_activity \
          WHERE starts_with(application_name, {}) AND application_name <> {} ORDER BY 1",
        literal(INSTALLATION),
        literal(own)
    );
    let rows = session.ask(call, &statement).await?;
    let group = |name: &str| name.strip_prefix(INSTALLATION).map(str::to_owned);
    Ok(rows.iter().filter_map(|row| group(row.get(0)?)).collect())
}

/// What is to be said where an installation looks after a server: to its own peers that another one does, and to a person,
/// of whose own peers nothing is known here, which one it is.
pub(super) fn lack(group: &str, own: &str) -> Lack {
    if !own.starts_with(INSTALLATION) {
        return Lack {
            what: format!("an installation of Primacy, of the group {group}, looks after it"),
            mend: "if it is not yours (primacy peers shows its group): two that do not know of each other \
                   would each promote for themselves; have one of them forget it: primacy cluster forget NAME"
                .to_owned(),
            is_needed: false,
        };
    }
    Lack {
        what: format!(
            "another installation of Primacy, of the group {group}, looks after it as well"
        ),
        mend: "have one of the two forget it: primacy cluster forget NAME".to_owned(),
        is_needed: true,
    }
}
