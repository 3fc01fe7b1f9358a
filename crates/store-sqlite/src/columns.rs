//! Between columns and our types. What does not decode is an error of the driver, which [`crate::errors`] calls
//! corrupt.

use std::error::Error;

use grantry_protocol::{AccessTokenFormat, Ending, Epoch, Position, Seen, SubjectKind, Timestamp};
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::errors::{unreadable, unwritable};

pub fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

pub fn optional_timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// An epoch and, in the next column, a position.
pub fn optional_seen(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Seen>> {
    let (epoch, position): (Option<u64>, Option<u64>) = (row.get(column)?, row.get(column + 1)?);
    Ok(epoch
        .zip(position)
        .map(|(epoch, position)| Seen { epoch: Epoch(epoch), position: Position(position) }))
}

/// Text that a type checks when it is made of it.
pub fn checked<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: TryFrom<String, Error: Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    T::try_from(text).map_err(|error| unreadable(column, error))
}

pub fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str().map_err(|error| unreadable(column, error))?;
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

pub fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(unwritable)
}

/// Numbers that stand for the values of an enum; never reused for another meaning.
pub trait Coded: Copy + PartialEq + Sized + 'static {
    const CODES: &'static [(Self, i64)];

    fn code(self) -> i64 {
        Self::CODES.iter().find(|(value, _)| *value == self).map_or(0, |(_, code)| *code)
    }

    fn of_column(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        let found: i64 = row.get(column)?;
        let known = Self::CODES.iter().find(|(_, code)| *code == found);
        known
            .map(|(value, _)| *value)
            .ok_or_else(|| unreadable(column, format!("{found} has no meaning here")))
    }
}

impl Coded for SubjectKind {
    const CODES: &'static [(Self, i64)] = &[(Self::Client, 1), (Self::User, 2)];
}

impl Coded for AccessTokenFormat {
    const CODES: &'static [(Self, i64)] = &[(Self::Opaque, 1), (Self::Jwt, 2)];
}

impl Coded for Ending {
    const CODES: &'static [(Self, i64)] = &[(Self::Inactive, 1), (Self::Revoked, 2)];
}

/// For limits and cursors: what SQLite cannot count to is as good as no limit.
pub fn saturating(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// The bytes of an id that a list goes on below; every id is below none.
pub fn id_below(before: Option<&[u8; 16]>) -> &[u8] {
    before.map_or(&[0xff; 17], |id| id.as_slice())
}

/// The bytes of an id that a walk goes on after; every id is above none.
pub fn id_above(after: Option<&[u8; 16]>) -> &[u8] {
    after.map_or(&[], |id| id.as_slice())
}
