//! `host` and `leash` against real PostgreSQL servers.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use primacy::clock;
use primacy::host::processes::Death;
use primacy::host::server::{self, Stop};
use primacy::host::wal_page::Wal;
use primacy::host::{
    Error, control_file, data_folder, history, processes, settings, tools, wal_scan,
};
use primacy::leash::{self, Hold};
use primacy::model::{Lsn, Timeline, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use support::{Host, Node, SOON, at, eventually};

#[tokio::test]
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
    let twice = server::start(&host.binaries, data, &node.log()).await;
    assert!(matches!(twice, Err(Error::Alive { .. })), "{twice:?}");

    // Sessions are open, and a fast stop leaves nothing behind.
    let mut session = node.session("select pg_sleep(60)");
    eventually(|| processes::titled(data, "SELECT").unwrap().len() == 1);
    let stopped = node.stop(Stop::Fast).await;
    println!("fast stop: {stopped:?}");
    assert!(stopped.as_asked && stopped.killed.processes == 0);
    session.wait().unwrap();
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

    // The stale lock does not stop the next start.
    assert!(data.join("postmaster.pid").exists());
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
    let on_off = |on| if on { "on" } else { "off" };
    for (name, value) in [
        ("Database system identifier", read.system.to_string()),
        ("Database cluster state", read.state.as_text().to_owned()),
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
        (
            "Data page checksum version",
            u8::from(read.data_checksums).to_string(),
        ),
        (
            "wal_log_hints setting",
            on_off(read.wal_log_hints).to_owned(),
        ),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
}

#[tokio::test]
async fn the_end_of_wal_is_found() {
    let host = Host::new();
    let node = host.primary("a", 7111).await;
    node.sql("create table t(x text)");
    // Records over many pages and segments, and switches in between.
    node.sql("select pg_logical_emit_message(false, 'big', repeat('x', 1000000)) from generate_series(1, 5)");
    node.sql("select pg_switch_wal()");
    node.sql("checkpoint");
    let redo = wal_scan::start_from(&control_file::read(&node.data).unwrap());
    node.sql("insert into t select repeat('y', 900) from generate_series(1, 40000)");
    node.sql("select pg_switch_wal()");
    node.sql("insert into t select 'z'");
    let flushed = node.lsn("pg_current_wal_flush_lsn");
    node.stop(Stop::Immediate).await;
    let wal = node.wal();
    let began = clock::monotonic();
    let found = wal_scan::scan(&wal, redo).unwrap();
    let took = clock::monotonic().since(began);
    let megabytes = (found.end.lsn.0 - redo.lsn.0) >> 20;
    println!(
        "{megabytes} MB, {} records in {took:?}: {}",
        found.records, found.stopped_by
    );
    assert!(megabytes > 32);
    assert_eq!(found.end, at(1, flushed));
    assert_eq!(node.waldump_end(redo), flushed);

    // From the end itself, and not from anywhere else.
    assert_eq!(wal_scan::scan(&wal, found.end).unwrap().end, found.end);
    let nowhere = wal_scan::scan(&wal, at(1, Lsn(0x7_0000_0028)));
    assert!(
        matches!(nowhere, Err(Error::Unscannable { .. })),
        "{nowhere:?}"
    );
    let foreign = Wal {
        system: primacy::model::SystemIdentifier(1),
        ..wal.clone()
    };
    let segment_start = Lsn(redo.lsn.0 / wal.segment_size * wal.segment_size);
    assert!(wal_scan::scan(&foreign, at(1, Lsn(segment_start.0 + 0x28))).is_err());

    // A torn tail: any change of the last record, or its loss, ends the WAL before it.
    let last = found.last_record.unwrap();
    let segment = wal
        .folder
        .join(wal.segment_name(Timeline(1), wal.segment_of(last)));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment)
        .unwrap();
    let offset = last.0 % wal.segment_size;
    for byte in 0..found.end.lsn.0 - last.0 - 7 {
        // Padding between header fields is covered by the CRC, too.
        let mut original = [0];
        file.read_exact_at(&mut original, offset + byte).unwrap();
        file.write_all_at(&[original[0] ^ 0x10], offset + byte)
            .unwrap();
        let torn = wal_scan::scan(&wal, redo).unwrap();
        assert_eq!(torn.end, at(1, last), "byte {byte}: {}", torn.stopped_by);
        file.write_all_at(&original, offset + byte).unwrap();
    }
    let mut whole = vec![0; (found.end.lsn.0 - last.0) as usize];
    file.read_exact_at(&mut whole, offset).unwrap();
    file.write_all_at(&vec![0; whole.len()], offset).unwrap();
    assert_eq!(wal_scan::scan(&wal, redo).unwrap().end, at(1, last));
    file.write_all_at(&whole, offset).unwrap();
    assert_eq!(wal_scan::scan(&wal, redo).unwrap(), found);

    // Recovery goes exactly as far; then a crash in the middle of a record over many pages.
    node.start().await;
    node.sql("checkpoint");
    let before = node.lsn("pg_current_wal_flush_lsn");
    node.sql("select pg_logical_emit_message(true, 'cut', repeat('x', 100000))");
    node.stop(Stop::Immediate).await;
    let cut = before.0 / 8192 * 8192 + 3 * 8192;
    let segment = wal
        .folder
        .join(wal.segment_name(Timeline(1), wal.segment_of(Lsn(cut))));
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(&vec![0; 20 * 8192], cut % wal.segment_size)
        .unwrap();
    let broken = node.scan();
    println!("cut: {}", broken.stopped_by);
    assert!(broken.end.lsn >= before && broken.end.lsn.0 < cut);
    // PostgreSQL overwrites the broken record; the scan follows it across.
    node.start().await;
    node.sql("insert into t select 'after'");
    let flushed = node.lsn("pg_current_wal_flush_lsn");
    node.stop(Stop::Immediate).await;
    let log = fs::read_to_string(node.log()).unwrap();
    println!(
        "overwritten: {}",
        log.contains("overwritten contrecord") || log.contains("missing contrecord")
    );
    let across = wal_scan::scan(&wal, at(1, before)).unwrap();
    assert_eq!(across.end, at(1, flushed), "{}", across.stopped_by);

    // Recycled segments hold valid records of long ago.
    node.start().await;
    for _ in 0..4 {
        node.sql("insert into t select repeat('y', 900) from generate_series(1, 16000)");
        node.sql("checkpoint");
    }
    node.sql("select pg_switch_wal()");
    node.sql("insert into t select 'last'");
    let flushed = node.lsn("pg_current_wal_flush_lsn");
    node.stop(Stop::Immediate).await;
    let newest = fs::read_dir(&wal.folder)
        .unwrap()
        .flatten()
        .map(|it| it.file_name());
    let newest = newest.filter(|name| name.len() == 24).max().unwrap();
    let current = wal.segment_name(Timeline(1), wal.segment_of(flushed));
    assert!(
        newest.to_str().unwrap() > current.as_str(),
        "nothing was recycled"
    );
    let found = node.scan();
    println!("before recycled WAL: {}", found.stopped_by);
    assert_eq!(found.end, at(1, flushed));
}

