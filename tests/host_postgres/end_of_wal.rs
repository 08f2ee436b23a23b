//! Where valid WAL ends, as PostgreSQL's own recovery finds it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use primacy::clock;
use primacy::host::wal_page::Wal;
use primacy::host::{Error, control_file, wal_scan};
use primacy::model::{Lsn, SystemIdentifier, Timeline};

use crate::support::{Host, Stop, at};

#[tokio::test(flavor = "multi_thread")]
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
    println!("{megabytes} MB in {took:?}");
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
        system: SystemIdentifier(1),
        ..wal.clone()
    };
    let segment_start = Lsn(redo.lsn.0 / wal.segment_size * wal.segment_size);
    assert!(wal_scan::scan(&foreign, at(1, Lsn(segment_start.0 + 0x28))).is_err());

    // A whole record of an older use of the file, right behind what was replayed, is none.
    assert_eq!(
        wal_scan::scan_replayed(&wal, found.end).unwrap(),
        wal_scan::scan(&wal, found.end).unwrap()
    );
    let last = found.last_record.unwrap();
    assert_eq!(wal_scan::scan_replayed(&wal, at(1, last)).unwrap(), found);
    let file = segment(&wal, last);
    let [from, to] = [last, found.end.lsn].map(|lsn| lsn.0 % wal.segment_size);
    let mut old = vec![0; (to - from) as usize];
    assert_eq!(
        last.0 / 8192,
        (found.end.lsn.0 + to - from) / 8192,
        "all on one page"
    );
    file.read_exact_at(&mut old, from).unwrap();
    file.write_all_at(&old, to).unwrap();
    let behind = wal_scan::scan_replayed(&wal, found.end).unwrap();
    assert_eq!(behind.end, found.end);
    assert_eq!(behind.last_record, None);
    // Nothing but its link tells it from a new one.
    let believed = wal_scan::scan(&wal, found.end).unwrap();
    assert_eq!(believed.last_record, Some(found.end.lsn));
    assert_eq!(wal_scan::scan(&wal, redo).unwrap(), found);
    file.write_all_at(&vec![0; old.len()], to).unwrap();

    // A torn tail: any change of the last record, or its loss, ends the WAL before it.
    for byte in 0..found.end.lsn.0 - last.0 - 7 {
        // Padding between header fields is covered by the CRC, too.
        let mut original = [0];
        file.read_exact_at(&mut original, from + byte).unwrap();
        file.write_all_at(&[original[0] ^ 0x10], from + byte)
            .unwrap();
        let torn = wal_scan::scan(&wal, redo).unwrap();
        assert_eq!(torn.end, at(1, last), "byte {byte}");
        file.write_all_at(&original, from + byte).unwrap();
    }
    file.write_all_at(&vec![0; old.len()], from).unwrap();
    assert_eq!(wal_scan::scan(&wal, redo).unwrap().end, at(1, last));
    file.write_all_at(&old, from).unwrap();
    assert_eq!(wal_scan::scan(&wal, redo).unwrap(), found);

    // Recovery goes exactly as far; then a crash in the middle of a record over many pages.
    node.start().await;
    node.sql("checkpoint");
    let before = node.lsn("pg_current_wal_flush_lsn");
    node.sql("select pg_logical_emit_message(true, 'cut', repeat('x', 100000))");
    node.stop(Stop::Immediate).await;
    let cut = before.0 / 8192 * 8192 + 3 * 8192;
    let file = segment(&wal, Lsn(cut));
    file.write_all_at(&vec![0; 20 * 8192], cut % wal.segment_size)
        .unwrap();
    let broken = node.scan();
    assert!(broken.end.lsn >= before && broken.end.lsn.0 < cut);
    // PostgreSQL overwrites the broken record; the scan follows it across.
    node.start().await;
    node.sql("insert into t select 'after'");
    let flushed = node.lsn("pg_current_wal_flush_lsn");
    node.stop(Stop::Immediate).await;
    let (records, _) = node.waldump(at(1, before));
    assert!(records.contains("OVERWRITE_CONTRECORD"), "{records}");
    let across = wal_scan::scan(&wal, at(1, before)).unwrap();
    assert_eq!(across.end, at(1, flushed));

    // Recycled segments hold valid records of long ago.
    node.start().await;
    node.sql("alter system set wal_keep_size = 0");
    node.sql("select pg_reload_conf()");
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
    assert_eq!(found.end, at(1, flushed));
}

/// The file that holds the byte at `lsn` of timeline 1, to be read and damaged.
fn segment(wal: &Wal, lsn: Lsn) -> File {
    let name = wal.segment_name(Timeline(1), wal.segment_of(lsn));
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.open(wal.folder.join(name)).unwrap()
}
