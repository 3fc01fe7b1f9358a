//! What each error of the driver means for the caller.

use std::error::Error;

use grantry_store::{Outage, StoreError};
use rusqlite::ffi;
use rusqlite::types::Type;

/// The primary result code: extended codes keep it in their lowest byte.
fn primary(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.extended_code & 0xff),
        _ => None,
    }
}

/// Whether another connection holds the lock and trying again may help.
pub fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(primary(error), Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED))
}

/// Whether the file is no database, or a damaged one.
pub fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(primary(error), Some(ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB))
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub fn classify(error: rusqlite::Error) -> StoreError {
    let message = error.to_string();
    if let Some(moving) = crate::transfer::of_transfer(&message) {
        return moving;
    }
    let Some(code) = primary(&error) else {
        return match error {
            rusqlite::Error::ToSqlConversionFailure(_) => StoreError::Rejected(message),
            // A row that does not decode, or is missing or there twice where there must be one.
            _ => StoreError::Corrupt(message),
        };
    };
    let outage = match code {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL | ffi::SQLITE_SCHEMA => Outage::Busy,
        ffi::SQLITE_INTERRUPT | ffi::SQLITE_ABORT => Outage::Busy,
        ffi::SQLITE_FULL | ffi::SQLITE_NOLFS => Outage::Full,
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_AUTH => Outage::ReadOnly,
        ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN => Outage::Io,
        ffi::SQLITE_NOMEM => Outage::Overloaded,
        ffi::SQLITE_CONSTRAINT | ffi::SQLITE_TOOBIG | ffi::SQLITE_MISMATCH | ffi::SQLITE_RANGE => {
            return StoreError::Rejected(message);
        }
        // CORRUPT, NOTADB, FORMAT; and ERROR, which a statement of ours meets only in a schema that is not ours.
        _ => return StoreError::Corrupt(message),
    };
    StoreError::unavailable(outage, message)
}

pub fn closed() -> StoreError {
    StoreError::unavailable(Outage::Closed, "the store is closed")
}

/// A column that holds what this version cannot read.
pub fn unreadable(column: usize, why: impl Into<Box<dyn Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, why.into())
}

/// A value that cannot be written.
pub fn unwritable(why: impl Into<Box<dyn Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_code(code: i32) -> StoreError {
        classify(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn every_result_code_has_a_meaning() {
        let outages = [
            (ffi::SQLITE_BUSY, Outage::Busy),
            (ffi::SQLITE_BUSY_SNAPSHOT, Outage::Busy),
            (ffi::SQLITE_BUSY_RECOVERY, Outage::Busy),
            (ffi::SQLITE_LOCKED, Outage::Busy),
            (ffi::SQLITE_LOCKED_SHAREDCACHE, Outage::Busy),
            (ffi::SQLITE_PROTOCOL, Outage::Busy),
            (ffi::SQLITE_SCHEMA, Outage::Busy),
            (ffi::SQLITE_INTERRUPT, Outage::Busy),
            (ffi::SQLITE_ABORT, Outage::Busy),
            (ffi::SQLITE_ABORT_ROLLBACK, Outage::Busy),
            (ffi::SQLITE_FULL, Outage::Full),
            (ffi::SQLITE_NOLFS, Outage::Full),
            (ffi::SQLITE_READONLY, Outage::ReadOnly),
            (ffi::SQLITE_READONLY_DBMOVED, Outage::ReadOnly),
            (ffi::SQLITE_READONLY_DIRECTORY, Outage::ReadOnly),
            (ffi::SQLITE_PERM, Outage::ReadOnly),
            (ffi::SQLITE_AUTH, Outage::ReadOnly),
            (ffi::SQLITE_CANTOPEN, Outage::Io),
            (ffi::SQLITE_CANTOPEN_ISDIR, Outage::Io),
            (ffi::SQLITE_IOERR, Outage::Io),
            (ffi::SQLITE_IOERR_WRITE, Outage::Io),
            (ffi::SQLITE_IOERR_FSYNC, Outage::Io),
            (ffi::SQLITE_IOERR_SHMSIZE, Outage::Io),
            (ffi::SQLITE_NOMEM, Outage::Overloaded),
        ];
        for (code, outage) in outages {
            assert!(
                matches!(of_code(code), StoreError::Unavailable { outage: o, .. } if o == outage),
                "code {code}"
            );
        }
        for code in [
            ffi::SQLITE_CONSTRAINT,
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
            ffi::SQLITE_CONSTRAINT_DATATYPE,
            ffi::SQLITE_TOOBIG,
            ffi::SQLITE_MISMATCH,
            ffi::SQLITE_RANGE,
        ] {
            assert!(matches!(of_code(code), StoreError::Rejected(_)), "code {code}");
        }
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_FORMAT,
            ffi::SQLITE_ERROR,
            ffi::SQLITE_INTERNAL,
            ffi::SQLITE_MISUSE,
        ] {
            assert!(matches!(of_code(code), StoreError::Corrupt(_)), "code {code}");
        }
    }

    #[test]
    fn what_does_not_decode_is_corrupt_and_what_does_not_encode_is_rejected() {
        assert!(matches!(classify(unreadable(1, "odd")), StoreError::Corrupt(_)));
        assert!(matches!(classify(unwritable("odd")), StoreError::Rejected(_)));
        assert!(matches!(classify(rusqlite::Error::QueryReturnedNoRows), StoreError::Corrupt(_)));
        let ill_typed = rusqlite::Error::InvalidColumnType(0, "id".into(), Type::Null);
        assert!(matches!(classify(ill_typed), StoreError::Corrupt(_)));
    }

    #[test]
    fn only_locks_of_others_are_worth_waiting_for() {
        let busy = |code| is_busy(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(busy(ffi::SQLITE_BUSY) && busy(ffi::SQLITE_BUSY_RECOVERY) && busy(ffi::SQLITE_LOCKED));
        assert!(!busy(ffi::SQLITE_FULL) && !busy(ffi::SQLITE_IOERR_LOCK));
    }
}
