//! Which peers there are: those of the configuration, and those that the group named last.
//!
//! A group changes while its agents run, and an agent whose configured peers were all replaced would be alone after its
//! next start. So what the peers say is kept in the agent's folder. It is a hint about whom to ask and no more: a session
//! counts only with the group that is obeyed. Addresses that are no longer named are asked until the agent ends; nobody
//! answers there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use super::session::Sessions;
use crate::host::durable;

const FILE: &str = "peers";

/// What the group said last of its members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The place of that membership in the log: a peer that has fallen behind says nothing new.
    pub index: u64,
    /// `host:port` each.
    pub addresses: Vec<String>,
}

impl Named {
    /// What is kept in `folder`; nothing if there is nothing, or nothing legible: it is a hint.
    pub fn read(folder: &Path) -> Named {
        let text = durable::read(&folder.join(FILE)).ok().flatten();
        text.and_then(|text| Named::parse(&text))
            .unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Named> {
        let mut lines = text.lines();
        let index = lines.next()?.parse().ok()?;
        let addresses = lines.map(str::to_owned).collect();
        Some(Named { index, addresses })
    }

    fn text(&self) -> String {
        let addresses = self.addresses.iter().map(|address| format!("{address}\n"));
        format!("{}\n{}", self.index, addresses.collect::<String>())
    }

    /// Takes the place of what is older.
    pub fn tell(self, named: &watch::Sender<Named>) {
        named.send_if_modified(|known| {
            let is_newer = self.index > known.index;
            if is_newer {
                *known = self;
            }
            is_newer
        });
    }
}

/// Keeps a session to every peer until dropped. Returns if one ended by itself, or nobody can name peers any more.
pub(super) async fn keep(
    sessions: Sessions,
    configured: Vec<String>,
    mut named: watch::Receiver<Named>,
    folder: PathBuf,
) {
    let mut tasks = JoinSet::new();
    let mut asked = BTreeSet::new();
    let mut kept = named.borrow().clone();
    loop {
        let now = named.borrow_and_update().clone();
        for address in configured.iter().chain(&now.addresses) {
            if asked.insert(address.clone()) {
                let (sessions, number) = (sessions.clone(), asked.len() - 1);
                tasks.spawn(sessions.keep(number, address.clone()));
            }
        }
        if now != kept {
            tracing::info!(peers = ?now.addresses, "the group names its peers");
            kept = now.clone();
            let path = folder.join(FILE);
            // A disk that hangs delays the next names and nothing else.
            let written = spawn_blocking(move || durable::write(&path, now.text().as_bytes()));
            if let Ok(Err(error)) = written.await {
                tracing::warn!(error = %super::chain(&error), "the peers are not kept for the next start");
            }
        }
        tokio::select! {
            changed = named.changed() => if changed.is_err() {
                return;
            },
            Some(ended) = tasks.join_next() => match ended {
                Ok(()) => return,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_and_only_newer_ones_count() {
        let named = |index, address: &str| Named {
            index,
            addresses: vec![address.to_owned(), "b:2".to_owned()],
        };
        let first = named(5, "a:1");
        assert_eq!(Named::parse(&first.text()), Some(first.clone()));
        assert_eq!(Named::parse("torn"), None);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Named::read(folder.path()), Named::default());
        durable::write(&folder.path().join(FILE), first.text().as_bytes()).unwrap();
        assert_eq!(Named::read(folder.path()), first);

        let (sender, watch) = watch::channel(first.clone());
        named(4, "c:3").tell(&sender);
        assert_eq!(*watch.borrow(), first);
        named(6, "c:3").tell(&sender);
        assert_eq!(*watch.borrow(), named(6, "c:3"));
    }
}
