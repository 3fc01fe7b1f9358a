//! How answers are written: errors of the OAuth endpoints (RFC 6749 §5.2), JSON that must not be kept, and the two
//! answers to a request that no route takes.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use grantry_grants::GrantError;
use grantry_protocol::{ErrorCode, OAuthError};
use serde::Serialize;

use crate::body::BodyError;

/// Seconds after which it is worth coming back, when the store or the server is short of something.
pub const RETRY_SECONDS: u64 = 1;

/// JSON that no cache may keep (RFC 6749 §5.1).
pub fn json_no_store(status: StatusCode, body: &impl Serialize) -> Response {
    let Ok(mut body) = serde_json::to_vec(body) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // For people at a terminal, whose prompt would stand behind the answer.
    body.push(b'\n');
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

pub fn retry_after(mut response: Response, seconds: u64) -> Response {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer of an OAuth endpoint to a request that it does not fulfil (RFC 6749 §5.2).
pub struct Refusal {
    status: StatusCode,
    error: OAuthError,
    retry_after: Option<u64>,
}

impl Refusal {
    /// The same error under a status that says more, such as 413.
    fn with_status(status: StatusCode, error: OAuthError) -> Self {
        Self { status, error, retry_after: None }
    }

    pub fn temporarily_unavailable(description: &'static str) -> Self {
        let error = OAuthError { code: ErrorCode::TemporarilyUnavailable, description: description.into() };
        Self { retry_after: Some(RETRY_SECONDS), ..error.into() }
    }

    pub fn not_acceptable(description: &'static str) -> Self {
        Self::with_status(StatusCode::NOT_ACCEPTABLE, OAuthError::invalid_request(description))
    }

    pub fn not_implemented(description: &'static str) -> Self {
        Self::with_status(StatusCode::NOT_IMPLEMENTED, OAuthError::invalid_request(description))
    }

    pub fn too_many_failures(retry_after: u64) -> Self {
        let error = OAuthError { code: ErrorCode::SlowDown, description: "too many failed attempts".into() };
        Self { retry_after: Some(retry_after), ..error.into() }
    }
}

impl From<OAuthError> for Refusal {
    fn from(error: OAuthError) -> Self {
        let status = match error.code {
            ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
            ErrorCode::SlowDown => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::with_status(status, error)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::with_status(error.status(), OAuthError::invalid_request(error.to_string()))
    }
}

impl From<GrantError> for Refusal {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Refused(refusal) => refusal.into(),
            GrantError::Unavailable(cause) => {
                tracing::warn!(cause, "answered 503");
                Self::temporarily_unavailable("the store is not available; nothing was issued or changed")
            }
            GrantError::Internal(cause) => {
                tracing::error!(cause, "answered 500");
                let description = "the server failed; its log has the cause under this answer's x-request-id";
                OAuthError { code: ErrorCode::ServerError, description: description.into() }.into()
            }
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    error_description: &'a str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: self.error.code.as_str(), error_description: &self.error.description };
        let mut response = json_no_store(self.status, &body);
        if self.error.code == ErrorCode::InvalidClient {
            // RFC 6749 §5.2: a 401 names the scheme.
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"grantry\""));
        }
        match self.retry_after {
            Some(seconds) => retry_after(response, seconds),
            None => response,
        }
    }
}

pub async fn not_found() -> Refusal {
    Refusal::with_status(StatusCode::NOT_FOUND, OAuthError::invalid_request("there is nothing at this path"))
}

pub async fn method_not_allowed() -> Refusal {
    let error = OAuthError::invalid_request("this path does not take this method");
    Refusal::with_status(StatusCode::METHOD_NOT_ALLOWED, error)
}
