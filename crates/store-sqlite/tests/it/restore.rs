use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use grantry_protocol::{
    AccessToken, Epoch, GrantState, LogHead, LogKind, Position, Seen, StatusIndex, Timestamp, TokenState,
};
use grantry_store::conformance::{Harness, LIFETIME, issue, issue_over};
use grantry_store::{
    AssertionKey, KeyChange, KeyPurpose, KeyRecord, RotationOutcome, StatusLists, Store, TokenWrite,
    WriteOutcome,
};
use grantry_store_sqlite::{BackupError, OpenError, Progress, SqliteStore};
use rusqlite::Connection;

use super::backup::{backup_path, damage, fill, ignore, leftovers};
use super::migration;
use super::scratch::{Scratch, patient};

fn restore(harness: &Harness, backup: &Path, target: &Path) -> Result<(), BackupError> {
    SqliteStore::restore(backup, target, harness.now() + LIFETIME, &*harness.clock, ignore)
}

/// Puts the store at the path behind the same clock.
fn opened(harness: Harness, path: &Path) -> Harness {
    let clock = Arc::clone(&harness.clock);
    harness.decorated(|_| Arc::new(SqliteStore::open(path, patient(), clock).unwrap()))
}

#[tokio::test]
async fn what_was_revoked_or_issued_since_the_backup_and_all_that_is_older_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    harness.insert(&harness.client("billing")).await;
    let (kept, revoked) = (harness.issued("kept").await, harness.issued("revoked").await);
    let (grant, ended) = (harness.opened("app").await, harness.opened("app").await);
    let first = harness.issued("first").await;
    harness.revoke(first.id).await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    let backed_up = harness.head().await;

    harness.revoke(revoked.id).await;
    harness.revoke_grant(ended.grant.id).await;
    harness.rotated(&grant, 0).await;
    let since = harness.issued("since").await;
    harness.delete("billing").await;
    restore(&harness, &backup, &path).unwrap();

    for token in [kept.id, revoked.id, grant.token.id, ended.token.id] {
        assert_eq!(harness.state(token).await, TokenState::Revoked);
    }
    assert_eq!(harness.store.token_find(since.id).await, Ok(None));
    for opening in [&grant, &ended] {
        assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Revoked);
        for presented in 0..2 {
            let outcome = harness.rotate(&harness.rotation(opening, presented)).await;
            assert_eq!(outcome, RotationOutcome::Over);
        }
    }
    assert!(harness.found("billing").await.is_some(), "the rest is as it was backed up");

    // The log goes on where the backup's ended, in the next epoch.
    let raised = LogHead { epoch: Epoch(2), ..backed_up };
    let (rule, head) = raised.append(LogKind::All, Vec::new(), harness.now() + LIFETIME);
    assert_eq!(harness.head().await, head);
    assert_eq!(harness.log().await.last(), Some(&rule));
    let audit = harness.audit().await;
    let deed = audit.last().unwrap();
    assert_eq!((deed.actor.as_str(), deed.action.as_str()), ("host", "store.restore"));
    assert_eq!(leftovers(&path), [""; 0]);
}

#[tokio::test]
async fn what_has_seen_the_new_epoch_lives_and_what_has_seen_any_of_the_old_one_does_not() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    let old = harness.issued("billing").await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    restore(&harness, &backup, &path).unwrap();

    let seen = harness.head().await.seen();
    let mut holder = old.id;
    for (seen, state) in [
        (Seen { epoch: Epoch(1), position: Position(u64::from(u32::MAX)) }, TokenState::Revoked),
        (Seen { epoch: seen.epoch, position: Position(0) }, TokenState::Revoked),
        (seen, TokenState::Active),
    ] {
        let mut token = harness.token("billing");
        token.authority = seen.into();
        assert_eq!(harness.write(issue_over(holder, &token)).await, WriteOutcome::Issued);
        assert_eq!(harness.state(token.id).await, state, "{seen:?}");
        holder = token.id;
    }
    // Single revocations go on.
    harness.revoke(holder).await;
    assert_eq!(harness.head().await.seen(), Seen { epoch: Epoch(2), position: Position(2) });
}

