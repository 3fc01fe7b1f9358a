//! What the proxy is answered. Only 200, 401, 403 and 503, because nginx makes 500 of all else; and of 503 too, for which
//! `deploy/gateway/nginx.conf` has the `error_page`.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use grantry_protocol::SubjectKind;
use grantry_verifier::{Refusal, ResourceMetadata, Verified};
use serde::Deserialize;
use serde_json::json;

use super::original::Misread;
use super::rules::Denied;

/// For whom a request passes. Each of them is in every 200, empty where there is nothing to say: what is missing would not
/// take the place of what the client has sent under that name.
const NAMES: [&str; 4] = [
    "x-grantry-subject",
    // `user` or `client`: a client may bear a user's name, and its own tokens are not that user's.
    "x-grantry-subject-kind",
    "x-grantry-client",
    "x-grantry-scope",
];

const RETRY_SECONDS: u64 = 1;

/// What became of a check.
#[derive(Debug)]
pub enum Outcome {
    /// What clients are told about the resource was read.
    Metadata(ResourceMetadata),
    Public,
    Allowed(Identity),
    /// Not from one of `gateway.trusted_proxies`.
    Untrusted,
    Misread(Misread),
    Denied(Denied),
    Refused(Refusal),
    /// Its names cannot be in a header as they are.
    Unspeakable,
    Overloaded,
    TooSlow,
}

#[derive(Debug)]
/// The values of [`NAMES`].
pub struct Identity([HeaderValue; NAMES.len()]);

#[derive(Deserialize)]
struct KindClaim {
    /// Only where the rule of RFC 9068 §2.2 would be wrong: a token whose subject is its client speaks for the client.
    grantry_subject_kind: Option<SubjectKind>,
}

impl Identity {
    /// `None` for a name that HTTP would change on its way: spaces at its ends are cut off, and " alice" would arrive as
    /// "alice".
    pub fn of(verified: &Verified) -> Option<Self> {
        let value = |text: &str| {
            let arrives = text.trim() == text && text.is_ascii();
            HeaderValue::from_str(text).ok().filter(|_| arrives)
        };
        let claim: KindClaim = verified.claims().ok()?;
        let is_client = match claim.grantry_subject_kind {
            Some(kind) => kind == SubjectKind::Client,
            None => verified.subject() == verified.client_id(),
        };
        let kind = HeaderValue::from_static(if is_client { "client" } else { "user" });
        Some(Self([value(verified.subject())?, kind, value(verified.client_id())?, value(verified.scope())?]))
    }

    fn nobody() -> Self {
        Self([const { HeaderValue::from_static("") }; NAMES.len()])
    }
}

impl Outcome {
    /// For metrics.
    pub const ALL: [&'static str; 11] = [
        "metadata",
        "public",
        "allowed",
        "untrusted_proxy",
        "misread",
        "denied",
        "unauthenticated",
        "insufficient_scope",
        "unavailable",
        "overloaded",
        "too_slow",
    ];

    /// One of [`Self::ALL`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "metadata",
            Self::Public => "public",
            Self::Allowed(_) => "allowed",
            Self::Untrusted => "untrusted_proxy",
            Self::Misread(_) => "misread",
            Self::Denied(_) | Self::Unspeakable => "denied",
            Self::Refused(Refusal::Missing | Refusal::Invalid(_)) => "unauthenticated",
            Self::Refused(Refusal::InsufficientScope { .. }) => "insufficient_scope",
            Self::Refused(Refusal::Unavailable { .. }) => "unavailable",
            Self::Overloaded => "overloaded",
            Self::TooSlow => "too_slow",
        }
    }

    /// `metadata` is what there is to be told about the resource; who is refused is told where.
    pub fn into_response(self, metadata: Option<&ResourceMetadata>) -> Response {
        let (status, error, description) = match &self {
            Self::Metadata(own) => return describe(own),
            Self::Public => return pass(&Identity::nobody()),
            Self::Allowed(identity) => return pass(identity),
            Self::Untrusted => {
                (StatusCode::FORBIDDEN, "access_denied", "only a trusted proxy may ask here".to_owned())
            }
            Self::Misread(misread) => (StatusCode::FORBIDDEN, "invalid_request", misread.to_string()),
            Self::Denied(denied) => (StatusCode::FORBIDDEN, "access_denied", denied.to_string()),
            Self::Unspeakable => (
                StatusCode::FORBIDDEN,
                "access_denied",
                "the token's subject or client has a name that no header can carry".to_owned(),
            ),
            Self::Refused(refusal) => {
                (refusal.status(), error_of(refusal), description_of(refusal).to_owned())
            }
            Self::Overloaded => unavailable("too many requests at once"),
            Self::TooSlow => unavailable("the check took too long"),
        };
        let body = json!({ "error": error, "error_description": description });
        let mut response = Response::new(Body::from(format!("{body}\n")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Self::Refused(refusal) = &self
            && let Some(challenge) = refusal.www_authenticate(metadata)
        {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after()));
        }
        response
    }

    fn retry_after(&self) -> u64 {
        match self {
            Self::Refused(Refusal::Unavailable { retry_after, .. }) => {
                retry_after.as_secs().max(RETRY_SECONDS)
            }
            _ => RETRY_SECONDS,
        }
    }
}

fn pass(Identity(values): &Identity) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in NAMES.into_iter().zip(values) {
        headers.insert(HeaderName::from_static(name), value.clone());
    }
    response
}

/// Pages of any origin may read it, too.
fn describe(metadata: &ResourceMetadata) -> Response {
    let mut response = Response::new(Body::from(metadata.document()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn unavailable(description: &str) -> (StatusCode, &'static str, String) {
    (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description.to_owned())
}

fn error_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Missing | Refusal::Invalid(_) => "invalid_token",
        Refusal::InsufficientScope { .. } => "insufficient_scope",
        Refusal::Unavailable { .. } => "temporarily_unavailable",
    }
}

/// The same for every token that is not good: which part of it is wrong is for the log.
fn description_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Missing => "this path needs an access token in the Authorization header",
        Refusal::Invalid(_) => "the access token is not valid here",
        Refusal::InsufficientScope { .. } => "the access token lacks a scope that this path needs",
        Refusal::Unavailable { .. } => "whether the access token is good cannot be told at the moment",
    }
}
