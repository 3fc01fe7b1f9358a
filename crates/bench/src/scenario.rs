use bytes::Bytes;
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    credentials::Credentials, failure::Failure, form::Form, grants::Grants, http1::Answer, load::Load,
    target::Target,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Client credentials, each request in a slot of its own (see --param): a new token each time
    Issue,
    /// Client credentials, every request in the same slot: the same token each time, if the server reuses tokens
    Reuse,
    /// Introspection (RFC 7662) of a pool of tokens issued before the measurement
    Introspect,
    /// Revocation (RFC 7009) of a pool of tokens issued before the measurement, each once
    Revoke,
    /// Refreshing (RFC 6749 §6): each connection goes round the grants that are its own, always with the newest
    /// refresh token (see --refresh-tokens and --subjects)
    Refresh,
    /// A blend: 70 % introspect, 15 % reuse (both of a pool's tokens), 10 % refresh, 5 % in turn issue a token in a
    /// slot of the connection's own and revoke it. The order is drawn with a fixed seed: two runs send the same
    Mixed,
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Reuse => "reuse",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Refresh => "refresh",
            Self::Mixed => "mixed",
        }
    }

    /// Whether tokens are issued for it beforehand.
    pub fn has_pool(self) -> bool {
        matches!(self, Self::Introspect | Self::Revoke | Self::Mixed)
    }

    pub fn refreshes(self) -> bool {
        matches!(self, Self::Refresh | Self::Mixed)
    }

    /// Whether each token that is answered should be one row of the store more.
    pub fn writes_tokens(self) -> bool {
        matches!(self, Self::Issue | Self::Refresh | Self::Mixed)
    }
}

#[derive(Debug, Clone)]
pub struct Endpoints {
    pub token: Target,
    pub introspect: Option<Target>,
    pub revoke: Option<Target>,
}

impl Endpoints {
    pub fn introspect(&self) -> Result<&Target, Failure> {
        self.introspect.as_ref().ok_or_else(|| missing("--introspect-url"))
    }

    pub fn revoke(&self) -> Result<&Target, Failure> {
        self.revoke.as_ref().ok_or_else(|| missing("--revoke-url"))
    }
}

/// Everything that makes one run what it is.
#[derive(Clone)]
pub struct Spec {
    pub scenario: Scenario,
    pub endpoints: Endpoints,
    pub credentials: Credentials,
    /// The token request.
    pub form: Form,
    /// How many tokens are issued beforehand, where the scenario is about such.
    pub pool: u64,
    /// What is refreshed, where the scenario refreshes.
    pub grants: Option<Grants>,
    pub load: Load,
}

impl Spec {
    /// Where the measured requests go; those of a mix go to other endpoints of the same server too.
    pub fn target(&self) -> Result<&Target, Failure> {
        match self.scenario {
            Scenario::Issue | Scenario::Reuse | Scenario::Refresh | Scenario::Mixed => {
                Ok(&self.endpoints.token)
            }
            Scenario::Introspect => self.endpoints.introspect(),
            Scenario::Revoke => self.endpoints.revoke(),
        }
    }
}

fn missing(flag: &str) -> Failure {
    Failure::new(format!("give {flag}"))
}

/// The form of a client credentials request (RFC 6749 §4.4.2), its own credentials last.
pub fn token_form(scope: Option<&str>, params: &[crate::form::Param], credentials: &Credentials) -> Form {
    let mut form = Form::new();
    form.push("grant_type", "client_credentials");
    if let Some(scope) = scope {
        form.push("scope", scope);
    }
    for param in params {
        form.push_numbered(&param.name, &param.value);
    }
    credentials.add_to(&mut form);
    form
}

/// What an answer must hold besides status 200, so that a wrong one is never counted as work done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Token,
    Active,
    Anything,
}

impl Expected {
    /// # Errors
    /// A short name under which wrong answers are counted.
    pub fn check(self, answer: &Answer) -> Result<(), String> {
        if answer.status != http::StatusCode::OK {
            return Err(format!("status {}", answer.status.as_u16()));
        }
        match self {
            Self::Token if after(&answer.body, b"\"access_token\"").is_none() => {
                Err("200 without a token".into())
            }
            Self::Active if !says_active(&answer.body) => Err("200, not active".into()),
            _ => Ok(()),
        }
    }
}

/// Searches bytes rather than parse JSON, to leave the cores to the server.
fn says_active(body: &Bytes) -> bool {
    let Some(rest) = after(body, b"\"active\"") else { return false };
    let Some(value) = rest.trim_ascii_start().strip_prefix(b":") else { return false };
    value.trim_ascii_start().starts_with(b"true")
}

fn after<'a>(body: &'a [u8], needle: &[u8]) -> Option<&'a [u8]> {
    let at = body.windows(needle.len()).position(|window| window == needle)?;
    Some(&body[at + needle.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer {
            status: http::StatusCode::from_u16(status).unwrap(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn active_is_found_whatever_the_white_space() {
        for body in [r#"{"active":true}"#, "{ \"active\" :\n true }", r#"{"scope":"x","active": true}"#] {
            assert_eq!(Expected::Active.check(&answer(200, body)), Ok(()), "{body}");
        }
        for body in [r#"{"active":false}"#, r#"{"active":"true"}"#, r#"{"active"}"#, "", "true"] {
            assert_eq!(Expected::Active.check(&answer(200, body)), Err("200, not active".into()), "{body}");
        }
    }

    #[test]
    fn a_wrong_answer_has_a_name() {
        assert_eq!(Expected::Token.check(&answer(503, "{}")), Err("status 503".into()));
        assert_eq!(Expected::Token.check(&answer(200, "<html>")), Err("200 without a token".into()));
        assert_eq!(Expected::Anything.check(&answer(204, "")), Err("status 204".into()));
        assert_eq!(Expected::Anything.check(&answer(200, "")), Ok(()));
    }
}
