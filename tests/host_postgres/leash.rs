//! The leash ends an instance at its deadline, whatever became of everybody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use primacy::clock;
use primacy::host::processes;
use primacy::leash::{self, Hold};
use primacy::model::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Host, SOON, Stop, eventually};

/// Not a test: the leash process of the tests below, run by a script that [`leash::spawn`] starts.
#[test]
#[ignore = "run by the tests of the leash"]
fn leash_process() {
    let Ok(text) = std::env::var("PRIMACY_TEST_LEASH") else {
        return;
    };
    let words: Vec<&str> = text.split(' ').collect();
    let value = |name: &str| {
        words
            .iter()
            .position(|it| *it == name)
            .map(|at| words[at + 1])
    };
    let args = leash::Args {
        socket: value("--socket").unwrap().into(),
        data: value("--data").unwrap().into(),
        deadline: value("--deadline").map(|ms| Timestamp(ms.parse().unwrap())),
    };
    let error = leash::run(&args).unwrap_err();
    panic!("{error}");
}

fn leash_program(folder: &Path) -> PathBuf {
    let path = folder.join("primacy");
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nPRIMACY_TEST_LEASH=\"$*\" exec '{}' --ignored --exact leash::leash_process --nocapture\n",
        own.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A leash that dies with the test.
struct Leash(i32);

impl Leash {
    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_raw(self.0).unwrap(), signal);
    }

    fn is_stopped(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).unwrap();
        tasks.flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap();
            stat.contains(") T ")
        })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn soon(ms: u64) -> Timestamp {
    clock::boottime().after(Duration::from_millis(ms))
}

/// What the leash answers. On a busy machine it may be silent for longer than its clients wait: then it is asked again.
async fn told<T>(ask: impl AsyncFn() -> Result<T, leash::Error>) -> Result<T, leash::Error> {
    let began = clock::monotonic();
    loop {
        match ask().await {
            Err(leash::Error::Silent { .. }) if clock::monotonic().since(began) < SOON => {}
            answer => return answer,
        }
    }
}

async fn expiry(client: &leash::Client) -> leash::Expiry {
    let began = clock::monotonic();
    loop {
        if let Ok(Hold::Expired(expiry)) = client.state().await {
            return expiry;
        }
        assert!(clock::monotonic().since(began) < SOON, "it did not expire");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leash_ends_an_instance() {
    let host = Host::new();
    let node = host.primary("a", 7131).await;
    let data = &node.data;
    let program = leash_program(host.folder.path());
    let runtime = tempfile::tempdir().unwrap();
    let args = leash::Args {
        socket: runtime.path().join("leash/leash.sock"),
        data: data.clone(),
        deadline: None,
    };
    let leash = Leash(leash::spawn(&program, &args, None).unwrap());
    let client = leash::Client::new(&args.socket);
    eventually(|| {
        let log = fs::read_to_string(runtime.path().join("leash/leash.log")).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        args.socket.exists()
    });

    // It moves only forward, and is given up only when nothing runs.
    let arm = async |at| told(async || client.arm(at).await).await;
    let exchange = async |at| told(async || client.exchange(at).await).await;
    let state = async || told(async || client.state().await).await.unwrap();
    assert_eq!(state().await, Hold::None);
    let (early, late) = (soon(60_000), soon(90_000));
    assert_eq!(arm(late).await.unwrap(), late);
    assert_eq!(arm(early).await.unwrap(), late);
    // But for a deadline that takes the place of another.
    assert_eq!(exchange(early).await.unwrap(), early);
    assert_eq!(state().await, Hold::Armed(early));
    assert_eq!(arm(late).await.unwrap(), late);
    let another = leash::Client::new(&args.socket);
    let seen = told(async || another.state().await).await;
    assert_eq!(seen.unwrap(), Hold::Armed(late));
    assert!(matches!(
        arm(Timestamp(1)).await,
        Err(leash::Error::Refused { .. })
    ));
    assert!(matches!(
        exchange(Timestamp(1)).await,
        Err(leash::Error::Refused { .. })
    ));
    let refused = told(async || client.disarm().await).await;
    assert!(
        matches!(refused, Err(leash::Error::Refused { .. })),
        "{refused:?}"
    );
    assert!(matches!(leash::run(&args), Err(leash::Error::Taken { .. })));
    node.stop(Stop::Fast).await;
    told(async || client.disarm().await).await.unwrap();

    // Nobody does anything, sessions are busy: at the deadline all is over.
    node.start().await;
    let mut sessions: Vec<_> = (0..5)
        .map(|_| node.session("select pg_sleep(60)"))
        .collect();
    eventually(|| processes::titled(data, "SELECT").unwrap().len() == 5);
    arm(soon(3_000)).await.unwrap();
    let expired = expiry(&client).await;
    println!(
        "at the deadline: {expired:?}, {:?} late",
        expired.ended.since(expired.deadline)
    );
    assert!(expired.processes >= 6 && processes::of(data).unwrap().is_empty());
    sessions.iter_mut().for_each(|it| drop(it.wait()));

    // Backends that outlive their postmaster are ended too.
    node.start().await;
    let mut session = node.session("select count(*) from generate_series(1, 1000000000)");
    eventually(|| !processes::titled(data, "SELECT").unwrap().is_empty());
    arm(soon(3_000)).await.unwrap();
    let postmaster = processes::postmaster(data).unwrap().unwrap();
    processes::signal(data, postmaster.pid, Signal::KILL);
    let expired = expiry(&client).await;
    println!("orphans: {expired:?}");
    assert!(expired.processes >= 1 && processes::of(data).unwrap().is_empty());
    session.wait().unwrap();

    // A data folder that is renamed takes nobody out of its reach.
    node.start().await;
    arm(soon(3_000)).await.unwrap();
    let renamed = data.with_extension("renamed");
    fs::rename(data, &renamed).unwrap();
    let expired = expiry(&client).await;
    println!("renamed: {expired:?}");
    assert!(expired.processes >= 2 && processes::of(&renamed).unwrap().is_empty());
    fs::rename(&renamed, data).unwrap();

    // Frozen past its deadline it kills before it listens: the waiting renewal comes too late.
    node.start().await;
    let deadline = soon(5_000);
    arm(deadline).await.unwrap();
    leash.signal(Signal::STOP);
    eventually(|| leash.is_stopped());
    let late = tokio::time::timeout(SOON, client.arm(soon(60_000)))
        .await
        .unwrap();
    assert!(matches!(late, Err(leash::Error::Silent { .. })), "{late:?}");
    eventually(|| clock::boottime() > deadline);
    assert!(!processes::of(data).unwrap().is_empty());
    let resumed = clock::boottime();
    leash.signal(Signal::CONT);
    eventually(|| processes::of(data).unwrap().is_empty());
    println!("after the gap: {:?}", clock::boottime().since(resumed));
    let log = || fs::read_to_string(runtime.path().join("leash/leash.log")).unwrap();
    eventually(|| log().matches("expired at").count() == 4);
    println!("{}", log());
    let status = fs::read_to_string(format!("/proc/{}/status", leash.0)).unwrap();
    println!(
        "{}",
        status.lines().find(|it| it.starts_with("VmRSS")).unwrap()
    );
}
