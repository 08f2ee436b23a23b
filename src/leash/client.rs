//! The agent's side: one short connection per question, so that nothing stale is ever read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Hold, Reply, Request};
use super::{Error, on};
use crate::model::Timestamp;

/// How long the leash may take to answer. It answers in microseconds, or is busy killing.
const PATIENCE: Duration = Duration::from_millis(200);
/// Most bytes of its answer: a refusal is a sentence.
const LONGEST_ANSWER: u64 = 4 * 1024;

/// Talks to the leash behind a socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the leash at `socket`; connects anew for each question.
    pub fn new(socket: &Path) -> Client {
        Client {
            socket: socket.to_owned(),
        }
    }

    /// Asks the leash to hold `deadline` and returns the deadline that it holds: later than asked
    /// if it already held a later one. Only this answer makes a renewal count.
    /// Errors: [`Error::Silent`], [`Error::Refused`] (the deadline lies in the past),
    /// [`Error::Io`] (no leash there).
    pub async fn arm(&self, deadline: Timestamp) -> Result<Timestamp, Error> {
        self.armed(Request::Arm(deadline)).await
    }

    /// Asks the leash to hold exactly `deadline`, although it may hold a later one, and returns the deadline
    /// that it holds. For a lease of another order than the last. Errors: as [`Self::arm`].
    pub async fn exchange(&self, deadline: Timestamp) -> Result<Timestamp, Error> {
        self.armed(Request::Exchange(deadline)).await
    }

    async fn armed(&self, request: Request) -> Result<Timestamp, Error> {
        match self.ask(request).await? {
            Hold::Armed(held) => Ok(held),
            Hold::None | Hold::Expired(_) => Err(self.refused("it did not take the deadline")),
        }
    }

    /// What the leash holds; how a restarted agent takes the deadline over. Errors: as [`Self::arm`].
    pub async fn state(&self) -> Result<Hold, Error> {
        self.ask(Request::State).await
    }

    /// Drops the deadline. Refused while any process of the instance is alive: a primary never
    /// leaves the leash, it is stopped first. Errors: as [`Self::arm`].
    pub async fn disarm(&self) -> Result<(), Error> {
        self.ask(Request::Disarm).await.map(drop)
    }

    async fn ask(&self, request: Request) -> Result<Hold, Error> {
        let asked = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(format!("{request}\n").as_bytes()).await?;
            let mut line = String::new();
            let answer = stream.take(LONGEST_ANSWER);
            BufReader::new(answer).read_line(&mut line).await?;
            Ok(line)
        };
        let line = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(line) => line.map_err(on("talk to the leash at", &self.socket))?,
            Err(_) => {
                return Err(Error::Silent {
                    socket: self.socket.clone(),
                    after: PATIENCE,
                });
            }
        };
        match line.parse() {
            Ok(Reply::Hold(hold)) => Ok(hold),
            Ok(Reply::Refused(reason)) => Err(self.refused(&reason)),
            Err(()) => Err(self.refused(&format!("it says '{}'", line.trim()))),
        }
    }

    fn refused(&self, reason: &str) -> Error {
        Error::Refused {
            socket: self.socket.clone(),
            reason: reason.to_owned(),
        }
    }
}
