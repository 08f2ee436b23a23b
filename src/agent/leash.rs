//! The agent's side of the leash: there when it is needed, and armed before a lease counts.

use std::path::PathBuf;
use std::time::Duration;

use super::chain;
use super::observe::blocking;
use crate::duty::Lease;
use crate::host::{Account, durable};
use crate::leash::{self, Args, Client, Hold};
use crate::model::{Order, Timestamp};

/// How long a new leash may take until it answers.
const BORN_WITHIN: Duration = Duration::from_secs(2);

/// How the end of a lease gets to the leash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Beside that of another lease of the same order and process: the later one stays.
    Extend,
    /// In place of what an earlier process left behind under the same order.
    Replace,
    /// In place of that of a lease of another order, after this order was noted.
    Anew,
}

/// Keeps the leash of one instance.
#[derive(Debug, Clone)]
pub struct LeashKeeper {
    program: PathBuf,
    args: Args,
    account: Account,
    client: Client,
    /// Under which order the deadline that the leash holds was granted.
    note: PathBuf,
}

impl LeashKeeper {
    /// A leash in this state folder. Starts nothing.
    pub fn new(program: PathBuf, folder: PathBuf, data: PathBuf, account: Account) -> LeashKeeper {
        let socket = folder.join("leash.sock");
        LeashKeeper {
            program,
            client: Client::new(&socket),
            args: Args {
                socket,
                data,
                deadline: None,
            },
            account,
            note: folder.join("lease.json"),
        }
    }

    /// The lease whose end a leash holds from before the agent was restarted.
    pub async fn held(&self) -> Option<Lease> {
        let Ok(Hold::Armed(until)) = self.client.state().await else {
            return None;
        };
        let path = self.note.clone();
        let note = blocking(move || durable::read(&path)).await;
        let note = note.ok().flatten()?;
        let order: Order = serde_json::from_str(&note).ok()?;
        Some(Lease { order, until })
    }

    /// Has the leash hold the end of this lease, and returns when it echoed it. Errors: in words.
    pub async fn arm(&self, lease: Lease, way: Way) -> Result<(), String> {
        if way == Way::Anew {
            let note = self.note.clone();
            let text = serde_json::to_vec(&lease.order).expect("plain fields become JSON");
            blocking(move || durable::write(&note, &text))
                .await
                .map_err(|error| chain(&error))?;
        }
        match self.hold(lease, way).await {
            Ok(_) => return Ok(()),
            Err(leash::Error::Io { .. }) => {}
            Err(error) => return Err(chain(&error)),
        }
        // Its first deadline comes with its birth, so that there is no moment without one.
        let args = Args {
            deadline: Some(lease.until),
            ..self.args.clone()
        };
        leash::spawn(&self.program, &args, Some(self.account)).map_err(|error| chain(&error))?;
        let ready = async {
            loop {
                match self.hold(lease, way).await {
                    Err(leash::Error::Io { .. }) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    other => return other.map(drop).map_err(|error| chain(&error)),
                }
            }
        };
        tokio::time::timeout(BORN_WITHIN, ready)
            .await
            .unwrap_or_else(|_| Err("the leash did not start".to_owned()))
    }

    async fn hold(&self, lease: Lease, way: Way) -> Result<Timestamp, leash::Error> {
        match way {
            Way::Extend => self.client.arm(lease.until).await,
            Way::Replace | Way::Anew => self.client.exchange(lease.until).await,
        }
    }

    /// Drops the deadline; all is well if there is no leash. Refused while anything runs. Errors: in words.
    pub async fn disarm(&self) -> Result<(), String> {
        match self.client.disarm().await {
            Ok(()) | Err(leash::Error::Io { .. }) => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }
}
