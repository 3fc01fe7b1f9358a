use std::sync::Arc;

use grantry_persistence::journal::{
    Journal, JournalError, JournalMode, JournalOptions, MAX_PAYLOAD, RealDisk, SimulatedDisk,
};

use super::{
    HEADER, NODE, RECORD_HEADER, SeededRng, append, fresh, leave, open, open_with, options, segments, texts,
};

#[tokio::test]
async fn records_come_back_in_order_with_their_numbers_when_the_process_dies() {
    for mode in [JournalMode::Os, JournalMode::Fsync] {
        let disk = SimulatedDisk::new();
        let journal = fresh(&disk, mode);
        for (text, sequence) in [("a", 1), ("b", 2), ("", 3)] {
            assert_eq!(append(&journal, text.as_bytes()).await.sequence(), sequence);
        }
        disk.kill();
        let (_journal, recovery) = open(&disk, mode);
        assert_eq!((recovery.records(), recovery.findings().len()), (3, 0));
        let records: Vec<_> = recovery.map(|record| record.unwrap()).collect();
        let numbers: Vec<_> = records.iter().map(|record| record.receipt.sequence()).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(records[1].payload, b"b");
    }
}

#[tokio::test]
async fn in_mode_fsync_what_was_acknowledged_survives_a_crash_of_the_machine() {
    for seed in 0..200 {
        let disk = SimulatedDisk::new();
        let journal = fresh(&disk, JournalMode::Fsync);
        leave(&journal, &[b'a'; 700]).await;
        leave(&journal, b"b").await;
        disk.crash(&SeededRng::new(seed));
        let (_journal, recovery) = open(&disk, JournalMode::Fsync);
        assert_eq!(recovery.findings(), []);
        assert_eq!(texts(recovery), ["a".repeat(700).as_str(), "b"]);
    }
}

#[tokio::test]
async fn a_payload_above_the_bound_is_refused_and_one_at_the_bound_is_not() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Os);
    let refusal = journal.append(vec![0; MAX_PAYLOAD + 1]).await.unwrap_err();
    assert_eq!(refusal, JournalError::TooLarge { bytes: MAX_PAYLOAD + 1 });
    leave(&journal, &[1; MAX_PAYLOAD]).await;
    disk.kill();
    let (_journal, mut recovery) = open(&disk, JournalMode::Os);
    assert_eq!(recovery.next().unwrap().unwrap().payload, vec![1; MAX_PAYLOAD]);
}

#[tokio::test]
async fn a_segment_is_closed_before_it_gets_too_large_and_when_told_to() {
    let disk = SimulatedDisk::new();
    let journal = fresh(&disk, JournalMode::Os);
    let payload = vec![0; 1000];
    for _ in 0..4 {
        leave(&journal, &payload).await;
    }
    assert_eq!(segments(&disk), ["00000000000000000001.journal", "00000000000000000004.journal"]);
    assert_eq!(disk.content(&segments(&disk)[0]).unwrap().len(), HEADER + 3 * (RECORD_HEADER + 1000));

    journal.seal().await.unwrap();
    leave(&journal, b"x").await;
    assert_eq!(segments(&disk).last().unwrap(), "00000000000000000005.journal");
}

#[tokio::test]
async fn the_journal_takes_no_more_than_its_bound_until_something_is_drained() {
    let disk = SimulatedDisk::new();
    let bound = JournalOptions { max_bytes: 8192, ..options(JournalMode::Os) };
    let (journal, _) = open_with(&disk, bound);
    let mut receipts = Vec::new();
    for _ in 0..7 {
        receipts.push(append(&journal, &[0; 1000]).await);
    }
    let refusal = journal.append(vec![0; 1000]).await.unwrap_err();
    assert_eq!(refusal, JournalError::Full { max_bytes: 8192 });
    for receipt in receipts.drain(..3) {
        journal.drained(receipt);
    }
    leave(&journal, &[0; 1000]).await;
}

#[tokio::test]
async fn a_journal_of_which_everything_is_drained_is_never_full() {
    let disk = SimulatedDisk::new();
    let bound = JournalOptions { max_bytes: 2048, ..options(JournalMode::Os) };
    let (journal, _) = open_with(&disk, bound);
    for _ in 0..50 {
        let receipt = append(&journal, &[0; 1000]).await;
        journal.drained(receipt);
    }
    assert_eq!(segments(&disk).len(), 1);
}

/// The thread is held up by the first append: the disk answers when it is told to.
#[tokio::test]
async fn a_full_queue_is_an_error_at_once_and_what_waited_is_one_group() {
    let disk = super::held_disk::HeldDisk::default();
    let options = JournalOptions { queue_capacity: 3, ..JournalOptions::new(JournalMode::Os) };
    let (journal, _) = Journal::open(Arc::new(disk.clone()), NODE, options).unwrap();
    let journal = Arc::new(journal);

    disk.hold();
    let first = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.append(b"first".to_vec()).await }
    });
    disk.wait_until_held().await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let journal = Arc::clone(&journal);
        let mut append = Box::pin(async move { journal.append(b"waits".to_vec()).await });
        assert!(poll_once(append.as_mut()).is_none());
        waiting.push(append);
    }
    assert_eq!(journal.append(b"one too many".to_vec()).await, Err(JournalError::Overloaded));
    disk.release();

    assert_eq!(first.await.unwrap().unwrap().sequence(), 1);
    for (append, sequence) in waiting.into_iter().zip(2..) {
        assert_eq!(append.await.unwrap().sequence(), sequence);
    }
    assert_eq!(disk.writes(), 3, "the header, the first record, and a group of three");
}

/// Polls once, with nobody to wake.
fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_get_numbers_of_their_own_and_every_record_comes_back() {
    for mode in [JournalMode::Os, JournalMode::Fsync] {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::new(directory.path()));
        let options = JournalOptions { segment_bytes: 16 * 1024, ..JournalOptions::new(mode) };
        let (journal, _) = Journal::open(disk.clone(), NODE, options).unwrap();
        let journal = Arc::new(journal);
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move {
                    let mut appended = Vec::new();
                    for record in 0..20 {
                        let text = format!("{task}/{record}");
                        let receipt = journal.append(text.clone().into_bytes()).await.unwrap();
                        appended.push((receipt.sequence(), text));
                    }
                    appended
                })
            })
            .collect();
        let mut appended = Vec::new();
        for task in tasks {
            appended.extend(task.await.unwrap());
        }
        appended.sort_unstable();
        drop(journal);

        let (_journal, recovery) = Journal::open(disk, NODE, options).unwrap();
        let recovered: Vec<_> = recovery
            .map(|record| record.unwrap())
            .map(|record| (record.receipt.sequence(), String::from_utf8(record.payload).unwrap()))
            .collect();
        assert_eq!(recovered, appended);
    }
}
