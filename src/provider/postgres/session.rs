//! One session, with a task that drives it and counts its warnings.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, Row, SimpleQueryMessage, SimpleQueryRow,
    Statement,
};
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::catalogue::Version;
use super::failure::failure;
use super::local::Endpoint;
use crate::model::CopyMark;
use crate::provider::{Phase, Result};

/// A session. Dropping it ends it.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// As the server said it when the session began.
    version: String,
    warnings: Arc<AtomicU64>,
    /// Cancelled once the server or the network has ended it.
    ended: CancellationToken,
    /// The `statement_timeout` that was set last, in milliseconds; 0 if that is not known.
    limit: AtomicU64,
    /// What is looked at, prepared.
    look: OnceLock<Statement>,
    looks: AtomicU64,
    /// Which copy of its data the server holds, once that was asked.
    pub(super) copy: OnceLock<CopyMark>,
    _driver: JoinSet<()>,
}

impl Session {
    /// Connects to the server beside an agent. `statements` bounds each statement on the server's side too.
    pub async fn beside(endpoint: &Endpoint, statements: Option<Duration>) -> Result<Session> {
        let millis = statements.map_or(0, |it| it.as_millis());
        let (client, connection) = Config::new()
            .host_path(&endpoint.socket_folder)
            .port(endpoint.port)
            .user(&endpoint.user)
            .dbname("postgres")
            .application_name("primacy-agent")
            .options(format!(
                "-c statement_timeout={millis} -c client_min_messages=warning"
            ))
            .connect(NoTls)
            .await
            .map_err(|error| failure(error, Phase::Startup))?;
        Ok(Session::begin(client, connection))
    }

    /// Drives a session that stands.
    pub fn begin<S, T>(client: Client, mut connection: Connection<S, T>) -> Session
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let version = connection.parameter("server_version");
        let version = version.unwrap_or_default().to_owned();
        let warnings = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&warnings);
        let ended = CancellationToken::new();
        let over = ended.clone();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // An error ends the session, which its user notices by itself.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message
                    && notice.severity() == "WARNING"
                {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
            over.cancel();
        });
        Session {
            client,
            version,
            warnings,
            ended,
            limit: AtomicU64::new(0),
            look: OnceLock::new(),
            looks: AtomicU64::new(0),
            copy: OnceLock::new(),
            _driver: driver,
        }
    }

    /// Whether the server or the network ended it.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The server's version. Errors: it is none that we know.
    pub fn version(&self) -> Result<Version> {
        Version::parse(&self.version)
    }

    /// How many warnings the server sent in this session.
    pub fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::SeqCst)
    }

    /// Runs statements in one round trip; the rows of all of them, as text.
    pub async fn rows(&self, statements: &str) -> Result<Vec<SimpleQueryRow>> {
        let answer = self.client.simple_query(statements).await;
        rows(answer.map_err(|error| failure(error, Phase::Query))?)
    }

    /// The same within what is left of a call, on the server's side too, and in the same round trip.
    pub async fn ask(&self, call: &Call, statements: &str) -> Result<Vec<SimpleQueryRow>> {
        call.reached(Phase::Query);
        let left = call.remaining().as_millis().max(1) as u64;
        // Sent in this order: the first that is polled is the first in the channel.
        let answered = self.client.simple_query(statements);
        let (limited, answered) = join(self.limited(left), answered).await;
        let failed = |error| call.judge(failure(error, Phase::Query));
        limited.map_err(failed)?;
        rows(answered.map_err(failed)?)
    }

    /// Asks what is asked time after time and changes nothing: one statement for each session, whose columns are all texts.
    /// The server understands and plans it once, and is sent no more than that it is wanted again. It has as long as the
    /// whole call, so that its limit need not be set each time.
    pub async fn look(
        &self,
        call: &Call,
        statement: impl FnOnce() -> String,
    ) -> Result<Option<Row>> {
        call.reached(Phase::Query);
        let failed = |error| call.judge(failure(error, Phase::Query));
        let prepared = match self.look.get() {
            Some(prepared) => prepared,
            None => {
                let prepared = self.client.prepare(&statement()).await.map_err(failed)?;
                self.look.get_or_init(|| prepared)
            }
        };
        let within = call.within().as_millis().max(1) as u64;
        let asked = self.client.query_opt(prepared, &[]);
        let row = match self.limit.load(Ordering::SeqCst) == within {
            true => asked.await,
            false => {
                let (limited, row) = join(self.limited(within), asked).await;
                limited.map_err(failed)?;
                row
            }
        };
        let row = row.map_err(failed)?;
        self.looks.fetch_add(1, Ordering::SeqCst);
        Ok(row)
    }

    /// Has every statement from now on end after so many milliseconds.
    async fn limited(&self, millis: u64) -> std::result::Result<(), tokio_postgres::Error> {
        self.limit.store(0, Ordering::SeqCst);
        let limit = format!("SET statement_timeout = {millis}");
        self.client.simple_query(&limit).await?;
        self.limit.store(millis, Ordering::SeqCst);
        Ok(())
    }

    /// How many looks it has served; one that failed is none.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    /// Cancelled once the server or the network has ended it; none before a second look has shown that it lasts.
    pub fn end_of_lasting(&self) -> Option<CancellationToken> {
        (self.looks.load(Ordering::SeqCst) > 1).then(|| self.ended.clone())
    }
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Result<Vec<SimpleQueryRow>> {
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.collect())
}