#[tokio::test]
async fn timelines_are_planted_crossed_and_scanned() {
    let host = Host::new();
    let a = host.primary("a", 7121).await;
    let b = host.standby("b", 7122, &a).await;
    let c = host.standby("c", 7123, &a).await;
    a.sql("create table t(x text)");
    a.sql("insert into t select 'x' from generate_series(1, 1000)");
    let end = a.lsn("pg_current_wal_flush_lsn");
    for node in [&b, &c] {
        node.until(&format!("select pg_last_wal_replay_lsn() >= '{end}'"));
        assert_eq!(node.scan().end, at(1, node.lsn("pg_last_wal_replay_lsn")));
    }
    // A fence by hand: the receiver goes and stays away.
    c.configure(&c.data, "");
    c.sql("select pg_reload_conf()");
    processes::end_wal_receivers(&c.data).unwrap();
    eventually(|| {
        processes::titled(&c.data, "walreceiver")
            .unwrap()
            .is_empty()
    });

    // Promotion takes the number after the planted ones.
    a.stop(Stop::Immediate).await;
    let unused = Timeline(2)..Timeline(5);
    assert_eq!(
        history::plant(&b.data.join("pg_wal"), unused)
            .unwrap()
            .len(),
        3
    );
    let fork = b.scan().end.lsn;
    b.sql("select pg_promote(false)");
    b.until("select not pg_is_in_recovery()");
    b.remove_trigger();
    let lineages = history::lineages(&b.data.join("pg_wal")).unwrap();
    let lineage = &lineages[&Timeline(5)];
    assert_eq!((lineages.len(), lineage.left_at[&Timeline(1)]), (1, fork));
    b.sql("insert into t select 'on five'");

    // A sibling crosses the gap by a reload; its control file still says timeline 1.
    c.follow(&b);
    let end = b.lsn("pg_current_wal_flush_lsn");
    c.until(&format!("select pg_last_wal_replay_lsn() >= '{end}'"));
    assert_eq!(control_file::read(&c.data).unwrap().timeline, Timeline(1));
    assert_eq!(c.scan().end, at(5, c.lsn("pg_last_wal_replay_lsn")));
    assert_eq!(b.scan().end, at(5, b.lsn("pg_current_wal_flush_lsn")));
    for tli in 2..6 {
        let file = c
            .data
            .join("pg_wal")
            .join(history::file_name(Timeline(tli)));
        assert!(file.exists(), "{tli} was not fetched");
    }

    // The newer timeline counts only with a valid record at the fork.
    c.stop(Stop::Immediate).await;
    let wal = c.wal();
    let segment = wal
        .folder
        .join(wal.segment_name(Timeline(5), wal.segment_of(fork)));
    let bytes = fs::read(&segment).unwrap();
    let mut torn = bytes.clone();
    torn[(fork.0 % wal.segment_size) as usize] ^= 0xFF;
    fs::write(&segment, torn).unwrap();
    assert_eq!(c.scan().end, at(1, fork));
    fs::write(&segment, bytes).unwrap();
    assert_eq!(c.scan().end.timeline, Timeline(5));

    // A planted file above the genuine ones keeps a standby from starting.
    history::plant(&wal.folder, Timeline(6)..Timeline(8)).unwrap();
    server::start(&host.binaries, &c.data, &c.log())
        .await
        .unwrap();
    eventually(|| processes::of(&c.data).unwrap().is_empty());
    let said = server::log_end(&c.log());
    assert!(
        said.contains("is not a child of this server's history"),
        "{said}"
    );
    let removed = history::remove_planted_above(&wal.folder, Timeline(0)).unwrap();
    assert_eq!(removed, [Timeline(6), Timeline(7)]);
    c.start().await;
    c.until("select count(*) = 1 from pg_stat_wal_receiver where status = 'streaming'");

    // The old primary wrote past the fork: it is rewound, and keeps its own settings.
    data_folder::remove_standby_signal(&a.data).unwrap();
    a.start().await;
    a.sql("insert into t select 'lost'");
    a.stop(Stop::Immediate).await;
    b.sql("checkpoint");
    let ours = settings::read(&a.data).unwrap();
    let conninfo = b.conninfo();
    let source = tools::Source {
        conninfo: &conninfo,
        passfile: None,
    };
    let began = clock::monotonic();
    let said = tools::rewind(&host.binaries, source, &a.data, SOON)
        .await
        .unwrap();
    println!("rewind: {said} in {:?}", clock::monotonic().since(began));
    assert_eq!(settings::read(&a.data).unwrap(), ours);
    assert!(data_folder::has_standby_signal(&a.data));
    a.configure(&a.data, &conninfo);
    a.start().await;
    a.until("select count(*) = 1 from pg_stat_wal_receiver where status = 'streaming'");
    a.until("select exists(select from t where x = 'on five') and not exists(select from t where x = 'lost')");

    // So is a clone, with the old data kept beside it.
    a.stop(Stop::Fast).await;
    let cloned = a.clone_from(&b, "now").await;
    assert_eq!(
        cloned.old_data.unwrap(),
        host.folder.path().join("a.old-now")
    );
    a.start().await;
    a.until("select count(*) = 1 from pg_stat_wal_receiver where status = 'streaming'");
    assert_eq!(a.scan().end, b.scan().end);

    // The second promotion: from 5 over 6 to 7, scanned by one who still stands on 5.
    history::plant(&c.data.join("pg_wal"), Timeline(6)..Timeline(7)).unwrap();
    b.stop(Stop::Kill).await;
    c.sql("select pg_promote(false)");
    c.until("select not pg_is_in_recovery()");
    a.follow(&c);
    c.sql("insert into t select 'on seven'");
    a.until("select exists(select from t where x = 'on seven')");
    assert_eq!(c.scan().end, at(7, c.lsn("pg_current_wal_flush_lsn")));
    assert_eq!(a.scan().end, at(7, a.lsn("pg_last_wal_replay_lsn")));
}

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