#[tokio::test]
async fn the_epoch_rises_above_that_of_the_backup_and_that_of_the_store() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let (early, late) = (backup_path(&path), path.with_file_name("late.db"));
    let harness = scratch.harness();
    SqliteStore::backup(&path, &early, ignore).unwrap();
    for epoch in 2..4 {
        restore(&harness, &early, &path).unwrap();
        assert_eq!(harness.head().await.epoch, Epoch(epoch), "above the store's");
    }
    SqliteStore::backup(&path, &late, ignore).unwrap();
    let elsewhere = Scratch::new();
    let target = elsewhere.path.clone();
    let other = elsewhere.harness();
    restore(&other, &late, &target).unwrap();
    assert_eq!(other.head().await.epoch, Epoch(4), "above the backup's");
}

#[tokio::test]
async fn no_place_in_a_status_list_is_given_out_again_and_none_of_before_is_told_of() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    assert_eq!(harness.store.status_index_reserve(256).await, Ok(0..256));
    let token = AccessToken { status_index: Some(StatusIndex(7)), ..harness.token("app") };
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    let since = harness.store.status_index_reserve(300).await.unwrap();
    restore(&harness, &backup, &path).unwrap();

    assert_eq!(harness.stored(token.id).await.token, token);
    let used = harness.store.status_lists_in_use().await.unwrap();
    assert!(
        used.is_empty() && used.start > StatusIndex(since.end).list(),
        "all of them were ended: {used:?}"
    );
    let next = harness.store.status_index_reserve(1).await.unwrap().start;
    assert_eq!(StatusIndex(next), StatusIndex(StatusIndex::of_list(used.start).start));
    assert_eq!(harness.store.status_lists_in_use().await, Ok(used.start..used.start + 1));

    // A machine that has lost its store knows only of the backup; the next restore goes further still.
    let other = path.with_file_name("other.db");
    restore(&harness, &backup, &other).unwrap();
    let other = SqliteStore::open(&other, patient(), Arc::clone(&harness.clock) as _).unwrap();
    assert!(other.status_index_reserve(1).await.unwrap().start >= 256 + (1 << 40));
    restore(&harness, &backup, &path).unwrap();
    assert!(harness.store.status_index_reserve(1).await.unwrap().start >= next + (1 << 40));
}

