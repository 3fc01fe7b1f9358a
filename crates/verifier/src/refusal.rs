//! Why a request is not let in, and what it is told.

use std::fmt;
use std::time::Duration;

use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use crate::ResourceMetadata;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No bearer token at all.
    Missing,
    /// The token is not good. Why is for the log: whoever holds it is told the same whatever it is.
    Invalid(Reason),
    /// The token is good, but not for this.
    InsufficientScope { required: String },
    /// Whether it is good cannot be told now.
    Unavailable { because: Outage, retry_after: Duration },
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Malformed,
    /// Not an access token (RFC 9068 §4): its `typ` says something else.
    Type,
    Algorithm,
    UnknownKey,
    Signature,
    Issuer,
    Audience,
    Expired,
    /// `nbf` or `iat` is in the future.
    NotYet,
    /// A claim is missing that RFC 9068 §2.2 requires, or is of another type.
    Claims,
    /// It does not say what the revocation log could end it by.
    Unfollowable,
    /// Bound to a key or certificate (`cnf`); such a token is no bearer token.
    SenderConstrained,
    Revoked,
    /// The issuer has been asked and says that it is not active.
    Inactive,
    /// It is not a JWT, and nobody may be asked.
    Opaque,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outage {
    /// The issuer's keys have not been fetched yet, or not for too long.
    Keys,
    /// The revocations are not known yet, or have not been for longer than the bound.
    Revocations,
    /// The issuer cannot be asked about an opaque token.
    Introspection,
}

impl Reason {
    /// As in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Type => "type",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Claims => "claims",
            Self::Unfollowable => "unfollowable",
            Self::SenderConstrained => "sender_constrained",
            Self::Revoked => "revoked",
            Self::Inactive => "inactive",
            Self::Opaque => "opaque",
        }
    }
}

impl Outage {
    /// As in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Revocations => "revocations",
            Self::Introspection => "introspection",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no bearer token"),
            Self::Invalid(reason) => write!(f, "invalid token: {}", reason.as_str()),
            Self::InsufficientScope { .. } => f.write_str("insufficient scope"),
            Self::Unavailable { because, .. } => write!(f, "unavailable: {}", because.as_str()),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Why it cannot be told now; the wait is for `Retry-After`.
    pub(crate) const fn unavailable(because: Outage) -> Self {
        Self::Unavailable { because, retry_after: Duration::from_secs(1) }
    }

    /// RFC 6750 §3.1; 503 where it cannot be told.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Invalid(_) => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope { .. } => StatusCode::FORBIDDEN,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The challenge (RFC 6750 §3), with where the resource describes itself (RFC 9728 §5.1). There is none where the
    /// token is not at fault. It says nothing that depends on why a token is not good.
    pub fn www_authenticate(&self, metadata: Option<&ResourceMetadata>) -> Option<HeaderValue> {
        let mut params = Vec::new();
        match self {
            // RFC 6750 §3.1: who has shown nothing is not told of an error.
            Self::Missing => {}
            Self::Invalid(_) => {
                params.push(r#"error="invalid_token""#.to_owned());
                params.push(r#"error_description="the access token is not valid here""#.to_owned());
            }
            Self::InsufficientScope { required } => {
                params.push(r#"error="insufficient_scope""#.to_owned());
                params.push(format!(r#"scope="{required}""#));
            }
            Self::Unavailable { .. } => return None,
        }
        if let Some(metadata) = metadata {
            params.push(format!(r#"resource_metadata="{}""#, metadata.url()));
        }
        let challenge = match params.is_empty() {
            true => "Bearer".to_owned(),
            false => format!("Bearer {}", params.join(", ")),
        };
        HeaderValue::try_from(challenge).ok()
    }

    /// The whole answer, without a body.
    pub fn response<B: Default>(&self, metadata: Option<&ResourceMetadata>) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.www_authenticate(metadata) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Self::Unavailable { retry_after, .. } = self {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
        }
        response
    }
}
