//! One bit flipped, anywhere in the files of a log: it opens with all that was acknowledged, or it is refused with a
//! name. Never less than was acknowledged, and never a panic.

use std::{collections::BTreeMap, fs};

use super::*;

/// Positions that are tried in each file, spread evenly.
const POSITIONS: u64 = 60;

/// What a log holds.
#[derive(Debug, PartialEq)]
struct Content {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

async fn content(log: &mut Log) -> io::Result<Content> {
    Ok(Content {
        vote: log.read_vote().await?,
        purged: log.purged()?,
        entries: log.try_get_log_entries(..).await?,
    })
}

/// A log over some segments of sled's file that has seen all kinds of work, twice.
async fn written(folder: &Path) -> Content {
    let mut held = Vec::new();
    for round in 0..2 {
        let (mut log, closed) = open(folder).unwrap();
        let first = 400 * round;
        for index in (first..first + 400).step_by(20) {
            let batch = index..index + 20;
            append(
                &mut log,
                batch.map(|i| entry(2 * round + 1, i, (i % 40 * 150) as usize)),
            )
            .await;
            log.save_vote(&Vote::new(100 * round + index, 1))
                .await
                .unwrap();
        }
        log.truncate_after(Some(log_id(2 * round + 1, first + 299)))
            .await
            .unwrap();
        append(
            &mut log,
            (first + 300..first + 400).map(|i| entry(2 * round + 2, i, 900)),
        )
        .await;
        log.save_committed(Some(log_id(2 * round + 2, first + 390)))
            .await
            .unwrap();
        log.purge(log_id(2 * round + 1, first + 100)).await.unwrap();
        log.save_vote(&Vote::new(10_000 + round, 2)).await.unwrap();
        held.push(content(&mut log).await.unwrap());
        close(log, closed).await;
    }
    // Not opened again: sled would note how far its file reaches, and no longer take damage for the end.
    held.pop().expect("there was a last round")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => copy(&file.path(), &target),
            false => drop(fs::copy(file.path(), target).unwrap()),
        }
    }
}

/// What became of a log whose file was damaged, in a word.
async fn outcome(folder: &Path, expected: &Content) -> &'static str {
    let (mut log, closed) = match open(folder) {
        Ok(opened) => opened,
        Err(StartError::LogShortened { .. }) => return "shortened",
        Err(StartError::LogLost) => return "lost",
        Err(StartError::Witness(_)) => return "no witness",
        Err(StartError::Log(error)) if error.to_string().contains("panicked") => {
            return "sled panicked";
        }
        Err(StartError::Log(_)) => return "damaged",
        Err(other) => panic!("unexpected: {other}"),
    };
    let found = content(&mut log).await.unwrap();
    close(log, closed).await;
    assert_eq!(&found, expected);
    "whole"
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_harmless() {
    let positions = std::env::var("RAFT_FLIPPED_BITS").map_or(POSITIONS, |n| n.parse().unwrap());
    let whole = tempfile::tempdir().unwrap();
    let expected = written(whole.path()).await;
    let files: Vec<PathBuf> = fs::read_dir(whole.path().join("log"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .chain([whole.path().join("witness")])
        .collect();
    let mut outcomes: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(whole.path()).unwrap();
        let length = fs::metadata(&file).unwrap().len();
        for position in 0..positions.min(length) {
            let folder = tempfile::tempdir().unwrap();
            copy(whole.path(), folder.path());
            let mut bytes = fs::read(&file).unwrap();
            let byte = usize::try_from(length * position / positions.min(length)).unwrap();
            bytes[byte] ^= 1 << (position % 8);
            fs::write(folder.path().join(name), bytes).unwrap();
            let outcome = outcome(folder.path(), &expected).await;
            let name = name.with_extension("").display().to_string();
            *outcomes.entry((name, outcome)).or_default() += 1;
        }
    }
    eprintln!("{outcomes:#?}");
    assert!(
        outcomes.contains_key(&("log/db".to_owned(), "whole")),
        "some bytes are dead"
    );
}
