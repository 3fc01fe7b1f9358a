use std::borrow::Cow;

use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use grantry_grants::{ClientAdminError, GrantError, KeyAdminError, NotKept, SettingsAdminError};
use grantry_protocol::InvalidMetadata;
use serde::Serialize;

use crate::body::BodyError;
use crate::respond::{RETRY_SECONDS, json_no_store, retry_after};

/// An error of the admin API (RFC 9457). `type` is left out, which means `about:blank`: the status says the kind.
#[derive(Serialize)]
pub struct Problem {
    title: &'static str,
    status: u16,
    detail: Cow<'static, str>,
    /// The field of the request that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip)]
    challenge: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { title, status: status.as_u16(), detail: detail.into(), field: None, challenge: None }
    }

    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn invalid_field(field: impl Into<String>, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..Self::bad_request(problem) }
    }

    pub fn not_found(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// RFC 6750 §3.1: no error code when there was no token.
    pub fn no_token() -> Self {
        let detail = "the admin API needs an access token with the scope grantry:admin as a bearer token";
        Self { challenge: Some("Bearer realm=\"grantry\""), ..Self::new(StatusCode::UNAUTHORIZED, detail) }
    }

    pub fn invalid_token() -> Self {
        Self {
            challenge: Some("Bearer realm=\"grantry\", error=\"invalid_token\""),
            ..Self::new(StatusCode::UNAUTHORIZED, "the access token is not active")
        }
    }

    pub fn insufficient_scope() -> Self {
        Self {
            challenge: Some(
                "Bearer realm=\"grantry\", error=\"insufficient_scope\", scope=\"grantry:admin\"",
            ),
            ..Self::new(StatusCode::FORBIDDEN, "the access token does not have the scope grantry:admin")
        }
    }
}

impl From<GrantError> for Problem {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Unavailable(cause) => {
                tracing::warn!(cause, "answered 503");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store is not available; nothing was changed")
            }
            GrantError::Refused(refusal) => Self::bad_request(refusal.description),
            GrantError::Internal(cause) => {
                tracing::error!(cause, "answered 500");
                let detail = "the server failed; its log has the cause under this answer's x-request-id";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
            }
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

impl From<InvalidMetadata> for Problem {
    fn from(invalid: InvalidMetadata) -> Self {
        Self::invalid_field(invalid.field, invalid.problem)
    }
}

impl From<ClientAdminError> for Problem {
    fn from(error: ClientAdminError) -> Self {
        match error {
            ClientAdminError::NotFound => Self::not_found("there is no client with this id"),
            ClientAdminError::AlreadyExists
            | ClientAdminError::LastAdministrator
            | ClientAdminError::AdministratorExists
            | ClientAdminError::Conflict => Self::new(StatusCode::CONFLICT, error.to_string()),
            ClientAdminError::NotKept(error) => error.into(),
            ClientAdminError::Invalid(invalid) => invalid.into(),
            ClientAdminError::Failed(error) => error.into(),
        }
    }
}

impl From<NotKept> for Problem {
    fn from(error: NotKept) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<KeyAdminError> for Problem {
    fn from(error: KeyAdminError) -> Self {
        match error {
            KeyAdminError::NotFound => Self::not_found("there is no such key"),
            KeyAdminError::NotConfirmed => Self::invalid_field("confirm", error.to_string()),
            KeyAdminError::RevokedAlready
            | KeyAdminError::AlreadyExists
            | KeyAdminError::NoVersionLeft(_)
            | KeyAdminError::Conflict => Self::new(StatusCode::CONFLICT, error.to_string()),
            KeyAdminError::NotKept(error) => error.into(),
            KeyAdminError::Invalid { field, problem } => Self::invalid_field(field, problem),
            KeyAdminError::Failed(error) => error.into(),
        }
    }
}

impl From<SettingsAdminError> for Problem {
    fn from(error: SettingsAdminError) -> Self {
        match error {
            SettingsAdminError::Invalid(invalid) => Self::invalid_field(invalid.key, invalid.problem),
            SettingsAdminError::PreconditionFailed => {
                Self::new(StatusCode::PRECONDITION_FAILED, error.to_string())
            }
            SettingsAdminError::Conflict => Self::new(StatusCode::CONFLICT, error.to_string()),
            SettingsAdminError::Failed(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_no_store(status, &self);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            retry_after(response, RETRY_SECONDS)
        } else {
            response
        }
    }
}
