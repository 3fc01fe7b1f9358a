//! Reading a body within its bounds.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::deadline::within;
use crate::state::Limits;

/// Why a body was not read.
pub enum BodyError {
    /// The content type that it must have.
    ContentType(&'static str),
    /// The most bytes that it may have.
    TooLong(usize),
    TooSlow,
    Unreadable,
}

impl BodyError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::ContentType(_) | Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ContentType(expected) => write!(f, "the content type must be {expected}"),
            Self::TooLong(most) => write!(f, "the body is longer than {most} bytes"),
            Self::TooSlow => f.write_str("the body took too long to arrive"),
            Self::Unreadable => f.write_str("the body could not be read"),
        }
    }
}

/// A whole body of one of the content types, of bounded length, that has arrived in bounded time, however it is
/// dribbled.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    content_types: &[&'static str],
    limits: &Limits,
) -> Result<Bytes, BodyError> {
    if !content_types.iter().any(|expected| has_content_type(headers, expected)) {
        return Err(BodyError::ContentType(content_types[0]));
    }
    let whole = Limited::new(body, limits.max_body_bytes).collect();
    match within(limits.body_timeout, whole).await {
        Some(Ok(collected)) => Ok(collected.to_bytes()),
        Some(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            Err(BodyError::TooLong(limits.max_body_bytes))
        }
        Some(Err(_)) => Err(BodyError::Unreadable),
        None => Err(BodyError::TooSlow),
    }
}

fn has_content_type(headers: &HeaderMap, expected: &str) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or("").split(';').next().unwrap_or("");
    essence.trim().eq_ignore_ascii_case(expected)
}
