//! The store in one SQLite file.
//!
//! **Writes** go through one thread with the one connection that writes (`writer.rs`): a bounded queue of jobs, each
//! one `BEGIN IMMEDIATE` transaction that decides by the pure functions of `grantry-store` and moves the head of the
//! revocation log last. Grouping tokens into a job is the persister's work. A job that fails, or panics, rolls back
//! and answers its own caller only.
//!
//! **Reads** go through a few threads with a read-only connection each (`readers.rs`). A thread takes whatever has
//! arrived while it was busy and answers all of it from one snapshot, which saves SQLite's locks and the discarded
//! page cache that every new snapshot costs after a commit.
//!
//! **Several processes** may share the file: before each transaction a writer passes the turnstile (`turnstile.rs`), so that none
//! starves. WAL with `synchronous=FULL`: what is acknowledged survives losing power, and readers never wait.
//! Dropping the store finishes the jobs in the queues, and SQLite folds the WAL into the file.

mod assertions;
mod audit;
mod backup;
mod backup_error;
mod clients;
mod columns;
mod copy;
mod early_ends;
mod errors;
mod grants;
mod keys;
mod metrics;
mod nodes;
mod open;
mod open_error;
mod options;
mod patience;
mod queue;
mod readers;
mod restore;
mod retention;
mod revocations;
mod rows;
mod rules;
mod schema;
#[cfg(test)]
mod scratch;
mod settings;
#[cfg(test)]
mod statements;
mod status_lists;
mod tokens;
mod transfer;
mod turnstile;
mod wal;
mod writer;

use std::sync::Arc;

use grantry_protocol::Clock;
use grantry_store::Bell;

pub use backup_error::BackupError;
pub use copy::Progress;
pub use open_error::OpenError;
pub use options::SqliteOptions;
pub use schema::SchemaVersions;
pub use transfer::SqliteTransfer;

/// Tokens, grants, clients, keys, the revocation log, the audit trail and nodes in one file.
pub struct SqliteStore {
    // In this order: the writer's connection is the last to close, and the last to close folds in the WAL.
    readers: readers::Readers,
    writer: writer::Writer,
    clock: Arc<dyn Clock>,
    /// Rung by the writer; what other processes append rings nothing here.
    bell: Bell,
}
