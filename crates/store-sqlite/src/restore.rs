//! A backup takes the place of a store while servers run on it.
//!
//! What was revoked or spent since the backup was made, nobody knows. So everything that was issued before the restore
//! ends: the epoch is raised, and a rule about everything stands first in it.
//!
//! 1. Refuse what is not a whole backup of a store, before anything is touched.
//! 2. Copy it to a file of its own beside the store, look whether it is sound, and bring its schema up to date.
//! 3. Stand in the turnstile: the servers' writes wait from here on, at most for their own patience.
//! 4. Write into the copy what must not be forgotten: the epoch and the rule, the deed, that numbers of status lists
//!    may have been given out since, the keys of the same deployment that were made or revoked since, the assertions
//!    that were used.
//! 5. Replace the store's content in one commit. The servers find it at their next transaction, and their readers
//!    finish with what they had begun; killed before the commit, the store is the old one.

use std::path::Path;
use std::time::Duration;

use grantry_protocol::{Clock, Epoch, LogHead, Timestamp};
use grantry_store::{AuditEntry, StatusHead};
use rusqlite::Connection;
use serde_json::json;

use crate::SqliteStore;
use crate::assertions::assertions_carry_over;
use crate::audit::audit_insert;
use crate::backup::{PATIENCE, begin, open_store};
use crate::backup_error::{BackupError, failed};
use crate::copy::{Partial, Progress, copy, finish};
use crate::keys::keys_carry_over;
use crate::open::{open_turnstile, open_writing, prepare_file};
use crate::options::SqliteOptions;
use crate::patience::Patience;
use crate::revocations::{epoch_begin, log_head_select};
use crate::schema;
use crate::status_lists;

/// How long the readers of the write-ahead log are waited for in the end.
const FOLDING: Duration = Duration::from_millis(500);

impl SqliteStore {
    /// Puts the backup in the place of the store at `target`, or there where none is yet. Everything that either of
    /// them has issued so far has ended then. `keep_until` is when the last of it has expired by itself. Pages are
    /// counted twice, since they are copied twice. Blocks.
    ///
    /// A running server goes on with the keys that it has read. They are in the store afterwards if the backup is one of
    /// the same deployment; with another's, servers have to be started anew.
    pub fn restore(
        backup: &Path,
        target: &Path,
        keep_until: Timestamp,
        clock: &dyn Clock,
        mut progress: impl FnMut(Progress),
    ) -> Result<(), BackupError> {
        let of_target = |source| BackupError::Store { path: target.to_owned(), source };
        let options = SqliteOptions { busy_timeout: PATIENCE, ..SqliteOptions::default() };
        // 1.
        let source = open_store(backup)?;
        let path = prepare_file(target)?;
        let turnstile = open_turnstile(&path)?;
        let mut present = open_writing(&path, &turnstile, &options)?;
        // 2.
        let partial = Partial::beside(&path)?;
        let mut next = stage(&source, backup, &partial, |Progress { pages_done, pages_total }| {
            progress(Progress { pages_done, pages_total: pages_total * 2 });
        })?;
        adopt_page_size(&present, &next).map_err(|error| failed(error, &path))?;
        // 3.
        let mut patience = Patience::lasting(PATIENCE);
        let _passage = turnstile.enter(&mut patience).map_err(of_target)?;
        // 4.
        amend(&mut next, &present, keep_until, clock.now()).map_err(|error| failed(error, &path))?;
        // 5.
        copy(&next, &mut present, &mut patience, |Progress { pages_done, pages_total }| {
            progress(Progress { pages_done: pages_total + pages_done, pages_total: pages_total * 2 });
        })
        .map_err(of_target)?;
        // The log holds the whole store now. If readers keep it from being folded in, the servers will do it.
        let _ = present.busy_timeout(FOLDING);
        let _ = present.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(())
    }
}

/// A sound copy with the present schema.
fn stage(
    source: &Connection,
    backup: &Path,
    partial: &Partial,
    progress: impl FnMut(Progress),
) -> Result<Connection, BackupError> {
    let snapshot = begin(source).map_err(|error| failed(error, backup))?;
    let mut next = partial.connect()?;
    copy(&snapshot, &mut next, &mut Patience::lasting(PATIENCE), progress)
        .map_err(|error| BackupError::Store { path: partial.path.clone(), source: error })?;
    finish(&next, backup)?;
    schema::migrate(&mut next, &partial.path)?;
    Ok(next)
}

/// A store with a write-ahead log keeps the size of page that it has.
fn adopt_page_size(present: &Connection, next: &Connection) -> rusqlite::Result<()> {
    let page_size =
        |connection: &Connection| connection.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0));
    let wanted = page_size(present)?;
    if page_size(next)? == wanted {
        return Ok(());
    }
    next.pragma_update(None, "page_size", wanted)?;
    next.execute_batch("VACUUM")
}

fn amend(
    next: &mut Connection,
    present: &Connection,
    keep_until: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let transaction = next.transaction()?;
    let (from, replaced) = (log_head_select(&transaction)?, log_head_select(present)?);
    let epoch = Epoch(from.epoch.max(replaced.epoch).0 + 1);
    epoch_begin(&transaction, &from, epoch, keep_until, now)?;
    audit_insert(&transaction, &deed(&from, &replaced, epoch, now))?;
    status_indexes_skip(present, &transaction)?;
    keys_carry_over(present, &transaction)?;
    assertions_carry_over(present, &transaction, now)?;
    transaction.commit()
}

/// Tokens that were issued since the backup have numbers, too, and are ended as all are.
fn status_indexes_skip(present: &Connection, next: &Connection) -> rusqlite::Result<()> {
    let (from, replaced) = (status_lists::head_select(next)?, status_lists::head_select(present)?);
    let latest = StatusHead { next: from.next.max(replaced.next), ..from };
    status_lists::head_update(next, latest.restored())
}

fn deed(from: &LogHead, replaced: &LogHead, epoch: Epoch, now: Timestamp) -> AuditEntry {
    AuditEntry {
        at: now,
        actor: "host".to_owned(),
        action: "store.restore",
        target: format!("epoch {}", epoch.0),
        detail: json!({ "backup": from.seen(), "replaced": replaced.seen() }),
        request_id: None,
    }
}
