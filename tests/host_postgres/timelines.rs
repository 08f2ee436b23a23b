//! Promotions, forks, rewinds and clones: which timeline an instance is on, and where it ends.

use std::os::unix::net::UnixStream;

use std::fs;
use std::time::Duration;

use primacy::clock;
use primacy::host::server;
use primacy::host::{control_file, data_folder, history, processes, tools};
use primacy::model::Timeline;

use crate::support::{Host, SOON, Stop, at, eventually};

#[tokio::test(flavor = "multi_thread")]
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
    // A client that says nothing has no title yet: it may be anybody, and goes too.
    let silent = UnixStream::connect(c.socket.join(".s.PGSQL.7123")).unwrap();
    let postmaster = processes::postmaster(&c.data).unwrap().unwrap().pid;
    let receivers = || processes::receivers(&c.data, postmaster).unwrap();
    eventually(|| !receivers().is_empty());
    // The server may take its connection only now, so it is done again, as a fence does.
    eventually(|| {
        processes::end_receivers(&c.data, postmaster).unwrap();
        receivers().is_empty()
    });
    drop(silent);

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

    // A planted file above the genuine ones keeps a standby from becoming ready.
    history::plant(&wal.folder, Timeline(6)..Timeline(8)).unwrap();
    server::start(&host.binaries, &c.data, &c.log(), || true).unwrap();
    // It does not even fail: its startup looks for timeline 7 for ever.
    std::thread::sleep(Duration::from_secs(1));
    let status = processes::postmaster(&c.data).unwrap().unwrap().status;
    assert_eq!(status, "starting");
    c.stop(Stop::Kill).await;
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
    let ours = fs::read_to_string(a.data.join("primacy.conf")).unwrap();
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
    let kept = fs::read_to_string(a.data.join("primacy.conf")).unwrap();
    assert_eq!(kept, ours);
    assert!(data_folder::has_standby_signal(&a.data).unwrap());
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
    let end = b.lsn("pg_current_wal_flush_lsn");
    a.until(&format!("select pg_last_wal_replay_lsn() >= '{end}'"));
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
