//! Between columns and our types. What does not decode is corrupt.

use std::fmt::Display;

use grantry_protocol::{
    AccessTokenFormat, Ending, Epoch, LogKind, Position, Seen, StatusIndex, SubjectKind, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::errors::{Cause, Error, Result};

pub fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T> {
    Ok(row.try_get(column)?)
}

pub fn timestamp(row: &Row, column: usize) -> Result<Timestamp> {
    get(row, column).map(Timestamp::from_millis)
}

pub fn optional_timestamp(row: &Row, column: usize) -> Result<Option<Timestamp>> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_millis))
}

/// A 16-byte id of a `uuid` column.
pub fn id<T>(row: &Row, column: usize, from_bytes: impl FnOnce([u8; 16]) -> T) -> Result<T> {
    get::<Uuid>(row, column).map(|id| from_bytes(id.into_bytes()))
}

pub fn optional_id<T>(row: &Row, column: usize, from_bytes: impl FnOnce([u8; 16]) -> T) -> Result<Option<T>> {
    Ok(get::<Option<Uuid>>(row, column)?.map(|id| from_bytes(id.into_bytes())))
}

/// Bytes of a length that the type knows.
pub fn bytes<const N: usize>(row: &Row, column: usize) -> Result<[u8; N]> {
    get::<&[u8]>(row, column)?.try_into().map_err(|error| unreadable(row, column, error))
}

pub fn optional_bytes<const N: usize>(row: &Row, column: usize) -> Result<Option<[u8; N]>> {
    match get::<Option<&[u8]>>(row, column)? {
        Some(_) => bytes(row, column).map(Some),
        None => Ok(None),
    }
}

/// A number that is never negative.
pub fn unsigned<T: TryFrom<i64, Error: Display>>(row: &Row, column: usize) -> Result<T> {
    get::<i64>(row, column)?.try_into().map_err(|error| unreadable(row, column, error))
}

/// A number from 0 to 255.
pub fn optional_byte(row: &Row, column: usize) -> Result<Option<u8>> {
    let found: Option<i16> = get(row, column)?;
    found.map(u8::try_from).transpose().map_err(|error| unreadable(row, column, error))
}

pub fn status_index(row: &Row, column: usize) -> Result<Option<StatusIndex>> {
    match get::<Option<i64>>(row, column)? {
        Some(_) => unsigned(row, column).map(StatusIndex).map(Some),
        None => Ok(None),
    }
}

/// An epoch and, in the next column, a position.
pub fn seen(row: &Row, column: usize) -> Result<Seen> {
    Ok(Seen { epoch: Epoch(unsigned(row, column)?), position: Position(unsigned(row, column + 1)?) })
}

/// The same where both may be absent.
pub fn optional_seen(row: &Row, column: usize) -> Result<Option<Seen>> {
    match get::<Option<i64>>(row, column)? {
        Some(_) => seen(row, column).map(Some),
        None => Ok(None),
    }
}

/// Text that a type checks when it is made of it.
pub fn checked<T: TryFrom<String, Error: Display>>(row: &Row, column: usize) -> Result<T> {
    T::try_from(get(row, column)?).map_err(|error| unreadable(row, column, error))
}

pub fn from_json<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T> {
    serde_json::from_str(get(row, column)?).map_err(|error| unreadable(row, column, error))
}

pub fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(Cause::Rejected, error.to_string()))
}

pub fn log_kind(row: &Row, column: usize) -> Result<LogKind> {
    let code: i16 = get(row, column)?;
    let kind = u8::try_from(code).ok().and_then(LogKind::from_code);
    kind.ok_or_else(|| unreadable(row, column, format_args!("{code} has no meaning here")))
}

pub fn unreadable(row: &Row, column: usize, why: impl Display) -> Error {
    let name = row.columns().get(column).map_or("?", |column| column.name());
    Error::new(Cause::Corrupt, format!("column {name}: {why}"))
}

/// Numbers that stand for the values of an enum; never reused for another meaning.
pub trait Coded: Copy + PartialEq + Sized + 'static {
    const CODES: &'static [(Self, i16)];

    fn code(self) -> i16 {
        Self::CODES.iter().find(|(value, _)| *value == self).map_or(0, |(_, code)| *code)
    }

    fn of_column(row: &Row, column: usize) -> Result<Self> {
        let found: i16 = get(row, column)?;
        let known = Self::CODES.iter().find(|(_, code)| *code == found);
        known
            .map(|(value, _)| *value)
            .ok_or_else(|| unreadable(row, column, format_args!("{found} has no meaning here")))
    }

    fn of_optional_column(row: &Row, column: usize) -> Result<Option<Self>> {
        match get::<Option<i16>>(row, column)? {
            Some(_) => Self::of_column(row, column).map(Some),
            None => Ok(None),
        }
    }
}

impl Coded for SubjectKind {
    const CODES: &'static [(Self, i16)] = &[(Self::Client, 1), (Self::User, 2)];
}

impl Coded for AccessTokenFormat {
    const CODES: &'static [(Self, i16)] = &[(Self::Opaque, 1), (Self::Jwt, 2)];
}

impl Coded for Ending {
    const CODES: &'static [(Self, i16)] = &[(Self::Inactive, 1), (Self::Revoked, 2)];
}

/// For counters, limits and cursors: what PostgreSQL cannot count to is as good as no limit.
pub fn saturating(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

pub fn uuid(id: &[u8; 16]) -> Uuid {
    Uuid::from_bytes(*id)
}

/// The id that a list goes on below: none of ours is as high as this one.
pub fn id_below(before: Option<&[u8; 16]>) -> Uuid {
    before.map_or(Uuid::max(), uuid)
}

/// The id that a walk goes on after: none of ours is as low as this one.
pub fn id_above(after: Option<&[u8; 16]>) -> Uuid {
    after.map_or(Uuid::nil(), uuid)
}
