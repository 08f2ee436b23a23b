//! What PostgreSQL alone must show: its refusals, its secrets, answers that are lost.

use std::path::PathBuf;
use std::time::Duration;

use primacy::host::processes;
use primacy::model::{Address, Position, Role};
use primacy::provider::postgres::{Login, Password};
use primacy::provider::{DatabaseProvider, Operation, Outcome, Postgres, ProviderError};
use primacy::security::DatabaseTls;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::servers::{Host, REPLICATION_SECRET, SECRET, login};
use crate::stage::{LONG, operation};

fn provider(password: Password) -> Postgres {
    Postgres::new(login(password, DatabaseTls::disabled()))
}

fn known() -> Postgres {
    provider(Password::Text(SECRET.to_owned()))
}

/// An answer of a live server is never evidence of its death, whatever it answers.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_answers() {
    let host = Host::new();
    let p1 = host.primary("p1", "").await;
    let at = &p1.address;
    let ask = async |provider: Postgres| {
        let error = provider.discover(at, LONG).await.unwrap_err();
        assert!(error.is_answer() && !error.evidence_of_death(), "{error}");
        assert!(!format!("{error:?}{error}").contains("secret"));
        error
    };
    let wrong = Password::Text("another secret".to_owned());
    assert!(matches!(
        ask(provider(wrong)).await,
        ProviderError::AuthFailed(_)
    ));
    assert!(matches!(
        ask(provider(Password::None)).await,
        ProviderError::AuthFailed(_)
    ));
    let of_nobody = Login {
        database: "nowhere".to_owned(),
        ..login(Password::Text(SECRET.to_owned()), DatabaseTls::disabled())
    };
    let found = ask(Postgres::new(of_nobody)).await;
    assert!(matches!(&found, ProviderError::Server { sqlstate, .. } if sqlstate == "3D000"));
    p1.sql("ALTER ROLE watcher CONNECTION LIMIT 0");
    let full = ask(known()).await;
    assert!(matches!(full, ProviderError::TooManyConnections(_)) && full.retryable());
    p1.sql("ALTER ROLE watcher CONNECTION LIMIT -1");
    // Each right that is missing is named.
    p1.sql("REVOKE ALTER SYSTEM ON PARAMETER default_transaction_read_only FROM watcher");
    let denied = known()
        .set_read_only(&operation(), at, true)
        .await
        .unwrap_err();
    let ProviderError::PermissionDenied { needs } = &denied else {
        panic!("{denied:?}");
    };
    assert_eq!(
        needs,
        "ALTER SYSTEM ON PARAMETER default_transaction_read_only"
    );
    assert!(!denied.outcome_unknown());
}

/// libpq's password file, read for each session.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_is_read_for_each_session() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new();
    let p1 = host.primary("p1", "").await;
    let port = p1.address.port;
    let path: PathBuf = host.file("pass", format!("127.0.0.1:{port}:*:watcher:wrong\n"));
    let from_file = provider(Password::File(path.clone()));
    let refused = from_file.is_read_only(&p1.address, LONG).await;
    assert!(
        matches!(refused, Err(ProviderError::AuthFailed(_))),
        "{refused:?}"
    );
    // Of another server: the fault is not with the one that is asked.
    host.file("pass", "other:*:*:*:x\n");
    let lacking = from_file.is_read_only(&p1.address, LONG).await.unwrap_err();
    let expected = format!(
        "no line of the password file {} matches {}, database postgres, as watcher; add one",
        path.display(),
        p1.address
    );
    assert_eq!(lacking.to_string(), expected);
    assert!(lacking.is_answer(), "the server asked for it");
    let escaped = SECRET.replace('\\', r"\\").replace(':', r"\:");
    host.file(
        "pass",
        format!("other:*:*:*:x\n*:{port}:postgres:watcher:{escaped}\n"),
    );
    assert!(!from_file.is_read_only(&p1.address, LONG).await.unwrap());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = provider(Password::File(path));
    let refused = open.is_read_only(&p1.address, LONG).await.unwrap_err();
    assert!(refused.to_string().contains("0600"), "{refused}");
}

/// A server that dies ends the session that is kept with it, and that is noticed at once: nobody asks meanwhile. One that was
/// used once says nothing: who ends every session would be asked without a pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_hangs_up() {
    let host = Host::new();
    let p1 = host.primary("p1", "").await;
    let (provider, at) = (known(), &p1.address);
    let hung_up = async |within: Duration| timeout(within, provider.hung_up(at)).await.is_ok();
    let short = Duration::from_millis(100);
    assert!(!hung_up(short).await, "there is no session");
    provider.discover(at, LONG).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'primacy'";
    assert_eq!(p1.sql(end), "1");
    assert!(!hung_up(short).await, "it was used once");
    for _ in 0..2 {
        provider.discover(at, LONG).await.unwrap();
    }
    assert!(!hung_up(short).await, "it lasts");
    let postmaster = processes::postmaster(&p1.data).unwrap().unwrap();
    processes::signal(&p1.data, postmaster.pid, Signal::KILL);
    assert!(hung_up(LONG).await);
    let gone = provider.discover(at, LONG).await.unwrap_err();
    assert!(gone.evidence_of_death(), "{gone}");
}

