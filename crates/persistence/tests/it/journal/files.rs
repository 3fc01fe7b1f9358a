//! On the real file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use grantry_persistence::journal::{
    FindingKind, Journal, JournalMode, JournalOpenError, JournalOptions, RealDisk, Recovery,
};
use tempfile::TempDir;

use super::{HEADER, NODE, append, leave, segments, set_aside, texts};

fn open(directory: &Path, mode: JournalMode) -> Result<(Journal, Recovery), JournalOpenError> {
    Journal::open(Arc::new(RealDisk::new(directory)), NODE, JournalOptions::new(mode))
}

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn what_was_not_drained_comes_back_when_the_journal_is_dropped_without_a_close() {
    for mode in [JournalMode::Os, JournalMode::Fsync] {
        let directory = scratch();
        let (journal, _) = open(directory.path(), mode).unwrap();
        leave(&journal, b"a").await;
        leave(&journal, b"b").await;
        drop(journal);

        let (journal, recovery) = open(directory.path(), mode).unwrap();
        assert_eq!(texts(recovery), ["a", "b"]);
        assert_eq!(journal.close().await, Ok(2));
    }
}

#[tokio::test]
async fn after_everything_was_drained_and_closed_only_the_lock_and_the_node_are_left() {
    let directory = scratch();
    let (journal, _) = open(directory.path(), JournalMode::Fsync).unwrap();
    let receipt = append(&journal, b"a").await;
    journal.drained(receipt);
    assert_eq!(journal.close().await, Ok(0));
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lock", "node"]);
}

#[tokio::test]
async fn the_directory_is_made_and_all_in_it_is_its_owners_alone() {
    let parent = scratch();
    let directory = parent.path().join("deep/er/journal");
    let (journal, _) = open(&directory, JournalMode::Fsync).unwrap();
    leave(&journal, b"a").await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&parent.path().join("deep")), 0o700);
    for name in ["lock", "node", "00000000000000000001.journal"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_second_journal_in_the_directory_is_refused_with_the_key_to_set() {
    let directory = scratch();
    let (journal, _) = open(directory.path(), JournalMode::Os).unwrap();
    let refusal = open(directory.path(), JournalMode::Os).err().unwrap();
    assert!(matches!(refusal, JournalOpenError::Locked { .. }));
    let refusal = refusal.to_string();
    assert!(refusal.contains(directory.path().to_str().unwrap()), "{refusal}");
    assert!(refusal.contains("token_persistence.journal_dir"), "{refusal}");

    journal.close().await.unwrap();
    open(directory.path(), JournalMode::Os).unwrap();
}

#[tokio::test]
async fn the_torn_end_of_a_file_is_cut_off_and_kept() {
    let directory = scratch();
    let (journal, _) = open(directory.path(), JournalMode::Os).unwrap();
    leave(&journal, b"whole").await;
    leave(&journal, b"torn").await;
    drop(journal);
    let disk = RealDisk::new(directory.path());
    let segment = directory.path().join(&segments(&disk)[0]);
    let written = fs::read(&segment).unwrap();
    fs::write(&segment, &written[..written.len() - 1]).unwrap();

    let (_journal, recovery) = open(directory.path(), JournalMode::Os).unwrap();
    let finding = &recovery.findings()[0];
    let good = HEADER + 16 + 5;
    assert_eq!((finding.kind, finding.offset, finding.bytes), (FindingKind::Torn, good as u64, 19));
    assert_eq!(texts(recovery), ["whole"]);
    assert_eq!(fs::read(&segment).unwrap(), written[..good]);
    assert_eq!(set_aside(&disk), ["00000000000000000001.journal.torn-61"]);
    let kept = directory.path().join(&set_aside(&disk)[0]);
    assert_eq!(fs::read(kept).unwrap(), written[good..written.len() - 1]);
}

#[tokio::test]
async fn a_drained_segment_is_removed_by_the_thread() {
    let directory = scratch();
    let (journal, _) = open(directory.path(), JournalMode::Os).unwrap();
    let a = append(&journal, b"a").await;
    journal.seal().await.unwrap();
    leave(&journal, b"b").await;
    journal.drained(a);
    // The queue is in order, so the thread has done it by the time that it answers this.
    journal.seal().await.unwrap();
    assert_eq!(segments(&RealDisk::new(directory.path())), ["00000000000000000002.journal"]);
}
