use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Barrier};

use grantry_protocol::{LogKind, ManualClock, Timestamp};
use grantry_store::{KeyChange, KeyPurpose, KeyRecord, Revocations, StoredToken, TokenWrite};
use grantry_store_sqlite::{OpenError, SchemaVersions, SqliteOptions, SqliteStore};
use rusqlite::Connection;

use super::scratch::Scratch;

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness();
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::ClientChanged).await;
    let (held, revoked) = (harness.issued("billing").await, harness.issued("shipping").await);
    harness.revoke(revoked.id).await;
    harness.write(TokenWrite::Heartbeat { node: grantry_store::NodeId([1; 16]), drained_below: None }).await;
    let key = KeyRecord {
        purpose: KeyPurpose::Signing,
        version: 1,
        sealed: vec![1],
        created_at: harness.now(),
        active_from: harness.now(),
        needed_until: None,
        revoked_at: None,
    };
    let first_keys = KeyChange { from: Vec::new(), to: vec![key.clone()], audit: None };
    harness.store.key_replace(first_keys).await.unwrap();
    let opening = harness.opened("app").await;
    harness.rotated(&opening, 0).await;
    let grant = harness.stored_grant(opening.grant.id).await;
    let (head, log, audit) = (harness.head().await, harness.log().await, harness.audit().await);

    let clock = Arc::clone(&harness.clock);
    let harness = harness.decorated(|store| {
        drop(store);
        assert!(!path.with_extension("db-wal").exists(), "the last to close folds the log into the file");
        Arc::new(SqliteStore::open(&path, SqliteOptions::default(), clock).unwrap())
    });
    let stored = StoredToken { token: held.clone(), ended: None, ended_by_rule: false, holds_slot: true };
    assert_eq!(harness.stored(held.id).await, stored);
    assert_eq!(harness.found("billing").await, Some(client));
    assert_eq!((harness.head().await, harness.log().await, harness.audit().await), (head, log, audit));
    assert!(harness.store.key_list().await.unwrap() == [key]);
    assert_eq!(harness.store.node_list().await.unwrap().len(), 1);
    assert_eq!(harness.stored_grant(opening.grant.id).await, grant);
    assert_eq!(harness.store.token_count().await, Ok(4));
}

#[test]
fn only_the_owner_can_read_what_is_made() {
    let mut scratch = Scratch::new();
    let directory = scratch.path.with_file_name("a").join("b");
    scratch.path = directory.join("grantry.db");
    let _store = scratch.open();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_name_that_sqlite_would_take_for_something_else_is_a_file_like_any_other() {
    for name in [":memory:", "file:x?mode=memory", "a b'c"] {
        let mut scratch = Scratch::new();
        scratch.path.set_file_name(name);
        drop(scratch.open());
        assert!(fs::metadata(&scratch.path).unwrap().len() > 0, "{name}");
    }
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let scratch = Scratch::new();
    fs::write(&scratch.path, "[store]\nurl = \"sqlite:grantry.db\"\n".repeat(40)).unwrap();
    assert!(matches!(scratch.try_open(), Err(OpenError::NotADatabase { .. })));
    assert!(
        scratch.complaint().starts_with(&format!("{} is not an SQLite database", scratch.path.display()))
    );
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let scratch = Scratch::new();
    Connection::open(&scratch.path).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    assert!(matches!(scratch.try_open(), Err(OpenError::AnotherProgram { .. })));
    let mode: String = Connection::open(&scratch.path)
        .unwrap()
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete");
}

#[test]
fn a_directory_in_place_of_the_file_is_named() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.path).unwrap();
    assert!(scratch.complaint().contains("is a directory; [store] url must name a file"));
    assert!(matches!(SqliteStore::schema_versions(&scratch.path), Err(OpenError::IsADirectory { .. })));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let mut scratch = Scratch::new();
    fs::write(&scratch.path, "").unwrap();
    scratch.path = scratch.path.join("data").join("grantry.db");
    assert!(matches!(scratch.try_open(), Err(OpenError::Directory { .. })));
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let connection = Connection::open(&scratch.path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let complaint = scratch.complaint();
    assert!(
        complaint.contains("newer version of grantry: its schema has version 99, this one knows up to 6")
    );
    assert!(SqliteStore::schema_versions(&scratch.path).is_err());
    let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[test]
fn the_schema_can_be_asked_for_without_touching_the_file() {
    let scratch = Scratch::new();
    let missing = SqliteStore::schema_versions(&scratch.path).unwrap();
    assert_eq!(missing, SchemaVersions { found: 0, needed: 6 });
    assert!(missing.is_behind() && !scratch.path.exists());

    drop(scratch.open());
    let current = SqliteStore::schema_versions(&scratch.path).unwrap();
    assert_eq!(current, SchemaVersions { found: 6, needed: 6 });
    assert!(!current.is_behind());
}

#[tokio::test]
async fn processes_that_start_at_once_agree_on_one_store() {
    for _ in 0..20 {
        let scratch = Scratch::new();
        let starting = Barrier::new(4);
        let stores: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                starting.wait();
                scratch.open()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for store in &stores {
            assert_eq!(store.revocation_head().await.unwrap(), grantry_protocol::LogHead::EMPTY);
        }
    }
}

#[test]
fn a_store_can_be_opened_while_another_program_writes() {
    let scratch = Scratch::new();
    let _first = scratch.open();
    let other = Connection::open(&scratch.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(0)));
    SqliteStore::open(&scratch.path, super::scratch::impatient(), clock).unwrap();
}
