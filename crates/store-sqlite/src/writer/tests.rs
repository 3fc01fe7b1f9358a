use std::sync::mpsc;

use grantry_store::{NodeId, Nodes, Outage};

use super::*;
use crate::nodes::node_upsert;
use crate::scratch::Scratch;

fn write_node(tx: &WriteTx<'_>) -> rusqlite::Result<()> {
    node_upsert(tx, NodeId([1; 16]), None, tx.now)
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_behind() {
    let scratch = Scratch::new(SqliteOptions::default());
    let failing = |tx: &mut WriteTx<'_>| {
        write_node(tx)?;
        tx.execute("INSERT INTO nodes (id, last_heartbeat) VALUES (x'00', 'text')", [])
    };
    assert!(matches!(scratch.store.writer.run(failing).await, Err(StoreError::Rejected(_))));
    assert_eq!(scratch.store.node_list().await, Ok(Vec::new()));
    assert_eq!(scratch.store.writer.run(|tx| write_node(tx)).await, Ok(()));
}

#[tokio::test]
async fn a_panic_over_a_write_rolls_back_and_the_next_one_succeeds() {
    let scratch = Scratch::new(SqliteOptions::default());
    let panicking = |tx: &mut WriteTx<'_>| -> rusqlite::Result<()> {
        write_node(tx)?;
        panic!("for the test")
    };
    assert!(matches!(scratch.store.writer.run(panicking).await, Err(StoreError::Rejected(_))));
    assert_eq!(scratch.store.node_list().await, Ok(Vec::new()));
    assert_eq!(scratch.store.writer.run(|tx| write_node(tx)).await, Ok(()));
}

#[tokio::test]
async fn a_write_is_done_even_if_its_caller_goes_away() {
    let scratch = Scratch::new(SqliteOptions::default());
    let write = scratch.store.writer.run(|tx| write_node(tx));
    tokio::select! { biased; _ = write => {}, () = async {} => {} }
    // The next write comes after it.
    assert_eq!(scratch.store.writer.run(|_| Ok(())).await, Ok(()));
    assert_eq!(scratch.store.node_list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_in_the_queue_is_written_before_the_store_is_gone() {
    let Scratch { store, path, directory: _directory } = Scratch::new(SqliteOptions::default());
    let (release, released) = mpsc::channel::<()>();
    {
        let occupied = store.writer.run(move |_| {
            let _ = released.recv();
            Ok(())
        });
        let write = store.writer.run(|tx| write_node(tx));
        tokio::select! { biased; _ = occupied => {}, _ = write => {}, () = async {} => {} }
    }
    drop(release);
    drop(store);
    let nodes: i64 = Connection::open(path)
        .unwrap()
        .query_row("SELECT count(*) FROM nodes", [], |row| row.get(0))
        .unwrap();
    assert_eq!(nodes, 1);
}

#[tokio::test]
async fn a_full_queue_is_overloaded_and_loses_nothing() {
    let options =
        SqliteOptions { write_queue: 1, queue_timeout: Duration::from_millis(5), ..SqliteOptions::default() };
    let scratch = Scratch::new(options);
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = oneshot::channel();
    let writer = &scratch.store.writer;
    let occupied = writer.run(move |_| {
        let _ = begin.send(());
        let _ = released.recv();
        Ok(())
    });
    let crowd = async {
        begun.await.unwrap();
        tokio::join!(biased; writer.run(|tx| write_node(tx)), async {
            let refused = writer.run(|_| Ok(())).await;
            drop(release);
            refused
        })
    };
    let (occupied, (queued, refused)) = tokio::join!(biased; occupied, crowd);
    assert_eq!((occupied, queued), (Ok(()), Ok(())));
    assert!(matches!(refused, Err(StoreError::Unavailable { outage: Outage::Overloaded, .. })));
}
