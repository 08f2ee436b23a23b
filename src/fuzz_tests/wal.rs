//! PostgreSQL's own files: its WAL, the history of its timelines, its control file.

use std::path::Path;

use crate::host::control_file::{self, ControlFile};
use crate::host::history::{self, History};
use crate::host::wal_page::Wal;
use crate::host::wal_scan;
use crate::model::{Lsn, SystemIdentifier, Timeline, WalPosition};

const SEGMENT: u64 = 1 << 20;
const PAGE: usize = 8192;
const LONG: usize = 40;
const SHORT: usize = 24;
const RECORD: usize = 24;
/// Where the scan begins, before the pages in an input.
const START: usize = 8;
/// The segments in which pages are laid: the second, and the last that there can be.
const PLACES: [u64; 2] = [SEGMENT, u64::MAX - SEGMENT + 1];

/// A record, its checksum not yet right.
fn record(start: u64, previous: u64, data: usize, info: u8) -> Vec<u8> {
    let mut record = ((RECORD + data) as u32).to_le_bytes().to_vec();
    record.extend(7u32.to_le_bytes());
    record.extend(previous.to_le_bytes());
    record.extend([info, 0, 0, 0]);
    record.extend([0; 4]);
    record.extend((0..data).map(|byte| byte as u8));
    let end = (start + record.len() as u64).next_multiple_of(8) - start;
    record.resize(end as usize, 0);
    record
}

/// The header of the page at `address`, which begins with the rest of a record of so many bytes.
fn page_header(address: u64, remaining: usize) -> Vec<u8> {
    let is_first = address.is_multiple_of(SEGMENT);
    let flags = u16::from(is_first) << 1 | u16::from(remaining > 0);
    let mut header = 0xD110u16.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    header.extend(address.to_le_bytes());
    header.extend((remaining as u32).to_le_bytes());
    header.extend([0; 4]);
    if is_first {
        header.extend(9u64.to_le_bytes());
        header.extend((SEGMENT as u32).to_le_bytes());
        header.extend((PAGE as u32).to_le_bytes());
    }
    header
}

/// Pages from `base` on with records of so many bytes of data each.
fn pages(base: u64, sizes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = page_header(base, 0);
    let mut previous = 0;
    for &(data, info) in sizes {
        if bytes.len().is_multiple_of(PAGE) {
            bytes.extend(page_header(base.wrapping_add(bytes.len() as u64), 0));
        }
        let start = base.wrapping_add(bytes.len() as u64);
        let whole = record(0, previous, data, info);
        let length = RECORD + data;
        let mut done = 0;
        while done < whole.len() {
            if bytes.len().is_multiple_of(PAGE) {
                let rest = length.saturating_sub(done);
                bytes.extend(page_header(base.wrapping_add(bytes.len() as u64), rest));
            }
            let room = PAGE - bytes.len() % PAGE;
            let take = room.min(whole.len() - done);
            bytes.extend(&whole[done..done + take]);
            done += take;
        }
        previous = start;
    }
    bytes
}

/// Makes the checksum of every record right, as far as they lie where they should.
fn seal(input: &mut [u8]) {
    let Some(pages) = input.get_mut(START..) else {
        return;
    };
    let mut at = LONG;
    loop {
        if at.is_multiple_of(PAGE) {
            at += SHORT;
        }
        let Some(length) = pages.get(at..at + 4) else {
            return;
        };
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length < RECORD {
            return;
        }
        // Where each byte of the record lies.
        let mut places = Vec::with_capacity(length.min(pages.len()));
        while places.len() < length {
            if at.is_multiple_of(PAGE) {
                at += SHORT;
            }
            if at >= pages.len() {
                return;
            }
            places.push(at);
            at += 1;
        }
        let bytes: Vec<u8> = places.iter().map(|&place| pages[place]).collect();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[RECORD..]), &bytes[..20]);
        for (place, byte) in places[20..].iter().zip(crc.to_le_bytes()) {
            pages[*place] = byte;
        }
        at = at.next_multiple_of(8);
    }
}

fn input(base: u64, start: u64, sizes: &[(usize, u8)]) -> Vec<u8> {
    let mut input = (base.wrapping_add(start)).to_le_bytes().to_vec();
    input.extend(pages(base, sizes));
    seal(&mut input);
    input
}

/// Lays the pages into a folder and scans them; none if that is refused.
fn scan(folder: &Path, input: &[u8]) -> Option<(Lsn, wal_scan::Scan)> {
    let (start, pages) = input.split_at_checked(START)?;
    let start = u64::from_le_bytes(start.try_into().ok()?);
    let wal = Wal {
        folder: folder.to_owned(),
        segment_size: SEGMENT,
        system: SystemIdentifier(9),
    };
    let base = PLACES
        .into_iter()
        .find(|base| start.wrapping_sub(*base) < SEGMENT)?;
    let name = wal.segment_name(Timeline(1), wal.segment_of(Lsn(base)));
    let mut file = pages.to_vec();
    file.resize(file.len().next_multiple_of(PAGE), 0);
    let path = folder.join(name);
    std::fs::write(&path, file).unwrap();
    let position = WalPosition {
        timeline: Timeline(1),
        lsn: Lsn(start),
    };
    let linked = wal_scan::scan_replayed(&wal, position);
    let found = wal_scan::scan(&wal, position);
    std::fs::remove_file(path).unwrap();
    if let (Ok(linked), Ok(found)) = (&linked, &found) {
        assert!(
            linked.end == position || linked == found,
            "{linked:?} {found:?}"
        );
    }
    Some((Lsn(start), found.ok()?))
}

