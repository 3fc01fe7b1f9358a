//! What each error of the driver means for the caller.

use std::time::Duration;

use grantry_store::{Outage, StoreError};
use redis::{ErrorKind, RedisError, ServerErrorKind};

pub type Result<T> = std::result::Result<T, Error>;

/// Why Redis did not do what it was asked. Its text never has a value that was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    cause: Cause,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The connection is lost, or nobody listens. Whether a command took effect is unknown.
    Lost,
    /// No answer came in time. Whether the command took effect is unknown.
    NoAnswer,
    /// It is loading its data, or a cluster that has not agreed on who has the keys.
    Busy,
    /// No memory is left for writes.
    Full,
    /// The server takes no writes: a replica, or a primary of before.
    ReadOnly,
    /// It cannot save what it has, and takes no writes until it can.
    Disk,
    /// The user may not do this, or is not let in.
    Denied,
    /// Others changed the same rows again and again.
    Collision,
    /// It does not know the script, after a restart.
    NoScript,
    /// What is there is not ours, or damaged.
    Corrupt,
    /// These values can never be written.
    Rejected,
}

impl Error {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    pub fn no_answer(within: Duration) -> Self {
        Self::new(Cause::NoAnswer, format!("no answer from Redis within {within:?}"))
    }

    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether another connection may find what this one did not.
    pub const fn ends_connection(&self) -> bool {
        matches!(self.cause, Cause::Lost | Cause::NoAnswer | Cause::ReadOnly | Cause::Busy | Cause::Denied)
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        let cause = cause(&error);
        // The detail of an error can quote an argument.
        let message = match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => {
                format!("Redis answered {}", error.code().unwrap_or("with an error"))
            }
            ErrorKind::Io => format!("the connection to Redis: {error}"),
            ErrorKind::AuthenticationFailed => "Redis does not let this user in".to_owned(),
            _ => format!("Redis: {}", error.category()),
        };
        Self { cause, message }
    }
}

fn cause(error: &RedisError) -> Cause {
    if error.is_timeout() {
        return Cause::NoAnswer;
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Cause::NoScript,
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Cause::ReadOnly,
        ErrorKind::Server(ServerErrorKind::NoPerm) | ErrorKind::AuthenticationFailed => Cause::Denied,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown,
        ) => Cause::Busy,
        ErrorKind::Server(_) | ErrorKind::Extension => match error.code() {
            Some("OOM") => Cause::Full,
            Some("MISCONF") => Cause::Disk,
            Some("NOREPLICAS" | "UNBLOCKED") => Cause::Busy,
            Some("NOAUTH" | "WRONGPASS") => Cause::Denied,
            _ => Cause::Corrupt,
        },
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Cause::Corrupt,
        _ => Cause::Lost,
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let outage = |outage| Self::unavailable(outage, error.message.clone());
        match error.cause {
            Cause::Lost | Cause::NoAnswer | Cause::Denied | Cause::NoScript | Cause::Disk => {
                outage(Outage::Io)
            }
            Cause::Busy | Cause::Collision => outage(Outage::Busy),
            Cause::Full => outage(Outage::Full),
            Cause::ReadOnly => outage(Outage::ReadOnly),
            Cause::Corrupt => Self::Corrupt(error.message),
            Cause::Rejected => Self::Rejected(error.message),
        }
    }
}
