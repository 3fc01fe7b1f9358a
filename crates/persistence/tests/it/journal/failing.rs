use std::time::Duration;

use grantry_persistence::journal::{Journal, JournalError, JournalMode, JournalOptions, SimulatedDisk};

use super::{SeededRng, fresh, leave, open, open_with, options, segments, texts};

async fn fails(journal: &Journal, payload: &[u8]) {
    let refusal = journal.append(payload.to_vec()).await.unwrap_err();
    assert!(matches!(refusal, JournalError::Failed(_)), "{refusal}");
}

#[tokio::test]
async fn after_a_failed_sync_the_segment_is_sealed_and_the_next_record_is_durable_in_a_new_one() {
    for seed in 0..100 {
        let disk = SimulatedDisk::new();
        let journal = fresh(&disk, JournalMode::Fsync);
        leave(&journal, b"a").await;
        disk.fail_next_sync();
        fails(&journal, b"b").await;
        leave(&journal, b"c").await;
        assert_eq!(segments(&disk), ["00000000000000000001.journal", "00000000000000000003.journal"]);

        disk.crash(&SeededRng::new(seed));
        let (_journal, recovery) = open(&disk, JournalMode::Fsync);
        let texts = texts(recovery);
        assert!(texts == ["a", "c"] || texts == ["a", "b", "c"], "{texts:?}");
    }
}

/// Cut off if that can be done, so that nothing that was refused comes back.
#[tokio::test]
async fn a_failed_write_seals_the_segment_whatever_of_it_arrived() {
    for (arrived, can_cut) in (0..20).flat_map(|arrived| [(arrived, true), (arrived, false)]) {
        let disk = SimulatedDisk::new();
        let journal = fresh(&disk, JournalMode::Os);
        leave(&journal, b"a").await;
        disk.fail_next_write_after(arrived);
        if !can_cut {
            disk.fail_next_truncate();
        }
        fails(&journal, b"bcd").await;
        leave(&journal, b"e").await;
        assert_eq!(segments(&disk).len(), 2);

        disk.kill();
        let (_journal, recovery) = open(&disk, JournalMode::Os);
        let torn: Vec<_> = recovery.findings().iter().map(|finding| finding.bytes).collect();
        assert_eq!(
            torn,
            if can_cut || arrived == 0 || arrived == 19 { vec![] } else { vec![arrived as u64] }
        );
        let came_back: &[&str] = &["a", "bcd", "e"];
        assert_eq!(texts(recovery), if !can_cut && arrived == 19 { came_back } else { &["a", "e"] });
    }
}

#[tokio::test]
async fn what_a_full_disk_took_is_cut_off_and_the_segment_goes_on_when_there_is_room() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    leave(&journal, b"a").await;
    let name = &segments(&disk)[0];
    let before = disk.content(name).unwrap();

    disk.set_free_bytes(Some(10));
    fails(&journal, b"b").await;
    assert_eq!(disk.content(name).unwrap(), before);
    disk.set_free_bytes(None);
    leave(&journal, b"c").await;
    assert_eq!(segments(&disk).len(), 1);

    disk.kill();
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(recovery.findings(), []);
    assert_eq!(texts(recovery), ["a", "c"]);
}

#[tokio::test]
async fn what_cannot_be_cut_off_seals_the_segment() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    leave(&journal, b"a").await;
    disk.set_free_bytes(Some(10));
    disk.fail_next_truncate();
    fails(&journal, b"b").await;
    disk.set_free_bytes(None);
    leave(&journal, b"c").await;
    assert_eq!(segments(&disk).len(), 2);

    disk.kill();
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(recovery.findings()[0].bytes, 10);
    assert_eq!(texts(recovery), ["a", "c"]);
}

#[tokio::test]
async fn a_directory_entry_that_could_not_be_synced_acknowledges_nothing() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new();
        let journal = fresh(&disk, JournalMode::Fsync);
        disk.fail_next_sync();
        fails(&journal, b"a").await;
        leave(&journal, b"b").await;
        disk.crash(&SeededRng::new(seed));
        let (_journal, recovery) = open(&disk, JournalMode::Fsync);
        assert_eq!(texts(recovery), ["b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_failed_twice_rests_for_the_retry_period_and_is_then_found_to_be_back() {
    let disk = SimulatedDisk::new();
    let rest = JournalOptions { retry_period: Duration::from_secs(1), ..options(JournalMode::Fsync) };
    let (journal, _) = open_with(&disk, rest);
    leave(&journal, b"a").await;
    disk.set_broken(true);
    fails(&journal, b"b").await;
    fails(&journal, b"c").await;

    disk.set_broken(false);
    fails(&journal, b"not tried").await;
    tokio::time::advance(Duration::from_millis(999)).await;
    fails(&journal, b"not tried").await;
    tokio::time::advance(Duration::from_millis(1)).await;
    leave(&journal, b"d").await;

    disk.kill();
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(texts(recovery), ["a", "d"]);
}

#[tokio::test]
async fn a_disk_that_stays_full_is_not_littered_with_segments() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    disk.set_free_bytes(Some(10));
    for _ in 0..20 {
        fails(&journal, b"a").await;
    }
    assert_eq!(segments(&disk).len(), 1);
    disk.set_free_bytes(None);
    leave(&journal, b"b").await;
    assert_eq!(segments(&disk).len(), 1);
    disk.kill();
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(texts(recovery), ["b"]);
}
