//! One session with one node, over TCP as an application would use it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::expectations::Patience;

/// A node to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The node's name.
    pub node: Arc<str>,
    /// How to reach it and nobody else.
    pub config: Config,
    /// How long to wait for it.
    pub patience: Patience,
}

/// An open session. Its connection ends with it.
#[derive(Debug)]
pub struct Session {
    /// Runs statements.
    pub client: Client,
    /// How long a statement may take.
    pub statement_within: Duration,
    warnings: Arc<AtomicU64>,
    _driver: JoinSet<()>,
}

/// What became of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is durable.
    Acknowledged,
    /// It succeeded with a warning, such as that nobody confirmed it: no promise.
    Doubtful,
}

impl Session {
    /// Connects to whatever is there.
    ///
    /// # Errors
    /// Refused, or no session in time.
    pub async fn open(target: &Target) -> anyhow::Result<Session> {
        Session::connect(target.config.clone(), target.patience).await
    }

    /// Connects only if the node accepts writes, as libpq does with `target_session_attrs=read-write`.
    ///
    /// # Errors
    /// Refused, read-only, or no session in time.
    pub async fn open_writable(target: &Target) -> anyhow::Result<Session> {
        let mut config = target.config.clone();
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        Session::connect(config, target.patience).await
    }

    /// How many warnings the server has sent: a success with one is no promise.
    pub fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::SeqCst)
    }

    async fn connect(config: Config, patience: Patience) -> anyhow::Result<Session> {
        let warnings = Arc::new(AtomicU64::new(0));
        let mut driver = JoinSet::new();
        let counted = Arc::clone(&warnings);
        let connect = async {
            let (client, mut connection) = config.connect(NoTls).await?;
            driver.spawn(async move {
                while let Some(Ok(message)) =
                    poll_fn(|context| connection.poll_message(context)).await
                {
                    if let AsyncMessage::Notice(notice) = message
                        && notice.severity() == "WARNING"
                    {
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
            anyhow::Ok(client)
        };
        let client = tokio::time::timeout(patience.connect, connect)
            .await
            .context("no session in time")??;
        Ok(Session {
            client,
            statement_within: patience.statement,
            warnings,
            _driver: driver,
        })
    }

    /// Runs a prepared insert of one id.
    ///
    /// # Errors
    /// The server's, or that the connection ended: the row may exist all the same.
    pub async fn insert(
        &self,
        statement: &tokio_postgres::Statement,
        id: i64,
    ) -> Result<Inserted, tokio_postgres::Error> {
        let before = self.warnings();
        self.client.execute(statement, &[&id]).await?;
        let is_clean = self.warnings() == before;
        Ok(if is_clean {
            Inserted::Acknowledged
        } else {
            Inserted::Doubtful
        })
    }
}

/// A session with whichever node accepts writes, tried in order.
///
/// # Errors
/// The last refusal.
pub async fn primary(targets: &[Target]) -> anyhow::Result<(Arc<str>, Session)> {
    let mut last = anyhow::anyhow!("no nodes");
    for target in targets {
        match Session::open_writable(target).await {
            Ok(session) => return Ok((Arc::clone(&target.node), session)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
