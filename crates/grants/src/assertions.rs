//! JWTs signed by others: what they must claim (RFC 7523 §3), and that each is used once. Client authentication and
//! the jwt-bearer grant share it.

use std::time::Duration;

use grantry_protocol::Timestamp;
use grantry_store::AssertionKey;
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use crate::{GrantError, Grants};

/// The furthest that `exp` may lie ahead; there is no leeway on top, and none for an `exp` that has passed.
const LONGEST_LIFE: Duration = Duration::from_secs(300);
/// How far the signer's clock may run ahead of ours, for `iat` and `nbf`.
const LEEWAY: Duration = Duration::from_secs(30);
/// How much longer than `exp` a used assertion is remembered, so that it is never forgotten while a node whose clock is
/// behind the store's would still take it.
const MEMORY: Duration = Duration::from_secs(300);
const MAX_JTI_LEN: usize = 255;

/// What a signed assertion says. Everything is optional here, so that what is missing can be named.
#[derive(Deserialize)]
pub(crate) struct Claims {
    pub iss: Option<String>,
    pub sub: Option<String>,
    aud: Option<Value>,
    #[serde(default, deserialize_with = "seconds")]
    exp: Option<Timestamp>,
    #[serde(default, deserialize_with = "seconds")]
    nbf: Option<Timestamp>,
    #[serde(default, deserialize_with = "seconds")]
    iat: Option<Timestamp>,
    jti: Option<String>,
}

/// An assertion whose claims are as they must be; that it was not used before is yet to be seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckedAssertion {
    key: AssertionKey,
    expires_at: Timestamp,
}

impl Claims {
    /// `issuer` is who must have signed it, `audience` the issuer of this very server.
    ///
    /// # Errors
    /// What is wrong, for the signer to mend; without anything of the input.
    pub fn check(
        &self,
        issuer: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<CheckedAssertion, &'static str> {
        if self.iss.as_deref() != Some(issuer) {
            return Err("the assertion's iss is not the one that is registered");
        }
        if !self.is_meant_for(audience) {
            return Err("the assertion's aud must be the issuer of this server and nothing else");
        }
        let expires_at = self.exp.ok_or("the assertion has no exp")?;
        if expires_at <= now {
            return Err("the assertion has expired");
        }
        if expires_at > now + LONGEST_LIFE {
            return Err("the assertion's exp is more than 5 minutes ahead");
        }
        if [self.nbf, self.iat].into_iter().flatten().any(|from| from > now + LEEWAY) {
            return Err("the assertion's nbf or iat lies in the future");
        }
        let jti = self.jti.as_deref().ok_or("the assertion has no jti")?;
        if !(1..=MAX_JTI_LEN).contains(&jti.len()) || !jti.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
            return Err("the assertion's jti must be 1 to 255 printable ASCII characters");
        }
        Ok(CheckedAssertion { key: key(issuer, jti), expires_at })
    }

    /// As a string or as the only element of an array. An assertion that is meant for others as well could be taken
    /// from there and used here; one for the token endpoint's URL could have been asked for by a server that pretends
    /// to have that URL (RFC 7523bis).
    fn is_meant_for(&self, audience: &str) -> bool {
        match &self.aud {
            Some(Value::String(only)) => only == audience,
            Some(Value::Array(names)) => {
                matches!(names.as_slice(), [Value::String(only)] if only == audience)
            }
            _ => false,
        }
    }
}

/// One use for all purposes: an assertion that authenticated a client must not be good as a grant afterwards.
fn key(issuer: &str, jti: &str) -> AssertionKey {
    let mut hash = Sha256::new();
    hash.update(b"grantry assertion 1");
    for field in [issuer, jti] {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    AssertionKey(hash.finalize().into())
}

impl Grants {
    /// The last check of an assertion: it was not used before, and will not be used again. Committed when this returns.
    pub(crate) async fn use_up(&self, assertion: CheckedAssertion) -> Result<bool, GrantError> {
        let CheckedAssertion { key, expires_at } = assertion;
        Ok(self.persistence.consume_assertion(key, expires_at + MEMORY).await?)
    }
}

/// A NumericDate (RFC 7519 §2), which may have a fraction. It is rounded down.
fn seconds<'de, D: Deserializer<'de>>(claim: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(claim)? else { return Ok(None) };
    let whole = number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64));
    whole.map(Timestamp::from_secs).map(Some).ok_or_else(|| serde::de::Error::custom("not a date"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn check(change: &Value) -> Result<CheckedAssertion, &'static str> {
        let mut claims = json!({"iss": "client", "aud": "https://as.example", "exp": 10_060, "jti": "1"});
        let (all, change) = (claims.as_object_mut().unwrap(), change.as_object().unwrap().clone());
        all.extend(change);
        all.retain(|_, value| !value.is_null());
        serde_json::from_value::<Claims>(claims).unwrap().check("client", "https://as.example", NOW)
    }

    #[test]
    fn what_is_as_it_must_be_is_accepted() {
        for change in [
            json!({}),
            json!({"aud": ["https://as.example"]}),
            json!({"exp": 10_001}),
            json!({"exp": 10_300}),
            json!({"exp": 10_060.5, "iat": 9_999.25}),
            json!({"nbf": 10_030, "iat": 10_030}),
            json!({"jti": "x".repeat(255)}),
        ] {
            assert!(check(&change).is_ok(), "{change}");
        }
    }

    #[test]
    fn each_claim_is_refused_for_what_is_wrong_with_it() {
        let table = [
            ("iss", json!([null, "", "Client", "https://as.example"])),
            (
                "aud",
                json!([
                    null,
                    "",
                    "https://as.example/",
                    "https://as.example/oauth2/token",
                    [],
                    ["https://as.example", "https://other.example"],
                    ["https://as.example", "https://as.example"],
                    {"aud": "https://as.example"}
                ]),
            ),
            ("exp", json!([null, 10_000, 9_999, 10_000.9, 10_301, -1, i64::MAX, u64::MAX, 1e300])),
            ("nbf", json!([10_031, 1e300])),
            ("iat", json!([10_031, i64::MAX])),
            ("jti", json!([null, "", "a\nb", "\u{e9}", "x".repeat(256)])),
        ];
        for (claim, values) in table {
            for value in values.as_array().unwrap() {
                let problem = check(&json!({ claim: value })).expect_err(&format!("{claim} = {value}"));
                assert!(
                    problem.contains(claim) || problem.contains("expired"),
                    "{claim} = {value}: {problem}"
                );
            }
        }
    }

    #[test]
    fn issuer_and_jti_tell_assertions_apart_and_do_not_run_together() {
        let keys = [key("a", "bc"), key("ab", "c"), key("a", "b"), key("", "abc")];
        for (at, one) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(one));
        }
        assert_eq!(key("a", "b"), key("a", "b"));
    }
}
