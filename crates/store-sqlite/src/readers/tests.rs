use std::sync::Arc;
use std::sync::mpsc;

use grantry_store::{NodeId, Nodes};
use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::nodes::node_upsert;
use crate::scratch::Scratch;

fn one_thread() -> Scratch {
    Scratch::new(SqliteOptions { reader_threads: 1, ..SqliteOptions::default() })
}

/// Keeps the one thread busy until the sender is used or dropped; answers when it is.
async fn occupy(scratch: &Scratch) -> (mpsc::Sender<()>, JoinHandle<Result<()>>) {
    let (release, released) = mpsc::channel();
    let (begin, begun) = oneshot::channel();
    let store = Arc::clone(&scratch.store);
    let task = tokio::spawn(async move {
        let read = move |_: &Snapshot<'_>| {
            let _ = begin.send(());
            let _ = released.recv();
            Ok(())
        };
        store.readers.run(read).await
    });
    begun.await.unwrap();
    (release, task)
}

fn count_nodes(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM nodes", [], |row| row.get(0))
}

#[tokio::test]
async fn reads_that_arrive_while_the_thread_is_busy_share_one_snapshot() {
    let scratch = one_thread();
    let (release, _task) = occupy(&scratch).await;
    let elsewhere = Connection::open(&scratch.path).unwrap();
    let write_between = move |snapshot: &Snapshot<'_>| {
        let before = count_nodes(snapshot)?;
        node_upsert(&elsewhere, NodeId([1; 16]), None, grantry_protocol::Timestamp::from_secs(1))?;
        Ok(before)
    };
    let readers = &scratch.store.readers;
    let (first, second, ()) = tokio::join!(
        biased;
        readers.run(write_between),
        readers.run(|snapshot| count_nodes(snapshot)),
        async { drop(release) },
    );
    assert_eq!((first, second), (Ok(0), Ok(0)));
    assert_eq!(readers.run(|snapshot| count_nodes(snapshot)).await, Ok(1));
}

#[tokio::test]
async fn a_panic_over_one_read_spares_the_others_of_its_group() {
    let scratch = one_thread();
    let (release, _task) = occupy(&scratch).await;
    let readers = &scratch.store.readers;
    let (panicked, other, ()) = tokio::join!(
        biased;
        readers.run(|_| -> rusqlite::Result<()> { panic!("for the test") }),
        readers.run(|snapshot| count_nodes(snapshot)),
        async { drop(release) },
    );
    assert!(matches!(panicked, Err(StoreError::Corrupt(_))));
    assert_eq!(other, Ok(0));
    assert_eq!(scratch.store.node_list().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_read_after_its_transaction_was_lost_is_an_outage_and_no_mixture() {
    let scratch = one_thread();
    let (release, _task) = occupy(&scratch).await;
    let readers = &scratch.store.readers;
    let (_, other, ()) = tokio::join!(
        biased;
        readers.run(|snapshot| snapshot.execute_batch("ROLLBACK")),
        readers.run(|snapshot| count_nodes(snapshot)),
        async { drop(release) },
    );
    assert!(matches!(other, Err(StoreError::Unavailable { outage: Outage::Io, .. })));
    assert_eq!(readers.run(|snapshot| count_nodes(snapshot)).await, Ok(0));
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_is_left_out() {
    let scratch = one_thread();
    let (release, _task) = occupy(&scratch).await;
    let (ran, has_run) = mpsc::channel();
    let abandoned = scratch.store.readers.run(move |_| ran.send(()).map_err(crate::errors::unwritable));
    // Polled once, it is in the queue; then its caller goes away.
    tokio::select! { biased; _ = abandoned => {}, () = async {} => {} }
    drop(release);
    assert_eq!(scratch.store.node_list().await, Ok(Vec::new()));
    assert!(has_run.recv().is_err());
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let scratch = one_thread();
    let written = scratch.store.readers.run(|snapshot| snapshot.execute("DELETE FROM nodes", []));
    assert!(matches!(written.await, Err(StoreError::Unavailable { outage: Outage::ReadOnly, .. })));
}
