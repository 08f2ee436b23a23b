//! Starting, stopping and killing a server, and its control file.

use std::collections::BTreeMap;
use std::process::Command;

use primacy::clock;
use primacy::host::Death;
use primacy::host::control_file::State;
use primacy::host::server;
use primacy::host::{Error, control_file, data_folder, processes, tools};
use rustix::process::Signal;

use crate::support::{Host, Node, SOON, Stop, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_lives_and_dies() {
    let host = Host::new();
    let node = host.primary("a", 7101).await;
    let data = &node.data;

    let again = tools::initdb(&host.binaries, data, "postgres", SOON).await;
    assert!(matches!(again, Err(Error::NotEmpty { .. })), "{again:?}");
    let cluster = data_folder::Content::Cluster {
        version: host.binaries.version.to_string(),
    };
    assert_eq!(data_folder::inspect(data).unwrap(), cluster);
    assert!(data_folder::check_owner(data, host.binaries.account).is_ok());
    let twice = server::start(&host.binaries, data, &node.log(), || true);
    assert!(matches!(twice, Err(Error::Alive { .. })), "{twice:?}");

    // Sessions are open, and a fast stop leaves nothing behind.
    let mut session = node.session("select pg_sleep(60)");
    eventually(|| processes::titled(data, "SELECT").unwrap().len() == 1);
    let stopped = node.stop(Stop::Fast).await;
    println!("fast stop: {stopped:?}");
    assert!(stopped.as_asked && stopped.killed.processes == 0);
    session.wait().unwrap();
    assert_eq!(control_file::read(data).unwrap().state, State::ShutDown);
    agrees_with_controldata(&host, &node);

    // SIGKILL of the postmaster alone: its death is known at once, its backends work on.
    node.start().await;
    let mut session = node.session("select count(*) from generate_series(1, 1000000000)");
    eventually(|| !processes::titled(data, "SELECT").unwrap().is_empty());
    let postmaster = processes::postmaster(data).unwrap().unwrap();
    let death = Death::watch(data, postmaster.pid).unwrap().unwrap();
    let killed_at = clock::monotonic();
    assert!(processes::signal(data, postmaster.pid, Signal::KILL));
    tokio::time::timeout(SOON, death.wait())
        .await
        .unwrap()
        .unwrap();
    println!("death seen after {:?}", clock::monotonic().since(killed_at));
    assert_eq!(processes::postmaster(data).unwrap(), None);
    assert!(matches!(
        processes::remove_stale_lock(data),
        Err(Error::Alive { .. })
    ));
    let killed = processes::kill_all(data, SOON).unwrap();
    println!("orphans: {killed:?}");
    assert!(killed.processes >= 1 && processes::of(data).unwrap().is_empty());
    session.wait().unwrap();

    // The stale locks do not stop the next start, although their owner is a zombie: this runtime
    // has had no moment to reap it.
    assert!(data.join("postmaster.pid").exists());
    assert!(host.folder.path().join(".s.PGSQL.7101.lock").exists());
    node.start().await;
    node.stop(Stop::Immediate).await;
    let began = clock::monotonic();
    node.start().await;
    println!("start to ready: {:?}", clock::monotonic().since(began));
    let stopped = node.stop(Stop::Kill).await;
    println!("kill: {stopped:?}");
    assert!(stopped.killed.processes > 1);
}

fn agrees_with_controldata(host: &Host, node: &Node) {
    let output = Command::new(host.binaries.folder.join("pg_controldata"))
        .env("LC_ALL", "C")
        .arg(&node.data)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let read = control_file::read(&node.data).unwrap();
    for (name, value) in [
        ("Database system identifier", read.system.to_string()),
        ("Latest checkpoint location", read.checkpoint.to_string()),
        ("Latest checkpoint's REDO location", read.redo.to_string()),
        ("Latest checkpoint's TimeLineID", read.timeline.to_string()),
        (
            "Minimum recovery ending location",
            read.min_recovery.to_string(),
        ),
        (
            "Min recovery ending loc's timeline",
            read.min_recovery_timeline.to_string(),
        ),
        ("Bytes per WAL segment", read.segment_size.to_string()),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
}
