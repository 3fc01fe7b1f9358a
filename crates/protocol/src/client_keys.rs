use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ClientMetadata, InvalidMetadata};

/// The most keys in one set.
pub const MAX_CLIENT_KEYS: usize = 16;
/// The longest set as JSON, in bytes.
const MAX_LEN: usize = 32 * 1024;
/// The longest URL, in bytes.
const MAX_URL_LEN: usize = 2048;
/// Members of a JWK that no public key has (RFC 7518 §6.2.2, §6.3.2, §6.4).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A set of public keys as a client registers it (RFC 7517 §5), not yet understood: which of its keys are usable is
/// for who verifies with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ClientKeySet(#[schemars(with = "serde_json::Map<String, Value>")] Value);

impl ClientKeySet {
    pub fn as_json(&self) -> &Value {
        &self.0
    }

    fn problem(&self) -> Option<String> {
        let Some(keys) = self.0.get("keys").and_then(Value::as_array) else {
            return Some(
                "must be a JWK set: an object with an array \"keys\" (RFC 7517 section 5)".to_owned(),
            );
        };
        if keys.is_empty() || keys.len() > MAX_CLIENT_KEYS || self.0.to_string().len() > MAX_LEN {
            return Some(format!("must have 1 to {MAX_CLIENT_KEYS} keys in at most {MAX_LEN} bytes"));
        }
        let is_private = |key: &Value| PRIVATE_MEMBERS.iter().any(|member| key.get(member).is_some());
        if keys.iter().any(is_private) {
            return Some("has a private or a symmetric key; register the public keys alone".to_owned());
        }
        None
    }
}

/// Where the keys of somebody who signs assertions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource<'a> {
    Inline(&'a ClientKeySet),
    Url(&'a str),
}

/// Another party than the client whose assertions the client may bring (RFC 7523 §2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertionIssuer {
    /// The `iss` of its assertions.
    pub issuer: String,
    /// Its public keys; exactly one of `jwks` and `jwks_uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<ClientKeySet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
}

impl AssertionIssuer {
    pub fn keys(&self) -> Option<KeySource<'_>> {
        source(self.jwks.as_ref(), self.jwks_uri.as_deref())
    }
}

impl ClientMetadata {
    /// The client's own keys.
    pub fn keys(&self) -> Option<KeySource<'_>> {
        source(self.jwks.as_ref(), self.jwks_uri.as_deref())
    }

    pub(crate) fn validate_keys(&self) -> Result<(), InvalidMetadata> {
        validate("jwks", "jwks_uri", self.jwks.as_ref(), self.jwks_uri.as_deref())?;
        let Some(issuer) = &self.jwt_bearer_issuer else { return Ok(()) };
        const FIELD: &str = "jwt_bearer_issuer";
        let refuse = |problem: &str| Err(InvalidMetadata { field: FIELD, problem: problem.to_owned() });
        if !(1..=MAX_URL_LEN).contains(&issuer.issuer.len()) {
            return refuse("issuer must be 1 to 2048 bytes");
        }
        if issuer.keys().is_none() {
            return refuse("must have the issuer's keys, as jwks or as jwks_uri");
        }
        validate(FIELD, FIELD, issuer.jwks.as_ref(), issuer.jwks_uri.as_deref())
    }
}

fn source<'a>(inline: Option<&'a ClientKeySet>, url: Option<&'a str>) -> Option<KeySource<'a>> {
    inline.map(KeySource::Inline).or(url.map(KeySource::Url))
}

fn validate(
    field: &'static str,
    url_field: &'static str,
    inline: Option<&ClientKeySet>,
    url: Option<&str>,
) -> Result<(), InvalidMetadata> {
    if inline.is_some() && url.is_some() {
        let problem = "jwks and jwks_uri cannot both be there (RFC 7591 section 2)".to_owned();
        return Err(InvalidMetadata { field: url_field, problem });
    }
    if let Some(problem) = inline.and_then(ClientKeySet::problem) {
        return Err(InvalidMetadata { field, problem });
    }
    if url.is_some_and(|url| !is_https(url)) {
        let problem = "must be an https URL without user, password and fragment".to_owned();
        return Err(InvalidMetadata { field: url_field, problem });
    }
    Ok(())
}

fn is_https(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    text.len() <= MAX_URL_LEN
        && url.scheme() == "https"
        && url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}
