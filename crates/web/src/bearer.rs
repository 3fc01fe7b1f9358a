//! Access tokens as resource servers are presented them (RFC 6750): in the header, nowhere else.

use std::borrow::Cow;

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::respond::json_no_store;

/// The token, if there is just one (RFC 6750 §2.1).
pub fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Why a token opens nothing (RFC 6750 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerError {
    /// There is none, so there is no error code either.
    Missing,
    Invalid,
    /// It is good, but not for this scope.
    InsufficientScope(&'static str),
}

#[derive(Serialize)]
struct Body {
    error: &'static str,
    error_description: Cow<'static, str>,
}

impl IntoResponse for BearerError {
    fn into_response(self) -> Response {
        let realm = "Bearer realm=\"grantry\"";
        let (status, error, description, challenge) = match self {
            Self::Missing => {
                let description = "an access token is needed, as a bearer token";
                (StatusCode::UNAUTHORIZED, "invalid_request", description.into(), realm.to_owned())
            }
            Self::Invalid => {
                let challenge = format!("{realm}, error=\"invalid_token\"");
                let description = "the access token is not active";
                (StatusCode::UNAUTHORIZED, "invalid_token", description.into(), challenge)
            }
            Self::InsufficientScope(scope) => {
                let challenge = format!("{realm}, error=\"insufficient_scope\", scope=\"{scope}\"");
                let description = Cow::from(format!("the access token does not have the scope {scope}"));
                (StatusCode::FORBIDDEN, "insufficient_scope", description, challenge)
            }
        };
        let mut response = json_no_store(status, &Body { error, error_description: description });
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
