use grantry_persistence::journal::{JournalError, JournalMode, SimulatedDisk};

use super::{append, fresh, leave, open, receipts, segments, texts};

#[tokio::test]
async fn a_segment_goes_when_all_of_it_is_drained_in_any_order_and_a_newer_one_exists() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    let (a, b) = (append(&journal, b"a").await, append(&journal, b"b").await);
    journal.seal().await.unwrap();
    let c = append(&journal, b"c").await;

    journal.drained(b);
    assert_eq!(segments(&disk).len(), 2);
    journal.drained(c);
    journal.drained(a);
    assert_eq!(segments(&disk), ["00000000000000000003.journal"], "the newest stays, drained or not");

    journal.seal().await.unwrap();
    leave(&journal, b"d").await;
    assert_eq!(segments(&disk), ["00000000000000000004.journal"]);
}

#[tokio::test]
async fn a_clean_close_with_everything_drained_leaves_no_segment() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    let (a, b) = (append(&journal, b"a").await, append(&journal, b"b").await);
    journal.seal().await.unwrap();
    let c = append(&journal, b"c").await;
    for receipt in [a, b, c] {
        journal.drained(receipt);
    }
    assert_eq!(journal.close().await, Ok(0));
    assert_eq!(segments(&disk), [""; 0]);
    assert_eq!(journal.append(b"late".to_vec()).await, Err(JournalError::Closed));
    assert_eq!(journal.seal().await, Err(JournalError::Closed));
    assert_eq!(journal.close().await, Err(JournalError::Closed));
}

#[tokio::test]
async fn a_close_with_records_left_keeps_their_segments_only() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    let _a = append(&journal, b"a").await;
    journal.seal().await.unwrap();
    let b = append(&journal, b"b").await;
    journal.drained(b);
    assert_eq!(journal.close().await, Ok(1));
    assert_eq!(segments(&disk), ["00000000000000000001.journal"]);

    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(texts(recovery), ["a"]);
}

#[tokio::test]
async fn recovered_records_are_drained_like_new_ones_and_new_ones_go_to_a_new_segment() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    leave(&journal, b"a").await;
    leave(&journal, b"b").await;
    disk.kill();

    let (journal, recovery) = open(&disk, JournalMode::Fsync);
    let c = append(&journal, b"c").await;
    assert_eq!(c.sequence(), 3);
    assert_eq!(segments(&disk), ["00000000000000000001.journal", "00000000000000000003.journal"]);
    for receipt in receipts(recovery) {
        journal.drained(receipt);
    }
    assert_eq!(segments(&disk), ["00000000000000000003.journal"]);
    journal.drained(c);
    assert_eq!(journal.close().await, Ok(0));
    assert_eq!(segments(&disk), [""; 0]);
}

#[tokio::test]
async fn records_that_nobody_took_from_the_recovery_stay_for_the_next_start() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Fsync);
    leave(&journal, b"a").await;
    leave(&journal, b"b").await;
    disk.kill();

    let (journal, mut recovery) = open(&disk, JournalMode::Fsync);
    let a = recovery.next().unwrap().unwrap();
    drop(recovery);
    journal.drained(a.receipt);
    leave(&journal, b"c").await;
    assert_eq!(journal.close().await, Ok(2));
    let (_journal, recovery) = open(&disk, JournalMode::Fsync);
    assert_eq!(
        texts(recovery),
        ["a", "b", "c"],
        "draining is not written down, so all of the segment comes back"
    );
}

#[tokio::test]
async fn a_segment_can_be_drained_while_it_is_still_being_recovered() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Os);
    for _ in 0..30 {
        leave(&journal, &[b'x'; 500]).await;
    }
    disk.kill();
    let (journal, recovery) = open(&disk, JournalMode::Os);
    let mut count = 0;
    for record in recovery {
        journal.drained(record.unwrap().receipt);
        count += 1;
    }
    assert_eq!((count, segments(&disk).len()), (30, 1));
    assert_eq!(journal.close().await, Ok(0));
}

#[tokio::test]
async fn a_segment_that_cannot_be_removed_is_tried_again_with_the_next() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Os);
    let a = append(&journal, b"a").await;
    journal.seal().await.unwrap();
    leave(&journal, b"b").await;
    disk.set_broken(true);
    journal.drained(a);
    assert_eq!(segments(&disk).len(), 2);
    disk.set_broken(false);
    journal.seal().await.unwrap();
    leave(&journal, b"c").await;
    assert_eq!(segments(&disk).len(), 2, "those of b and c");
}
