//! The log against openraft's own suite, across restarts, and against damage.

use std::{cell::Cell, path::PathBuf, time::Duration};

use openraft::{
    EntryPayload, StorageError,
    testing::log::{StoreBuilder, Suite},
    type_config::TypeConfigExt,
};
use tempfile::TempDir;

use super::*;

#[path = "log_damage_tests.rs"]
mod damage;
use crate::{
    GroupId, RecordError, StateMachine, View, machine::Machine, snapshot_file::SnapshotFile,
    types::CommandBytes, wire::MAX_COMMAND_BYTES,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Keeps nothing: the suite is about the log.
#[derive(Clone)]
struct Nothing;

impl StateMachine for Nothing {
    type Command = ();
    type Reply = ();

    fn apply(&mut self, _index: u64, _command: ()) {}

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(Self)
    }
}

fn open(folder: &Path) -> Result<(Log, watch::Receiver<()>), StartError> {
    let identity = IdentityFile::open(folder, GroupId::from_bytes([1; 16]), 0, 1)?;
    let holds_data = identity.holds_data();
    let witness = || Witness::open(folder, holds_data);
    Log::open(&folder.join("log"), identity, witness)
}

async fn close(log: Log, mut closed: watch::Receiver<()>) {
    drop(log);
    let closed = tokio::time::timeout(DEADLINE, closed.changed()).await;
    closed
        .expect("the log is closed in time")
        .expect_err("nothing is ever sent");
}

fn log_id(term: u64, index: u64) -> LogId {
    let committed = openraft::vote::leader_id_adv::LeaderId { term, node_id: 1 };
    LogId::new(committed, index)
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(CommandBytes(vec![index as u8; bytes].into())),
    }
}

async fn append(log: &mut Log, entries: impl IntoIterator<Item = Entry> + Send) {
    let entries: Vec<Entry> = entries.into_iter().collect();
    let (done, flushed) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(done)).await.unwrap();
    flushed.await.unwrap().unwrap();
}

struct Builder;

impl StoreBuilder<TypeConfig, Log, Machine<Nothing>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine<Nothing>), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = open(folder.path()).unwrap();
        let (view, _) = watch::channel(View::FIRST);
        let machine = Machine::open(SnapshotFile::new(folder.path()), Nothing, view).unwrap();
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_suite_of_openraft() {
    Suite::<TypeConfig, Log, Machine<Nothing>, Builder, TempDir>::test_all(Builder)
        .await
        .unwrap();
}

#[tokio::test]
async fn vote_and_entries_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(folder.path()).unwrap();
    assert!(log.is_fresh());
    let vote = Vote::new(3, 2);
    log.save_vote(&vote).await.unwrap();
    append(&mut log, (0..10).map(|index| entry(1, index, 10))).await;
    log.truncate_after(Some(log_id(1, 6))).await.unwrap();
    append(&mut log, [entry(2, 7, 10_000)]).await;
    log.save_committed(Some(log_id(1, 5))).await.unwrap();
    log.purge(log_id(1, 2)).await.unwrap();
    close(log, closed).await;

    let (mut log, _) = open(folder.path()).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 5)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id),
        (Some(log_id(1, 2)), Some(log_id(2, 7)))
    );
    let entries = log.try_get_log_entries(..).await.unwrap();
    let expected: Vec<_> = (3..7)
        .map(|index| entry(1, index, 10))
        .chain([entry(2, 7, 10_000)])
        .collect();
    assert_eq!(entries, expected);
}

#[tokio::test]
async fn what_was_truncated_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _closed) = open(folder.path()).unwrap();
    append(&mut log, (0..10).map(|index| entry(1, index, 10))).await;
    log.truncate_after(Some(log_id(1, 6))).await.unwrap();
    // What a process leaves that is killed here.
    let left = tempfile::tempdir().unwrap();
    std::fs::create_dir(left.path().join("log")).unwrap();
    for inner in ["", "log"] {
        for file in std::fs::read_dir(folder.path().join(inner)).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                let to = left.path().join(inner).join(file.file_name());
                std::fs::copy(file.path(), to).unwrap();
            }
        }
    }
    let (mut log, _) = open(left.path()).unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(log_id(1, 6)));
}

