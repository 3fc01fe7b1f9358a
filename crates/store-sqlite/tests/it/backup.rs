use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grantry_protocol::TokenState;
use grantry_store::conformance::{Harness, issue};
use grantry_store::{AuditEntry, TokenWrite};
use grantry_store_sqlite::{BackupError, OpenError, Progress, SqliteOptions, SqliteStore};
use rusqlite::Connection;
use serde_json::json;
use tokio::runtime::Handle;

use super::scratch::Scratch;

/// Enough for several steps of copying.
pub async fn fill(harness: &Harness) {
    for _ in 0..40 {
        let detail = json!("x".repeat(250_000));
        let entry = AuditEntry { detail, ..harness.entry("test.fill", "nothing") };
        harness.store.audit_append(entry).await.unwrap();
    }
}

pub fn backup_path(store: &Path) -> PathBuf {
    store.with_file_name("backup.db")
}

pub fn ignore(_: Progress) {}

/// The names in the directory that are no part of a store or a backup of these tests.
pub fn leftovers(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("partial")).collect()
}

/// Copies of a store that stand still can be opened by themselves.
fn reopened(harness: Harness, path: &Path) -> Harness {
    let clock = Arc::clone(&harness.clock);
    harness.decorated(|_| Arc::new(SqliteStore::open(path, SqliteOptions::default(), clock).unwrap()))
}

#[tokio::test]
async fn a_backup_is_a_file_of_its_own_with_all_that_the_store_has() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let target = backup_path(&path);
    let harness = scratch.harness();
    harness.insert(&harness.client("billing")).await;
    let opening = harness.opened("app").await;
    let (live, revoked) = (harness.issued("billing").await, harness.issued("shop").await);
    harness.revoke(revoked.id).await;
    let grant = harness.stored_grant(opening.grant.id).await;
    let (head, log, audit) = (harness.head().await, harness.log().await, harness.audit().await);

    SqliteStore::backup(&path, &target, ignore).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&target).unwrap();
    assert_eq!(bytes[18..20], [1, 1], "no write-ahead log belongs to it");
    assert!(!path.with_file_name("backup.db-wal").exists());
    assert_eq!(leftovers(&path), [""; 0]);

    let harness = reopened(harness, &target);
    assert_eq!(harness.state(live.id).await, TokenState::Active);
    assert_eq!(harness.state(revoked.id).await, TokenState::Revoked);
    assert_eq!(harness.stored_grant(opening.grant.id).await, grant);
    assert_eq!((harness.head().await, harness.log().await, harness.audit().await), (head, log, audit));
    assert!(harness.found("billing").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_of_one_moment_whatever_is_written_meanwhile_and_does_not_start_over() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let target = backup_path(&path);
    let harness = Arc::new(scratch.harness());
    fill(&harness).await;
    let before = harness.issued("before").await;
    let head = harness.head().await;

    let (writing, source, destination) = (Arc::clone(&harness), path.clone(), target.clone());
    let copying = tokio::task::spawn_blocking(move || {
        let mut reports = Vec::new();
        let write_between = |progress| {
            reports.push(progress);
            assert!(reports.len() < 10, "it starts over: {reports:?}");
            let token = writing.token(&format!("during {}", reports.len()));
            let batch =
                vec![issue(&token), TokenWrite::Revoke { id: before.id, unwritten: None, audit: None }];
            Handle::current().block_on(writing.store.token_write(batch)).unwrap();
        };
        SqliteStore::backup(&source, &destination, write_between).unwrap();
        reports
    });
    let reports = copying.await.unwrap();
    assert!(reports.len() >= 3, "{reports:?}");
    assert!(reports.is_sorted_by(|earlier, later| earlier.pages_done < later.pages_done), "{reports:?}");
    let total = reports[0].pages_total;
    assert!(reports.iter().all(|report| report.pages_total == total), "{reports:?}");
    assert_eq!(reports.last().unwrap().pages_done, total);

    assert_eq!(harness.state(before.id).await, TokenState::Revoked);
    assert_eq!(harness.store.token_count().await, Ok(1 + reports.len() as u64));
    let harness = reopened(Arc::into_inner(harness).unwrap(), &target);
    assert_eq!(harness.state(before.id).await, TokenState::Active);
    assert_eq!(harness.store.token_count().await, Ok(1));
    assert_eq!(harness.head().await, head);
}

#[test]
fn a_backup_never_overwrites_anything() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let target = backup_path(&scratch.path);
    fs::write(&target, "precious").unwrap();
    let refused = SqliteStore::backup(&scratch.path, &target, ignore);
    assert!(matches!(refused, Err(BackupError::TargetExists { .. })));
    assert_eq!(fs::read(&target).unwrap(), b"precious");

    // Nor what came there meanwhile.
    fs::remove_file(&target).unwrap();
    let refused = SqliteStore::backup(&scratch.path, &target, |_| fs::write(&target, "precious").unwrap());
    assert!(matches!(refused, Err(BackupError::TargetExists { .. })));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(leftovers(&target), [""; 0]);
}

#[test]
fn what_is_no_store_is_not_backed_up() {
    let scratch = Scratch::new();
    let (path, target) = (&scratch.path, backup_path(&scratch.path));
    let refused = || SqliteStore::backup(path, &target, ignore).unwrap_err();
    assert!(matches!(refused(), BackupError::Open(OpenError::Store { .. })), "a file that is missing");
    assert!(!path.exists());
    fs::write(path, "").unwrap();
    assert!(matches!(refused(), BackupError::NoStore { .. }));
    fs::write(path, "no database".repeat(100)).unwrap();
    assert!(matches!(refused(), BackupError::Open(OpenError::NotADatabase { .. })));
    fs::remove_file(path).unwrap();
    Connection::open(path).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    assert!(matches!(refused(), BackupError::Open(OpenError::AnotherProgram { .. })));
    assert!(!target.exists());
    assert_eq!(leftovers(&target), [""; 0]);
}

#[test]
fn a_backup_to_a_directory_that_is_missing_names_it() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let target = scratch.path.with_file_name("missing").join("backup.db");
    let refused = SqliteStore::backup(&scratch.path, &target, ignore);
    assert!(matches!(refused, Err(BackupError::File { .. })));
}

#[tokio::test]
async fn a_store_that_is_damaged_is_not_backed_up_as_if_it_were_sound() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness();
    for number in 0..200 {
        harness.issued(&format!("client {number}")).await;
    }
    let harness = harness.decorated(|store| {
        drop(store);
        Arc::new(grantry_store::MemoryStore::new(Arc::new(grantry_protocol::ManualClock::at(
            grantry_protocol::Timestamp::from_secs(0),
        ))))
    });
    damage(&path);
    let target = backup_path(&path);
    let refused = SqliteStore::backup(&path, &target, ignore);
    assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{refused:?}");
    assert!(!target.exists());
    assert_eq!(leftovers(&path), [""; 0]);
    drop(harness);
}

/// Overwrites the last page, which holds rows: the file still opens.
pub fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xa5);
    fs::write(path, bytes).unwrap();
}