#[test]
fn fuzz_wal() {
    let folder = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let [low, high] = PLACES;
    let few = [(10, 0), (0, 0x10), (40, 0), (3, 0)];
    let crossing = [(8000, 0), (300, 0), (17_000, 0), (5, 0)];
    let begin = LONG as u64;
    // A record that says that it follows one at an odd place near the end of a page.
    let mut odd = input(low, begin + 40, &few);
    let link = low + PAGE as u64 - 2;
    let second = START + LONG + 40;
    odd[second + 8..second + 16].copy_from_slice(&link.to_le_bytes());
    seal(&mut odd);
    // The scan begins at an odd place near the end of a page.
    let mut edge = input(low, begin, &few);
    edge[..START].copy_from_slice(&(low + PAGE as u64 - 3).to_le_bytes());
    fuzz::target("host: wal")
        .example(input(low, begin, &few))
        .example(input(low, begin + 40, &few))
        .example(input(low, begin, &[(10, 0), (0, 0x40)]))
        .example(input(low, begin, &crossing))
        .example(input(high, begin, &few))
        .found(odd)
        .found(edge)
        .sealed(|bytes| seal(bytes))
        .run(
            |bytes| scan(folder.path(), bytes),
            |(start, scan)| {
                assert!(scan.end.lsn >= start, "{scan:?} from {start}");
                assert!(scan.last_record.is_none_or(|last| last < scan.end.lsn));
            },
        );
}

#[test]
fn the_scan_finds_what_was_laid() {
    let folder = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let [low, high] = PLACES;
    for (base, sizes, length) in [
        (
            low,
            &[(10, 0), (0, 0x10), (40, 0), (3, 0)][..],
            40 + 40 + 24 + 64 + 32,
        ),
        // So far no server has ever written: nothing there is believed.
        (high, &[(10, 0), (0, 0x10)], 40),
    ] {
        let laid = input(base, LONG as u64, sizes);
        let (_, scan) = scan(folder.path(), &laid).unwrap();
        assert_eq!(scan.end.lsn, Lsn(base + length));
    }
}

#[test]
fn fuzz_history() {
    let genuine = "1\t0/3000110\tno recovery target specified\n\n# x\n3\t0/5000000\tbecause\n";
    fuzz::target("host: timeline history")
        .example(genuine)
        .example(format!("{}\n", history::PLANTED_MARK))
        .words(&[
            "\t",
            "\n",
            "#",
            "/",
            "-1",
            "+1",
            "4294967295",
            "FFFFFFFF/FFFFFFFF",
            "\u{3000}",
        ])
        .run(
            |bytes| {
                let text = String::from_utf8_lossy(bytes);
                Some(history::parse(Timeline(5), &text).ok())
            },
            |found| {
                if let Some(History::Genuine(lineage)) = found {
                    let lines = lineage.left_at.iter();
                    let text: String = lines
                        .map(|(from, at)| format!("{from}\t{at}\tx\n"))
                        .collect();
                    let again = history::parse(Timeline(5), &text).unwrap();
                    assert_eq!(again, History::Genuine(lineage));
                }
            },
        );
}

/// A control file of these segments, in production.
fn control(segment: u32) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    bytes[0..8].copy_from_slice(&9u64.to_le_bytes());
    bytes[8..12].copy_from_slice(&1300u32.to_le_bytes());
    bytes[16] = 6;
    bytes[32..40].copy_from_slice(&0x0100_0028u64.to_le_bytes());
    bytes[40..48].copy_from_slice(&0x0100_0028u64.to_le_bytes());
    bytes[48] = 1;
    bytes[228..232].copy_from_slice(&segment.to_le_bytes());
    bytes.truncate(300);
    seal_control(&mut bytes);
    bytes
}

fn seal_control(bytes: &mut [u8]) {
    if bytes.len() >= 292 {
        let crc = crc32c::crc32c(&bytes[..288]).to_le_bytes();
        bytes[288..292].copy_from_slice(&crc);
    }
}

#[test]
fn fuzz_control_file() {
    let data = tempfile::tempdir_in(fuzz::folder()).unwrap();
    let path = data.path().join("global/pg_control");
    std::fs::create_dir(data.path().join("global")).unwrap();
    fuzz::target("host: control file")
        .example(control(16 << 20))
        .found(control(0))
        .found(control(1 << 31))
        .sealed(|bytes| seal_control(bytes))
        .run(
            |bytes| {
                std::fs::write(&path, bytes).unwrap();
                control_file::read(data.path()).ok()
            },
            |found: ControlFile| {
                let wal = Wal {
                    folder: data.path().to_owned(),
                    segment_size: found.segment_size,
                    system: found.system,
                };
                let name = wal.segment_name(found.timeline, wal.segment_of(found.redo));
                assert!(name.len() >= 24, "{name}");
                // There is no WAL, so that much is all it says.
                wal_scan::scan(&wal, wal_scan::start_from(&found)).unwrap_err();
            },
        );
}