fn leash_program(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("primacy");
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nPRIMACY_TEST_LEASH=\"$*\" exec '{}' --ignored --exact leash_process --nocapture\n",
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
        kill_process(Pid::from_raw(self.0).unwrap(), signal).unwrap();
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

#[tokio::test]
async fn the_leash_ends_an_instance() {
    let host = Host::new();
    let node = host.primary("a", 7131).await;
    let data = &node.data;
    let program = leash_program(host.folder.path());
    let runtime = tempfile::tempdir().unwrap();
    let args = leash::Args {
        socket: runtime.path().join("leash.sock"),
        data: data.clone(),
        deadline: None,
    };
    let leash = Leash(leash::spawn(&program, &args, None).unwrap());
    let client = leash::Client::new(&args.socket);
    eventually(|| args.socket.exists());

    // It moves only forward, and is given up only when nothing runs.
    assert_eq!(client.state().await.unwrap(), Hold::None);
    let (early, late) = (soon(60_000), soon(90_000));
    assert_eq!(client.arm(late).await.unwrap(), late);
    assert_eq!(client.arm(early).await.unwrap(), late);
    assert_eq!(
        leash::Client::new(&args.socket).state().await.unwrap(),
        Hold::Armed(late)
    );
    assert!(matches!(
        client.arm(Timestamp(1)).await,
        Err(leash::Error::Refused { .. })
    ));
    let refused = client.disarm().await;
    assert!(
        matches!(refused, Err(leash::Error::Refused { .. })),
        "{refused:?}"
    );
    assert!(matches!(leash::run(&args), Err(leash::Error::Taken { .. })));
    node.stop(Stop::Fast).await;
    client.disarm().await.unwrap();

    // Nobody does anything, sessions are busy: at the deadline all is over.
    node.start().await;
    let mut sessions: Vec<_> = (0..5)
        .map(|_| node.session("select pg_sleep(60)"))
        .collect();
    eventually(|| processes::titled(data, "SELECT").unwrap().len() == 5);
    client.arm(soon(300)).await.unwrap();
    let expired = expiry(&client).await;
    println!(
        "at the deadline: {expired:?}, {:?} late",
        expired.ended.since(expired.deadline)
    );
    assert!(expired.processes >= 10 && processes::of(data).unwrap().is_empty());
    sessions.iter_mut().for_each(|it| drop(it.wait()));

    // Backends that outlive their postmaster are ended too.
    node.start().await;
    let mut session = node.session("select count(*) from generate_series(1, 1000000000)");
    eventually(|| !processes::titled(data, "SELECT").unwrap().is_empty());
    client.arm(soon(400)).await.unwrap();
    let postmaster = processes::postmaster(data).unwrap().unwrap();
    processes::signal(data, postmaster.pid, Signal::KILL);
    let expired = expiry(&client).await;
    println!("orphans: {expired:?}");
    assert!(expired.processes >= 1 && processes::of(data).unwrap().is_empty());
    session.wait().unwrap();

    // Frozen past its deadline it kills before it listens: the waiting renewal comes too late.
    node.start().await;
    client.arm(soon(200)).await.unwrap();
    leash.signal(Signal::STOP);
    let deadline = soon(400);
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
    let log = fs::read_to_string(runtime.path().join("leash.log")).unwrap();
    assert_eq!(log.matches("expired at").count(), 3, "{log}");
    println!("{log}");
    let status = fs::read_to_string(format!("/proc/{}/status", leash.0)).unwrap();
    println!(
        "{}",
        status.lines().find(|it| it.starts_with("VmRSS")).unwrap()
    );
}
