//! Statements with a deadline, and what their failures say about their effect.

use tokio::time::{sleep, timeout};
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use crate::history::Answerer;
use crate::session::{Session, Target};

use super::WorkloadError;
use super::client::{BETWEEN_ROUNDS, FOUND_WITHIN, Names};

/// Who answers and on which timeline, as two columns. Fails on a standby.
pub const ANSWERER: &str = "coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'local'), \
     substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// Why an operation is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What it means.
    pub kind: TroubleKind,
    /// In words.
    pub why: String,
}

/// What a failure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// No effect: another transaction was in the way. The session is as good as before.
    Conflict,
    /// No effect: the server says no.
    Refused,
    /// No effect, and the session is of no use any more.
    Lost,
    /// It may have an effect, now or later.
    Unknown,
}

impl Trouble {
    /// A failure of this kind.
    pub fn new(kind: TroubleKind, why: impl Into<String>) -> Trouble {
        Trouble {
            kind,
            why: why.into(),
        }
    }

    /// The same before anything was committed: it never will be, because the session is given up.
    pub fn before_commit(self) -> Trouble {
        match self.kind {
            TroubleKind::Unknown => Trouble::new(TroubleKind::Lost, self.why),
            TroubleKind::Conflict | TroubleKind::Refused | TroubleKind::Lost => self,
        }
    }
}

/// What the server's answer, or its silence, says about a statement that was sent.
fn trouble(error: &Error) -> Trouble {
    let Some(said) = error.as_db_error() else {
        return Trouble::new(TroubleKind::Unknown, error.to_string());
    };
    let why = format!("{} {}", said.code().code(), said.message());
    // A session that is ended may have committed before. An error alone rolls back.
    let is_plain = said.parsed_severity() == Some(Severity::Error)
        && *said.code() != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN;
    let kind = match is_plain {
        false => TroubleKind::Unknown,
        true if said.code().code().starts_with("40") => TroubleKind::Conflict,
        true => TroubleKind::Refused,
    };
    Trouble::new(kind, why)
}

async fn within<T>(
    session: &Session,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match timeout(session.statement_within, work).await {
        Ok(result) => result.map_err(|error| trouble(&error)),
        Err(_) => Err(Trouble::new(TroubleKind::Unknown, "no answer in time")),
    }
}

/// Runs one statement in one exchange, without preparing it.
///
/// # Errors
/// See [`TroubleKind`]; a success with a warning is [`TroubleKind::Unknown`].
pub async fn rows(
    session: &Session,
    statement: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, Trouble> {
    let before = session.warnings();
    let rows = within(session, session.client.query_typed(statement, parameters)).await?;
    unwarned(session, before).map(|()| rows)
}

/// 64-bit numbers as the parameters of a statement.
pub fn numbers<const N: usize>(values: [&i64; N]) -> [(&(dyn ToSql + Sync), Type); N] {
    values.map(|value| (value as &(dyn ToSql + Sync), Type::INT8))
}

/// Inserts a number into the column `value` of a table; answers who did it.
///
/// # Errors
/// See [`rows`].
pub async fn insert(
    session: &Session,
    table: &str,
    value: i64,
    names: &Names,
) -> Result<Option<Answerer>, Trouble> {
    let insert = format!("INSERT INTO {table} (value) VALUES ($1) RETURNING {ANSWERER}");
    let rows = rows(session, &insert, &numbers([&value])).await?;
    first_answerer(&rows, names)
}

/// Asks who answers.
///
/// # Errors
/// See [`rows`].
pub async fn ask_answerer(session: &Session, names: &Names) -> Result<Option<Answerer>, Trouble> {
    let rows = rows(session, &format!("SELECT {ANSWERER}"), &[]).await?;
    first_answerer(&rows, names)
}

fn first_answerer(rows: &[Row], names: &Names) -> Result<Option<Answerer>, Trouble> {
    let answerer = rows.first().map(|row| answerer(row, 0, names));
    answerer.transpose()
}

/// Runs statements that answer nothing, such as BEGIN and COMMIT.
///
/// # Errors
/// See [`rows`].
pub async fn run(session: &Session, statements: &str) -> Result<(), Trouble> {
    let before = session.warnings();
    within(session, session.client.batch_execute(statements)).await?;
    unwarned(session, before)
}

/// Ends all other sessions of this user on a node, those too whose client is long gone.
///
/// # Errors
/// The node lets nobody in, or the sessions do not end in time.
pub async fn end_sessions(target: &Target) -> Result<(), WorkloadError> {
    let end = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE usename = current_user AND pid <> pg_backend_pid()";
    let mut last = String::new();
    let ended = timeout(FOUND_WITHIN, async {
        loop {
            match Session::open(target).await {
                Err(error) => last = format!("{error:#}"),
                Ok(session) => match rows(&session, end, &[]).await {
                    Ok(others) if others.is_empty() => return,
                    Ok(others) => last = format!("{} are left", others.len()),
                    Err(trouble) => last = trouble.why,
                },
            }
            sleep(BETWEEN_ROUNDS).await;
        }
    });
    ended.await.map_err(|_| WorkloadError::Late {
        what: "end the sessions of before",
        last,
    })
}

fn unwarned(session: &Session, before: u64) -> Result<(), Trouble> {
    if session.warnings() == before {
        return Ok(());
    }
    Err(Trouble::new(TroubleKind::Unknown, "success with a warning"))
}

/// A serializable transaction around `work`. Whatever goes wrong before the commit has no effect.
///
/// # Errors
/// See [`rows`].
pub async fn transaction<T>(
    session: &Session,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let inner = async {
        run(session, "BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
        work.await
    };
    match inner.await.map_err(Trouble::before_commit) {
        Ok(found) => {
            run(session, "COMMIT").await?;
            Ok(found)
        }
        Err(trouble) if trouble.kind == TroubleKind::Lost => Err(trouble),
        Err(trouble) => match run(session, "ROLLBACK").await {
            Ok(()) => Err(trouble),
            // Then only the end of the session rolls back for sure.
            Err(_) => Err(Trouble::new(TroubleKind::Lost, trouble.why)),
        },
    }
}

/// A column of a row.
///
/// # Errors
/// It is of another type; no effect is known then.
pub fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    position: usize,
) -> Result<T, Trouble> {
    row.try_get(position)
        .map_err(|error| Trouble::new(TroubleKind::Unknown, error.to_string()))
}

/// Reads the two columns of [`ANSWERER`] from `position` on.
///
/// # Errors
/// They are not there.
pub fn answerer(row: &Row, position: usize, names: &Names) -> Result<Answerer, Trouble> {
    let address: &str = column(row, position)?;
    let timeline: &str = column(row, position + 1)?;
    Ok(Answerer {
        node: names.of(address),
        timeline: u32::from_str_radix(timeline, 16).ok(),
    })
}