/// A password that stands in `primary_conninfo` stays where it was, and comes into no log.
#[tokio::test(flavor = "multi_thread")]
async fn a7_no_password_comes_anywhere_new() {
    let host = Host::new();
    let p1 = host.primary("p1", "").await;
    let s1 = host.standby("s1", &p1, false).await;
    let s2 = host.standby("s2", &p1, true).await;
    let (provider, of, to) = (known(), &s1.address, &s2.address);
    let auto = || std::fs::read_to_string(s1.data.join("postgresql.auto.conf")).unwrap();
    provider.reparent(&operation(), of, to).await.unwrap();
    assert!(!auto().contains("secret") && auto().contains("passfile"));
    // A user who put it there himself, and it came into the log by that: PostgreSQL tells what a reload changes.
    let (port, log) = (p1.address.port, s1.log());
    s1.sql(&format!(
        "ALTER SYSTEM SET primary_conninfo = 'user=replicator password={REPLICATION_SECRET} host=127.0.0.1 port={port} application_name=s1'"
    ));
    let follows = |port: u16| {
        format!("SELECT sender_port = {port} FROM pg_stat_wal_receiver WHERE status = 'streaming'")
    };
    s1.sql("SELECT pg_reload_conf()");
    s1.until(&follows(port)).await;
    let told = || {
        std::fs::read_to_string(&log)
            .unwrap()
            .matches(REPLICATION_SECRET)
            .count()
    };
    let before = told();
    assert!(
        before > 0,
        "PostgreSQL does not tell any more; then this may be allowed"
    );
    let refused = provider.reparent(&operation(), of, to).await.unwrap_err();
    assert!(
        matches!(refused, ProviderError::Precondition(_)),
        "{refused}"
    );
    assert!(!refused.to_string().contains(REPLICATION_SECRET));
    let lacks = provider.preflight(of, &[], LONG).await.unwrap();
    assert!(
        lacks
            .iter()
            .any(|it| it.is_needed && it.mend.contains("passfile")),
        "{lacks:?}"
    );
    // Nor where the server tells nothing of it: it would come into a file that copies take with them.
    s1.sql("ALTER SYSTEM RESET primary_conninfo");
    s1.append(
        "postgresql.conf",
        &format!(
            "log_min_messages = fatal\nprimary_conninfo = 'user=replicator password={REPLICATION_SECRET} host=127.0.0.1 \
             port={port} application_name=s1'\n"
        ),
    );
    s1.sql("SELECT pg_reload_conf()");
    s1.until("SELECT current_setting('log_min_messages') = 'fatal' AND current_setting('primary_conninfo') ~ 'password'")
        .await;
    let before = told();
    for refused in [
        provider.reparent(&operation(), of, to).await,
        provider.detach(&operation(), of).await,
        provider.revoke(&operation(), of).await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ProviderError::Precondition(_)) && !refused.outcome_unknown(),
            "{refused}"
        );
        assert!(refused.to_string().contains("passfile="), "{refused}");
    }
    assert!(!auto().contains("secret"), "{}", auto());
    s1.until(&follows(port)).await;
    assert_eq!(told(), before);
}

/// One that is cut short says that something may have been changed, however often it is tried; and what it has done is read,
/// not done again.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_was_cut_short_is_read_again() {
    let host = Host::new();
    let p1 = host.primary("p1", "").await;
    let s1 = host.standby("s1", &p1, false).await;
    s1.sql("ALTER SYSTEM SET log_statement = 'all'");
    s1.sql("SELECT pg_reload_conf()");
    let (provider, of) = (known(), &s1.address);
    let startup = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'";
    let startup: i32 = s1.sql(startup).parse().unwrap();
    processes::signal(&s1.data, startup, Signal::STOP);
    // Twice it is cut short after it came to what it changes, however slow the machine is; one that was cut short before has
    // changed nothing.
    let mut short = Operation {
        within: Duration::from_millis(700),
        ..operation()
    };
    let settings = || std::fs::read_to_string(s1.data.join("postgresql.auto.conf")).unwrap();
    let mut told = 0;
    while told < 2 {
        let before = settings();
        let late = provider.revoke(&short, of).await.unwrap_err();
        if late.outcome_unknown() {
            assert!(!late.to_string().contains("nothing was changed"), "{late}");
            told += 1;
            continue;
        }
        assert_eq!(settings(), before, "{late}");
        assert!(short.within < LONG, "{late}");
        short.within *= 2;
    }
    processes::signal(&s1.data, startup, Signal::CONT);
    let end = provider.revoke(&operation(), of).await.unwrap();
    let resumed = || {
        let log = std::fs::read_to_string(s1.log()).unwrap();
        log.matches("SELECT pg_wal_replay_resume()").count()
    };
    let before = resumed();
    assert_eq!(provider.revoke(&operation(), of).await.unwrap(), end);
    assert_eq!(resumed(), before, "it is paused, and stays so");
    // Another epoch proves it for itself.
    let mut next = operation();
    next.epoch = next.epoch.next();
    assert_eq!(provider.revoke(&next, of).await.unwrap(), end);
    assert!(resumed() > before);
}