thread_local! {
    /// Breaks the rule that a vote is on the platter before it is answered.
    pub(super) static VOTES_ARE_ANSWERED_FIRST: Cell<bool> = const { Cell::new(false) };
}

/// How often the log was flushed until a vote was answered.
async fn flushes_of_a_vote() -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    log.save_vote(&Vote::new(3, 2)).await.unwrap();
    log.flushes().flushes.load(Relaxed)
}

/// Two leaders in one term are what a vote that a power cut takes back can lead to. On hosts nearly every power cut
/// comes too late: the first entry of the leader, some milliseconds after the vote, flushes both.
#[tokio::test]
async fn a_vote_is_flushed_before_it_is_answered_and_this_test_would_notice() {
    assert_eq!(flushes_of_a_vote().await, 1);
    VOTES_ARE_ANSWERED_FIRST.set(true);
    assert_eq!(flushes_of_a_vote().await, 0);
}

#[tokio::test]
async fn a_lost_log_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(folder.path()).unwrap();
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    close(log, closed).await;
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, StartError::LogLost), "{error}");
}

#[tokio::test]
async fn a_log_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_log, _closed) = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(StartError::InUse)));
}

/// Opens a log of five entries after `damage` was done to its tree of entries.
async fn open_damaged(damage: impl FnOnce(&sled::Tree)) -> Result<u64, String> {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(folder.path()).unwrap();
    append(&mut log, (0..5).map(|index| entry(1, index, 10_000))).await;
    damage(&log.entries);
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    close(log, closed).await;
    let describe = |error: StartError| match error {
        StartError::Log(error) => error.to_string(),
        other => other.to_string(),
    };
    let (log, _) = open(folder.path()).map_err(describe)?;
    Ok(log.last_index().unwrap().unwrap())
}

#[tokio::test]
async fn damage_to_the_log_is_noticed_when_it_is_opened() {
    let key = |index, part: u16| {
        let mut key = log_parts::first_key(index);
        key[8..].copy_from_slice(&part.to_be_bytes());
        key
    };
    let hole =
        open_damaged(|tree| (0..3).for_each(|part| drop(tree.remove(key(2, part)).unwrap()))).await;
    assert_eq!(hole.unwrap_err(), "log has entry 3 where 2 is due");
    let lost_part = open_damaged(|tree| drop(tree.remove(key(2, 1)).unwrap())).await;
    assert_eq!(lost_part.unwrap_err(), "log entry 2 lacks part 1");
    let flipped = open_damaged(|tree| {
        let mut part = tree.get(key(2, 1)).unwrap().unwrap().to_vec();
        part[100] ^= 1;
        tree.insert(key(2, 1), part).unwrap();
    });
    assert_eq!(flipped.await.unwrap_err(), "record fails its checksum");
}

#[tokio::test]
async fn a_last_entry_cut_short_by_a_crash_is_dropped() {
    let last = open_damaged(|tree| {
        let (stored, _) = log_entry::store(&entry(1, 5, 10_000), 0).unwrap();
        let (key, part) = log_parts::cut(5, &stored).next().unwrap();
        tree.insert(key, part).unwrap();
    });
    assert_eq!(last.await, Ok(4));
}

#[tokio::test]
async fn a_lost_tail_is_noticed() {
    let cut_short = open_damaged(|tree| drop(tree.pop_max().unwrap())).await;
    let expected =
        "the log has lost what this peer acknowledged: entry T1-N1.4, found entry T1-N1.3";
    assert_eq!(cut_short.unwrap_err(), expected);
    let gone = open_damaged(|tree| log_check::remove_from(tree, 0).unwrap()).await;
    let expected = "the log has lost what this peer acknowledged: entry T1-N1.4, found none";
    assert_eq!(gone.unwrap_err(), expected);
}

/// sled can skip a damaged part of its file in which entries were replaced, and so bring back what they were before.
#[tokio::test]
async fn an_older_entry_that_comes_back_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(folder.path()).unwrap();
    append(&mut log, (0..5).map(|index| entry(1, index, 10))).await;
    let key = log_parts::first_key(3);
    let older = log.entries.get(key).unwrap().unwrap();
    log.truncate_after(Some(log_id(1, 2))).await.unwrap();
    append(&mut log, (3..8).map(|index| entry(2, index, 10))).await;
    log.entries.insert(key, older).unwrap();
    let error = log.try_get_log_entries(..).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "log entry 4 does not follow the entry before it"
    );
    log.save_vote(&Vote::new(2, 1)).await.unwrap();
    close(log, closed).await;
    let Err(StartError::Log(error)) = open(folder.path()) else {
        panic!("the log opens");
    };
    assert_eq!(
        error.to_string(),
        "log entry 4 does not follow the entry before it"
    );
}

