//! Real servers as a stage.

use std::sync::Mutex;
use std::time::Duration;

use primacy::host::processes;
use primacy::model::Address;
use primacy::provider::Postgres;
use primacy::provider::postgres::Password;
use primacy::provider::simulated::Written;
use primacy::security::DatabaseTls;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::sleep;

use crate::servers::{Host, SECRET, Server, login};
use crate::stage::{LONG, Stage};

/// A primary and two standbys.
pub struct Trio {
    servers: [Server; 3],
    addresses: [Address; 3],
    provider: Postgres,
    waiting: Mutex<Vec<Child>>,
    // Last, so that the servers end after all else.
    _host: Host,
}

impl Trio {
    pub async fn start() -> Trio {
        let host = Host::new();
        let primary = host.primary("p1", "").await;
        let s1 = host.standby("s1", &primary, false).await;
        let s2 = host.standby("s2", &primary, true).await;
        let servers = [primary, s1, s2];
        let password = Password::Text(SECRET.to_owned());
        Trio {
            addresses: servers.each_ref().map(|it| it.address.clone()),
            servers,
            provider: Postgres::new(login(password, DatabaseTls::disabled())),
            waiting: Mutex::default(),
            _host: host,
        }
    }

    pub fn server(&self, at: &Address) -> &Server {
        let found = self.servers.iter().find(|it| it.address == *at);
        found.unwrap()
    }
}

impl Stage for Trio {
    type Provider = Postgres;

    fn provider(&self) -> &Postgres {
        &self.provider
    }

    fn addresses(&self) -> &[Address; 3] {
        &self.addresses
    }

    async fn write(&self, at: &Address) -> Written {
        let server = self.server(at);
        let mut session = server.session("INSERT INTO t DEFAULT VALUES");
        // A commit takes some milliseconds, and one that waits, waits for ever: the server says that it does, and long after
        // that it has not ended.
        let before = {
            let mut waiting = self.waiting.lock().unwrap();
            waiting.retain_mut(|it| it.try_wait().unwrap().is_none());
            waiting.len()
        };
        let waits = async {
            let long = Duration::from_secs(3);
            sleep(long).await;
            let one_more = format!(
                "SELECT count(*) > {before} FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            );
            server.until(&one_more).await;
            sleep(long).await;
        };
        let ended = tokio::select! {
            ended = session.wait() => Some(ended.unwrap()),
            () = waits => None,
        };
        match ended {
            Some(status) if status.success() => Written::Acknowledged,
            Some(_) => {
                let output = session.wait_with_output().await.unwrap();
                let error = String::from_utf8(output.stderr).unwrap();
                match error.contains("25006") {
                    true => Written::Refused,
                    false => Written::Silence,
                }
            }
            None => {
                self.waiting.lock().unwrap().push(session);
                Written::Waits
            }
        }
    }

    async fn rows(&self, at: &Address) -> u64 {
        self.server(at)
            .sql("SELECT count(*) FROM t")
            .parse()
            .unwrap()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn freeze(&self, at: &Address, is_frozen: bool) {
        let signal = match is_frozen {
            true => Signal::STOP,
            false => Signal::CONT,
        };
        for process in processes::of(&self.server(at).data).unwrap() {
            if let Some(process) = Pid::from_raw(process.pid) {
                let _ = kill_process(process, signal);
            }
        }
    }

    async fn kill(&self, at: &Address) {
        processes::kill_all(&self.server(at).data, LONG).unwrap();
    }

    async fn sql(&self, at: &Address, statement: &str) -> Option<String> {
        Some(self.server(at).sql(statement))
    }
}