#[tokio::test]
async fn all_who_have_the_store_open_go_on_with_the_new_content() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let second: Arc<dyn Store> = Arc::new(scratch.open());
    let harness = scratch.harness();
    let old = harness.issued("billing").await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    fill(&harness).await;
    let since = harness.issued("since").await;
    assert!(second.token_find(since.id).await.unwrap().is_some());
    restore(&harness, &backup, &path).unwrap();

    for store in [&harness.store, &second] {
        assert_eq!(store.token_find(since.id).await, Ok(None));
        assert!(store.token_find(old.id).await.unwrap().unwrap().ended_by_rule);
        assert_eq!(store.revocation_head().await.unwrap().epoch, Epoch(2));
    }
    let mut token = harness.token("new");
    token.authority = harness.head().await.seen().into();
    assert_eq!(second.token_write(vec![issue(&token)]).await, Ok(vec![WriteOutcome::Issued]));
    assert_eq!(harness.state(token.id).await, TokenState::Active);
    let log = fs::metadata(path.with_extension("db-wal")).unwrap().len();
    assert!(log < 1 << 20, "the write-ahead log was folded in: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nobody_notices_but_by_the_content() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = Arc::new(scratch.harness_with(patient()));
    fill(&harness).await;
    let old = harness.issued("old").await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();

    let (running, done) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..4)
        .map(|caller| {
            let (harness, running, done) = (Arc::clone(&harness), Arc::clone(&running), Arc::clone(&done));
            tokio::spawn(async move {
                let mut number = 0;
                while running.load(Ordering::SeqCst) {
                    number += 1;
                    let token = harness.token(&format!("{caller} {number}"));
                    let outcome = harness.store.token_write(vec![issue(&token)]).await;
                    assert_eq!(outcome, Ok(vec![WriteOutcome::Issued]));
                    assert!(harness.store.token_find(old.id).await.unwrap().is_some());
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let progressed = async |by: u64| {
        let target = done.load(Ordering::SeqCst) + by;
        while done.load(Ordering::SeqCst) < target {
            tokio::task::yield_now().await;
        }
    };
    for round in 2..5 {
        progressed(20).await;
        let (harness, backup, path) = (Arc::clone(&harness), backup.clone(), path.clone());
        let restoring = move || (restore(&harness, &backup, &path), harness);
        let (outcome, harness) = tokio::task::spawn_blocking(restoring).await.unwrap();
        outcome.unwrap();
        assert_eq!(harness.head().await.epoch, Epoch(round));
        assert_eq!(harness.state(old.id).await, TokenState::Revoked);
    }
    progressed(20).await;
    running.store(false, Ordering::SeqCst);
    for caller in load {
        caller.await.unwrap();
    }
    let sound: String =
        Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

#[tokio::test]
async fn one_that_ends_in_the_middle_leaves_the_store_as_it_was() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    fill(&harness).await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    let since = harness.issued("since").await;
    let head = harness.head().await;
    let mut reports = Vec::new();
    let end_when_writing = |progress: Progress| {
        reports.push(progress);
        let is_writing = progress.pages_done > progress.pages_total / 2;
        assert!(!is_writing, "for the test");
    };
    let ended = catch_unwind(AssertUnwindSafe(|| {
        SqliteStore::restore(&backup, &path, harness.now(), &*harness.clock, end_when_writing)
    }));
    assert!(ended.is_err());
    assert!(reports.last().unwrap().pages_done < reports.last().unwrap().pages_total, "{reports:?}");

    assert_eq!(harness.state(since.id).await, TokenState::Active);
    assert_eq!(harness.head().await, head);
    harness.issued("after").await;
    assert_eq!(leftovers(&path), [""; 0]);
    restore(&harness, &backup, &path).unwrap();
    assert_eq!(harness.store.token_find(since.id).await, Ok(None));
}

#[tokio::test]
async fn a_backup_is_restored_where_there_is_no_store_yet() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    let old = harness.issued("billing").await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    let target = path.with_file_name("new").join("grantry.db");
    restore(&harness, &backup, &target).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&target), mode(target.parent().unwrap())), (0o600, 0o700));
    let harness = opened(harness, &target);
    assert_eq!(harness.state(old.id).await, TokenState::Revoked);
    assert_eq!(harness.head().await.epoch, Epoch(2));
}

#[tokio::test]
async fn what_is_no_whole_backup_is_refused_and_the_store_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    for number in 0..200 {
        harness.issued(&format!("client {number}")).await;
    }
    let refused = || restore(&harness, &backup, &path).unwrap_err();
    assert!(matches!(refused(), BackupError::Open(OpenError::Store { .. })), "a file that is missing");
    assert!(!backup.exists());
    fs::write(&backup, "").unwrap();
    assert!(matches!(refused(), BackupError::NoStore { .. }));
    fs::write(&backup, "no database".repeat(1000)).unwrap();
    assert!(matches!(refused(), BackupError::Open(OpenError::NotADatabase { .. })));

    fs::remove_file(&backup).unwrap();
    Connection::open(&backup).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    assert!(matches!(refused(), BackupError::Open(OpenError::AnotherProgram { .. })));

    fs::remove_file(&backup).unwrap();
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    Connection::open(&backup).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(refused(), BackupError::Open(OpenError::NewerSchema { .. })));

    fs::remove_file(&backup).unwrap();
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    damage(&backup);
    let error = refused();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    fs::remove_file(&backup).unwrap();
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    let bytes = fs::read(&backup).unwrap();
    fs::write(&backup, &bytes[..bytes.len() / 2]).unwrap();
    let error = refused();
    assert!(matches!(error, BackupError::Open(OpenError::NotADatabase { .. })), "{error}");
    assert!(error.to_string().contains("or is damaged"));

    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.store.token_count().await, Ok(200));
    assert_eq!(leftovers(&path), [""; 0]);
}

#[tokio::test]
async fn a_backup_of_the_first_release_is_restored_with_the_schema_of_this_one() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let (old, backup) = (path.with_file_name("old.db"), backup_path(&path));
    migration::write_first_schema(&old);
    SqliteStore::backup(&old, &backup, ignore).unwrap();
    assert_eq!(SqliteStore::schema_versions(&backup).unwrap().found, 1, "a backup changes nothing");
    let harness = scratch.harness();
    restore(&harness, &backup, &path).unwrap();
    migration::assert_all_is_there(&harness).await;
    harness.opened("app").await;
}