/// Sessions of clients end, those of replication go on; and what only a superuser may end is said.
#[tokio::test(flavor = "multi_thread")]
async fn a8_a_fence_ends_sessions() {
    let host = Host::new();
    let p1 = host.primary("p1", "").await;
    let s1 = host.standby("s1", &p1, false).await;
    p1.sql("CREATE ROLE app");
    p1.sql("GRANT app TO watcher");
    let sleeping = |count: u32| {
        format!(
            "SELECT count(*) = {count} FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        )
    };
    let mut app = host.program("psql");
    app.args([
        "-XAtq",
        "-h",
        "127.0.0.1",
        "-p",
        &p1.address.port.to_string(),
        "-U",
        "watcher",
    ]);
    app.args(["-d", "postgres", "-c", "SELECT pg_sleep(600)"])
        .env("PGPASSWORD", SECRET);
    let mut app = tokio::process::Command::from(app);
    app.stderr(std::process::Stdio::null()).kill_on_drop(true);
    let mut client = app.spawn().unwrap();
    p1.until(&sleeping(1)).await;
    let provider = known();
    let fenced = provider.fence(&operation(), &p1.address).await.unwrap();
    assert_eq!(fenced, Outcome::Applied);
    assert!(!client.wait().await.unwrap().success());
    assert_eq!(
        s1.sql("SELECT status FROM pg_stat_wal_receiver"),
        "streaming"
    );
    let superusers = p1.session("SELECT pg_sleep(600)");
    p1.until(&sleeping(1)).await;
    let refused = provider.fence(&operation(), &p1.address).await.unwrap_err();
    assert!(
        matches!(refused, ProviderError::PermissionDenied { .. }),
        "{refused}"
    );
    drop(superusers);
    assert!(provider.is_read_only(&p1.address, LONG).await.unwrap());
}

/// Passes everything on, but from the moment on at which a client says `cut_at` no answer: it ends the connection.
async fn forgetful_proxy(to: Address, cut_at: &'static str) -> (Address, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect((to.host.as_str(), to.port))
                .await
                .unwrap();
            connections.spawn(pass_on(client, server, cut_at));
        }
    });
    (address, tasks)
}

async fn pass_on(mut client: TcpStream, mut server: TcpStream, cut_at: &'static str) {
    let (mut said, mut answered) = ([0; 65_536], [0; 65_536]);
    loop {
        tokio::select! {
            length = client.read(&mut said) => {
                let Ok(length @ 1..) = length else { return };
                server.write_all(&said[..length]).await.unwrap();
                if String::from_utf8_lossy(&said[..length]).contains(cut_at) {
                    // The server has it: it answers, and nobody hears that.
                    drop(client);
                    let quiet = Duration::from_millis(500);
                    while let Ok(Ok(1..)) = timeout(quiet, server.read(&mut answered)).await {}
                    return;
                }
            }
            length = server.read(&mut answered) => {
                let Ok(length @ 1..) = length else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A promotion whose answer was lost is looked for and not asked for again; nor is a setting.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_are_read_again() {
    let host = Host::new();
    let p1 = host.primary("p1", "").await;
    let s1 = host.standby("s1", &p1, false).await;
    let provider = known();
    let (at, _proxy) = forgetful_proxy(s1.address.clone(), "pg_promote(").await;
    let promoted = provider.promote(&operation(), &at).await.unwrap();
    assert!(
        matches!(promoted, Position::Wal(at) if at.timeline.0 == 2),
        "{promoted:?}"
    );
    let facts = provider.discover(&s1.address, LONG).await.unwrap();
    assert_eq!(
        (facts.role, facts.timeline.map(|it| it.0)),
        (Role::Primary, Some(2))
    );
    // Lost before the server was told to read it: not in force, and nobody knows.
    let (at, _proxy) = forgetful_proxy(p1.address.clone(), "ALTER SYSTEM SET default").await;
    let short = primacy::provider::Operation {
        within: Duration::from_secs(2),
        ..operation()
    };
    let lost = provider.set_read_only(&short, &at, true).await.unwrap_err();
    assert!(
        lost.outcome_unknown() && !lost.retryable() && !lost.evidence_of_death(),
        "{lost}"
    );
    // Lost after: it is in force.
    let (at, _proxy) = forgetful_proxy(p1.address.clone(), "pg_reload_conf").await;
    provider
        .set_read_only(&operation(), &at, true)
        .await
        .unwrap();
    assert!(provider.is_read_only(&p1.address, LONG).await.unwrap());
}
