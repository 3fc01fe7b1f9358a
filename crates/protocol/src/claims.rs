use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const MOST_CLAIMS: usize = 32;
/// Of all of them, as JSON. A token is sent with every request, in a header.
const MOST_BYTES: usize = 4096;
/// Of a name that is shown to whoever wrote it.
const SHOWN: usize = 64;

/// Of claims that say how a token is to be judged.
const RESERVED_PREFIX: &str = "grantry_";

/// Names that verifiers act upon, or take for what the server knows of a user or a request. What they say must not come
/// from a configuration.
const REGISTERED: &[&str] = &[
    // RFC 7519 §4.1.
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    // RFC 9068 §2.2 and §7.2, RFC 8693 §4, RFC 9396 §9.1, RFC 7800 §3.1.
    "client_id",
    "scope",
    "auth_time",
    "acr",
    "amr",
    "roles",
    "groups",
    "entitlements",
    "act",
    "may_act",
    "authorization_details",
    "cnf",
    // draft-ietf-oauth-status-list §6.1.
    "status",
    // RFC 7662 §2.2.
    "active",
    "token_type",
    "username",
    // OpenID Connect Core §2, §5.1, §5.6.2, §7.4, Front-Channel Logout §3, Back-Channel Logout §2.4.
    "nonce",
    "azp",
    "at_hash",
    "c_hash",
    "s_hash",
    "sub_jwk",
    "sid",
    "events",
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "email_verified",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
    "updated_at",
    "_claim_names",
    "_claim_sources",
];

/// Claims with fixed values that access tokens say besides their own: in JWTs, and in the answers about all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConfiguredClaims(Map<String, Value>);

impl ConfiguredClaims {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most 32 claims and 4 KiB, none under a registered name.
    ///
    /// # Errors
    /// Says what is wrong, with the name of the claim.
    pub fn validate(&self) -> Result<(), String> {
        if self.0.len() > MOST_CLAIMS {
            return Err(format!("has {} claims; at most {MOST_CLAIMS} are allowed", self.0.len()));
        }
        let bytes = serde_json::to_vec(&self.0).map_or(usize::MAX, |json| json.len());
        if bytes > MOST_BYTES {
            return Err(format!("has {bytes} bytes as JSON; at most {MOST_BYTES} are allowed"));
        }
        self.0.iter().try_for_each(|(name, value)| validate_claim(name, value))
    }

    /// These, and what `general` says besides.
    pub fn over<'a>(&'a self, general: &'a Self) -> Cow<'a, Self> {
        match (self.0.is_empty(), general.0.is_empty()) {
            (_, true) => Cow::Borrowed(self),
            (true, _) => Cow::Borrowed(general),
            (false, false) => {
                let mut all = general.0.clone();
                all.extend(self.0.clone());
                Cow::Owned(Self(all))
            }
        }
    }
}

impl From<Map<String, Value>> for ConfiguredClaims {
    fn from(claims: Map<String, Value>) -> Self {
        Self(claims)
    }
}

fn validate_claim(name: &str, value: &Value) -> Result<(), String> {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    match () {
        () if name.is_empty() || name.chars().any(char::is_control) => Err(format!(
            "\"{shown}\" is no name for a claim: it must not be empty or have control characters"
        )),
        () if REGISTERED.contains(&name) => {
            Err(format!("\"{shown}\" is a registered claim with a meaning of its own; choose another name"))
        }
        () if name.starts_with(RESERVED_PREFIX) => Err(format!(
            "\"{shown}\" begins with {RESERVED_PREFIX}, as the claims of Grantry itself do; choose another name"
        )),
        () if value.is_null() => Err(format!("\"{shown}\" is null, which says nothing; leave it out")),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(json: Value) -> ConfiguredClaims {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_registered_name_is_refused_by_name() {
        for name in REGISTERED.iter().copied().chain(["grantry_seen", "grantry_", "grantry_anything"]) {
            let problem = claims(json!({ "tenant": 1, (name): "x" })).validate().unwrap_err();
            assert!(problem.contains(&format!("\"{name}\"")), "{problem}");
        }
        for name in ["tenant", "https://acme.example/tier", "Exp", "grantry", "ext"] {
            assert_eq!(claims(json!({ (name): "x" })).validate(), Ok(()));
        }
    }

    #[test]
    fn what_is_no_claim_is_refused() {
        for (wrong, said) in [
            (json!({ "": 1 }), "\"\""),
            (json!({ "a\nb": 1 }), "\"ab\""),
            (json!({ "tier": null }), "\"tier\""),
        ] {
            let problem = claims(wrong).validate().unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
        assert!(serde_json::from_value::<ConfiguredClaims>(json!(["tier"])).is_err());
    }

    #[test]
    fn number_and_size_are_bounded() {
        let many =
            |count: usize| claims((0..count).map(|n| (format!("claim-{n}"), Value::from(n))).collect());
        assert_eq!(many(MOST_CLAIMS).validate(), Ok(()));
        assert!(many(MOST_CLAIMS + 1).validate().unwrap_err().contains("at most 32"));
        let large = |length: usize| claims(json!({ "a": "x".repeat(length) }));
        let around = r#"{"a":""}"#.len();
        assert_eq!(large(MOST_BYTES - around).validate(), Ok(()));
        assert!(large(MOST_BYTES - around + 1).validate().unwrap_err().contains("at most 4096"));
    }

    #[test]
    fn what_is_particular_goes_before_what_is_general() {
        let (own, general) =
            (json!({ "tier": "gold", "n": 1 }), json!({ "tier": "base", "tenant": { "a": [1] } }));
        let (none, own, general) = (ConfiguredClaims::default(), claims(own), claims(general));
        assert_eq!(own.over(&none).as_ref(), &own);
        assert_eq!(none.over(&general).as_ref(), &general);
        let both = claims(json!({ "tier": "gold", "n": 1, "tenant": { "a": [1] } }));
        assert_eq!(own.over(&general).into_owned(), both);
    }
}