#[tokio::test]
async fn a_vote_that_is_taken_back_is_noticed() {
    let check = async |vote: Option<Vote>| {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, closed) = open(folder.path()).unwrap();
        append(&mut log, [entry(1, 0, 10)]).await;
        log.save_vote(&Vote::new(3, 2)).await.unwrap();
        match vote {
            Some(vote) => log.write_mark(VOTE, &vote).unwrap(),
            None => drop(log.marks.remove(VOTE).unwrap()),
        }
        close(log, closed).await;
        match open(folder.path()) {
            Err(StartError::LogShortened { what }) => Some(what),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    assert_eq!(check(None).await.unwrap(), "vote <T3-N2:->, found none");
    let older = check(Some(Vote::new(2, 3))).await;
    assert_eq!(older.unwrap(), "vote <T3-N2:->, found <T2-N3:->");
    assert_eq!(check(Some(Vote::new(3, 2))).await, None);
    assert_eq!(check(Some(Vote::new_committed(3, 2))).await, None);
    assert_eq!(check(Some(Vote::new(4, 1))).await, None);
}

/// The disk has what was truncated and what was not yet written anew: both are what a power cut may leave.
#[tokio::test]
async fn a_truncated_tail_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(folder.path()).unwrap();
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    append(&mut log, (0..10).map(|index| entry(1, index, 10))).await;
    log.truncate_after(Some(log_id(1, 3))).await.unwrap();
    close(log, closed).await;
    let (mut log, closed) = open(folder.path()).unwrap();
    assert_eq!(log.last_index().unwrap(), Some(3));
    append(&mut log, (4..6).map(|index| entry(2, index, 10))).await;
    log.truncate_after(None).await.unwrap();
    close(log, closed).await;
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_purge_cut_short_by_a_crash_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(folder.path()).unwrap();
    append(&mut log, (0..500).map(|index| entry(1, index, 10))).await;
    log.write_mark(PURGED, &log_id(1, 399)).unwrap();
    close(log, closed).await;
    let (log, _) = open(folder.path()).unwrap();
    assert_eq!(log.entries.len(), 100);
}

#[tokio::test]
async fn a_purge_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    append(&mut log, (0..1000).map(|index| entry(1, index, 10))).await;
    log.purge(log_id(1, 999)).await.unwrap();
    assert_eq!(
        log.get_log_state().await.unwrap().last_log_id,
        Some(log_id(1, 999))
    );
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), []);
    let emptied = async {
        while !log.entries.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, emptied)
        .await
        .expect("purged entries are removed in time");
}

#[tokio::test]
async fn appends_that_wait_together_share_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    let mut answers = Vec::new();
    for index in 0..500 {
        let (done, flushed) = TypeConfig::oneshot();
        log.append([entry(1, index, 100)], IOFlushed::signal(done))
            .await
            .unwrap();
        answers.push(flushed);
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    let flushes = log.writer.flushes.flushes.load(Relaxed);
    assert_eq!(log.writer.flushes.writes.load(Relaxed), 500);
    assert!(flushes < 250, "{flushes} flushes for 500 appends");
}

#[tokio::test]
async fn the_largest_entries_stay_inside_the_file_of_sled() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, closed) = open(folder.path()).unwrap();
    // Bytes that do not repeat, overwritten and purged in between: every way in which sled folds its leaves.
    for round in 0..4 {
        let first = round * 50;
        append(
            &mut log,
            (first..first + 100).map(|index| entry(round, index, MAX_COMMAND_BYTES)),
        )
        .await;
        log.truncate_after(Some(log_id(round, first + 49)))
            .await
            .unwrap();
        if let Some(purged) = first.checked_sub(20) {
            log.purge(log_id(round, purged)).await.unwrap();
        }
    }
    close(log, closed).await;
    let blobs: PathBuf = folder.path().join("log/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
    open(folder.path()).unwrap();
}
