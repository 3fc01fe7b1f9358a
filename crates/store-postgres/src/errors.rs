//! What each error of the driver means for the caller.

use std::error::Error as _;
use std::time::Duration;

use grantry_store::{Outage, StoreError};
use tokio_postgres::error::{DbError, SqlState};

pub type Result<T> = std::result::Result<T, Error>;

/// Why a statement did not do what it was sent for. Its text never has a value that was sent: it goes to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    cause: Cause,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Of transactions that got in each other's way the server gave up this one; the same again may succeed.
    Collision,
    /// A lock or the statement took longer than it may.
    Busy,
    /// No answer came in time. Whether the statement took effect is unknown.
    NoAnswer,
    /// No room is left.
    Full,
    /// The server takes no writes: a standby, or a primary of before.
    ReadOnly,
    /// The connection is lost, or the server is not there. Whether the statement took effect is unknown.
    Lost,
    /// The server has no connection or memory left for us.
    Overloaded,
    /// No partition takes the row.
    NoPartition,
    /// A row with this key exists.
    Conflict,
    /// A table of this name exists.
    AlreadyThere,
    /// An earlier statement of the transaction failed, so this one was not tried.
    Aborted,
    /// The session has forgotten its statements, or they have become another's: a pooler stands in between.
    SessionChanged,
    /// These values can never be written.
    Rejected,
    /// The schema is not ours, or what it holds is damaged.
    Corrupt,
}

impl Error {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    pub fn no_answer(within: Duration) -> Self {
        Self::new(Cause::NoAnswer, format!("no answer from PostgreSQL within {within:?}"))
    }

    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether the whole transaction, tried again at once, may succeed. Nothing of it was done.
    pub const fn is_retriable(&self) -> bool {
        matches!(self.cause, Cause::Collision)
    }

    pub const fn needs_partition(&self) -> bool {
        matches!(self.cause, Cause::NoPartition)
    }

    pub const fn is_conflict(&self) -> bool {
        matches!(self.cause, Cause::Conflict)
    }

    /// Whether this failed only because an earlier statement did.
    pub const fn is_aftermath(&self) -> bool {
        matches!(self.cause, Cause::Aborted)
    }

    /// Whether what was sent may or may not have taken effect.
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self.cause, Cause::NoAnswer | Cause::Lost)
    }

    /// Whether the connection is of no use any more.
    pub const fn ends_link(&self) -> bool {
        matches!(self.cause, Cause::NoAnswer | Cause::Lost | Cause::ReadOnly | Cause::SessionChanged)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let outage = match error.cause {
            Cause::Collision
            | Cause::Busy
            | Cause::NoAnswer
            | Cause::NoPartition
            | Cause::AlreadyThere
            | Cause::Aborted => Outage::Busy,
            Cause::Full => Outage::Full,
            Cause::ReadOnly => Outage::ReadOnly,
            Cause::Lost | Cause::SessionChanged => Outage::Io,
            Cause::Overloaded => Outage::Overloaded,
            Cause::Conflict | Cause::Rejected => return Self::Rejected(error.message),
            Cause::Corrupt => return Self::Corrupt(error.message),
        };
        Self::unavailable(outage, error.message)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refusal) => {
                let cause = cause_of(refusal);
                let hint = if cause == Cause::SessionChanged { POOLER } else { "" };
                Self::new(cause, described(refusal) + hint)
            }
            None => of_driver(&error),
        }
    }
}

pub fn closed() -> StoreError {
    StoreError::unavailable(Outage::Closed, "the store is closed")
}

/// Errors that the server did not answer with.
fn of_driver(error: &tokio_postgres::Error) -> Error {
    let text = error.to_string();
    // The driver tells its kinds apart by their text alone.
    let cause = if ["error serializing", "error encoding"].iter().any(|kind| text.starts_with(kind)) {
        Cause::Rejected
    } else if ["error deserializing", "invalid column", "expected "].iter().any(|kind| text.starts_with(kind))
    {
        Cause::Corrupt
    } else {
        Cause::Lost
    };
    let message = match error.source() {
        Some(source) if cause == Cause::Lost => format!("{text}: {source}"),
        _ => text,
    };
    Error::new(cause, message)
}

fn cause_of(refusal: &DbError) -> Cause {
    let code = refusal.code();
    if let Some((_, cause)) = CAUSES.iter().find(|(known, _)| known == code) {
        return *cause;
    }
    // PostgreSQL has no code of its own for it; unlike any other check it names no constraint.
    if *code == SqlState::CHECK_VIOLATION {
        return if refusal.constraint().is_none() { Cause::NoPartition } else { Cause::Rejected };
    }
    match &code.code()[..2] {
        "08" | "57" | "58" | "XX" => Cause::Lost,
        "22" | "23" | "54" => Cause::Rejected,
        "40" => Cause::Collision,
        "53" => Cause::Overloaded,
        "55" => Cause::Busy,
        // 28 and 3D while connecting again: somebody is changing the server's set-up.
        "28" | "3D" => Cause::Lost,
        _ => Cause::Corrupt,
    }
}

const CAUSES: &[(SqlState, Cause)] = &[
    (SqlState::T_R_SERIALIZATION_FAILURE, Cause::Collision),
    (SqlState::T_R_DEADLOCK_DETECTED, Cause::Collision),
    (SqlState::LOCK_NOT_AVAILABLE, Cause::Busy),
    (SqlState::QUERY_CANCELED, Cause::Busy),
    (SqlState::DISK_FULL, Cause::Full),
    (SqlState::READ_ONLY_SQL_TRANSACTION, Cause::ReadOnly),
    (SqlState::IN_FAILED_SQL_TRANSACTION, Cause::Aborted),
    (SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, Cause::Lost),
    (SqlState::INVALID_SQL_STATEMENT_NAME, Cause::SessionChanged),
    (SqlState::DUPLICATE_PSTATEMENT, Cause::SessionChanged),
    // "cached plan must not change result type": a migration has changed a table.
    (SqlState::FEATURE_NOT_SUPPORTED, Cause::SessionChanged),
    (SqlState::DUPLICATE_TABLE, Cause::AlreadyThere),
    (SqlState::UNIQUE_VIOLATION, Cause::Conflict),
    (SqlState::DATA_CORRUPTED, Cause::Corrupt),
    (SqlState::INDEX_CORRUPTED, Cause::Corrupt),
];

const POOLER: &str = "; behind a pooler in transaction mode statements must not be prepared: turn that off in the options of the store";

/// The code, and the server's words where they have no values in them.
fn described(refusal: &DbError) -> String {
    let code = refusal.code().code();
    match &code[..2] {
        "22" | "23" => {
            let place = [refusal.table(), refusal.constraint(), refusal.column()];
            let place: Vec<_> = place.into_iter().flatten().collect();
            format!("PostgreSQL refuses a value ({code}, {})", place.join(", "))
        }
        _ => format!("{} ({code})", refusal.message()),
    }
}