#[tokio::test]
async fn a_backup_with_pages_of_another_size_is_restored() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    let old = harness.issued("billing").await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    Connection::open(&backup).unwrap().execute_batch("PRAGMA page_size = 8192; VACUUM").unwrap();
    restore(&harness, &backup, &path).unwrap();
    assert_eq!(harness.state(old.id).await, TokenState::Revoked);
    assert_eq!(harness.head().await.epoch, Epoch(2));
}

fn key(version: u8, created_at: i64) -> KeyRecord {
    KeyRecord {
        purpose: KeyPurpose::Signing,
        version,
        sealed: vec![version],
        created_at: Timestamp::from_secs(created_at),
        active_from: Timestamp::from_secs(created_at),
        needed_until: None,
        revoked_at: None,
    }
}

async fn replace_keys(harness: &Harness, to: Vec<KeyRecord>) {
    let from = harness.store.key_list().await.unwrap();
    assert_eq!(harness.store.key_replace(KeyChange { from, to, audit: None }).await, Ok(true));
}

/// The servers that run have them, and one that was stolen must not become good again.
#[tokio::test]
async fn keys_that_were_made_or_revoked_since_the_backup_are_not_forgotten() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    replace_keys(&harness, vec![key(1, 10), key(2, 20)]).await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    let stolen = KeyRecord { revoked_at: Some(harness.now()), sealed: vec![9], ..key(2, 20) };
    replace_keys(&harness, vec![stolen.clone(), key(3, 30)]).await;
    restore(&harness, &backup, &path).unwrap();
    assert!(harness.store.key_list().await.unwrap() == [key(1, 10), stolen, key(3, 30)]);
}

#[tokio::test]
async fn keys_of_another_deployment_do_not_mix_with_those_of_the_backup() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    replace_keys(&harness, vec![key(1, 10), key(2, 20)]).await;
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    for others in [vec![key(1, 11)], vec![key(3, 30)], vec![key(1, 10), key(2, 21)], Vec::new()] {
        replace_keys(&harness, others).await;
        restore(&harness, &backup, &path).unwrap();
        assert!(harness.store.key_list().await.unwrap() == [key(1, 10), key(2, 20)]);
    }
}

#[tokio::test]
async fn an_assertion_that_was_used_since_the_backup_stays_used() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let backup = backup_path(&path);
    let harness = scratch.harness();
    let consume = |key, life| TokenWrite::ConsumeAssertion {
        key: AssertionKey([key; 32]),
        expires_at: harness.now() + Duration::from_secs(life),
    };
    assert_eq!(harness.write(consume(1, 300)).await, WriteOutcome::AssertionConsumed);
    SqliteStore::backup(&path, &backup, ignore).unwrap();
    assert_eq!(harness.write(consume(2, 300)).await, WriteOutcome::AssertionConsumed);
    assert_eq!(harness.write(consume(3, 1)).await, WriteOutcome::AssertionConsumed);
    harness.clock.advance(Duration::from_secs(2));
    restore(&harness, &backup, &path).unwrap();
    for (key, outcome) in [
        (1, WriteOutcome::AssertionReplayed),
        (2, WriteOutcome::AssertionReplayed),
        (3, WriteOutcome::AssertionConsumed),
    ] {
        assert_eq!(harness.write(consume(key, 300)).await, outcome, "{key}");
    }
}

#[test]
fn a_store_of_another_program_is_not_replaced() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let (backup, target) = (backup_path(&scratch.path), scratch.path.with_file_name("other.db"));
    SqliteStore::backup(&scratch.path, &backup, ignore).unwrap();
    Connection::open(&target).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    let clock = grantry_protocol::ManualClock::at(Timestamp::from_secs(0));
    let refused = SqliteStore::restore(&backup, &target, Timestamp::from_secs(1), &clock, ignore);
    assert!(matches!(refused, Err(BackupError::Open(OpenError::AnotherProgram { .. }))));
    let _still_there: i64 = Connection::open(&target)
        .unwrap()
        .query_row("SELECT count(*) FROM bookmarks", [], |row| row.get(0))
        .unwrap();
}
