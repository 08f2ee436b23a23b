//! One connection to the local server, with a task that drives it and counts its warnings.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::Endpoint;
use crate::provider::{ProviderError, Result};

/// A connection. Dropping it ends it.
#[derive(Debug)]
pub struct Session {
    client: Client,
    warnings: Arc<AtomicU64>,
    _driver: JoinSet<()>,
}

impl Session {
    /// Connects. `statements` bounds each statement on the server's side too.
    pub async fn open(endpoint: &Endpoint, statements: Option<Duration>) -> Result<Session> {
        let millis = statements.map_or(0, |it| it.as_millis());
        let (client, mut connection) = Config::new()
            .host_path(&endpoint.socket_folder)
            .port(endpoint.port)
            .user(&endpoint.user)
            .dbname("postgres")
            .application_name("primacy-agent")
            .options(format!("-c statement_timeout={millis} -c client_min_messages=warning"))
            .connect(NoTls)
            .await
            .map_err(error)?;
        let warnings = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&warnings);
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // An error ends the session, which its user notices by itself.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message
                    && notice.severity() == "WARNING"
                {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Ok(Session {
            client,
            warnings,
            _driver: driver,
        })
    }

    /// Whether the server or the network ended it.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// How many warnings the server sent in this session.
    pub fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::SeqCst)
    }

    /// Runs statements in one round trip; the rows of all of them, as text.
    pub async fn rows(&self, statements: &str) -> Result<Vec<SimpleQueryRow>> {
        let messages = self.client.simple_query(statements).await.map_err(error)?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.collect())
    }
}

fn error(error: tokio_postgres::Error) -> ProviderError {
    if let Some(said) = error.as_db_error() {
        let text = said.message().to_owned();
        let not_now = [
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
        ];
        return if not_now.contains(said.code()) {
            ProviderError::NotNow(text)
        } else {
            ProviderError::Refused(text)
        };
    }
    let io = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind);
    match io {
        Some(ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
            ProviderError::NobodyListens(error.into())
        }
        _ => ProviderError::Lost(error.into()),
    }
}
