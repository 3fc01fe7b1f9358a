//! JWTs that others have signed to say who they are or whom they speak for (RFC 7523).

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::jws::from_json;
use crate::{Algorithm, InvalidJws, JsonText, PublicKeySet, from_base64url};

/// Bytes of the text; an assertion is a few claims and a signature.
const MAX_LEN: usize = 16 * 1024;
/// What an assertion may call itself. Not every issuer says anything; what is meant for something else, such as an
/// access token (`at+jwt`), must not pass for one (RFC 8725 §3.11).
const APPLICATION: &str = "application/";
const TYPES: [&str; 3] = ["jwt", "client-authentication+jwt", "authorization-grant+jwt"];

/// The members of a header of somebody else that we look at.
#[derive(Deserialize)]
pub(crate) struct Header<'a> {
    #[serde(borrow)]
    alg: JsonText<'a>,
    #[serde(borrow)]
    kid: Option<JsonText<'a>>,
    #[serde(borrow)]
    typ: Option<JsonText<'a>>,
    /// Whether there is one, whatever it says.
    #[serde(default, deserialize_with = "is_there")]
    pub crit: bool,
}

impl<'a> Header<'a> {
    /// From its bytes, which it borrows.
    pub fn read(json: &'a [u8]) -> Result<Self, InvalidJws> {
        serde_json::from_slice(json).map_err(|_| InvalidJws::Malformed)
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    fn may_be_an_assertion(&self) -> bool {
        self.typ.is_none() || self.is_one_of(&TYPES)
    }

    /// Whether it says that it is one of these, which are in lower case and without `application/`: that may be left out
    /// (RFC 7515 §4.1.9).
    pub fn is_one_of(&self, types: &[&str]) -> bool {
        let Some(typ) = self.typ.as_deref() else { return false };
        let (prefix, rest) = typ.split_at_checked(APPLICATION.len()).unwrap_or(("", typ));
        let name = if prefix.eq_ignore_ascii_case(APPLICATION) { rest } else { typ };
        types.iter().any(|own| name.eq_ignore_ascii_case(own))
    }

    pub fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == &*self.alg)
    }
}

fn is_there<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|_| true)
}

/// The claims of a compact JWS that one of `keys` has signed. The header chooses among them by `kid`, if it has one,
/// and has to name the key's own algorithm (RFC 8725 §3.1). What the claims say is for the caller to judge.
///
/// # Errors
/// [`InvalidJws::UnknownKey`] when a newer set may have the key: `kid` is in none of these, or, without a `kid`, none
/// of these has signed it.
pub fn verify_assertion<C: DeserializeOwned>(text: &str, keys: &PublicKeySet) -> Result<C, InvalidJws> {
    let (signed, signature) = split(text).ok_or(InvalidJws::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(InvalidJws::Malformed)?;
    let header = from_base64url(header).ok_or(InvalidJws::Malformed)?;
    let header = Header::read(&header)?;
    if header.crit || !header.may_be_an_assertion() {
        return Err(InvalidJws::OtherType);
    }
    let algorithm = header.algorithm().ok_or(InvalidJws::Algorithm)?;
    let signature = from_base64url(signature).ok_or(InvalidJws::Malformed)?;
    let kid = header.kid();
    if kid.is_some() && keys.candidates(kid).next().is_none() {
        return Err(InvalidJws::UnknownKey);
    }
    let mut candidates = keys.candidates(kid).filter(|key| key.algorithm == algorithm).peekable();
    if kid.is_some() && candidates.peek().is_none() {
        return Err(InvalidJws::Algorithm);
    }
    if !candidates.any(|key| key.verify(signed.as_bytes(), &signature)) {
        return Err(if kid.is_some() { InvalidJws::Signature } else { InvalidJws::UnknownKey });
    }
    from_json(claims)
}

/// What an assertion claims, nothing of it checked: only for finding out whose keys to check it with.
pub fn unverified_claims<C: DeserializeOwned>(text: &str) -> Option<C> {
    let (signed, _) = split(text)?;
    let (_, claims) = signed.split_once('.')?;
    from_json(claims).ok()
}

/// What is signed, and the signature.
fn split(text: &str) -> Option<(&str, &str)> {
    if text.len() > MAX_LEN {
        return None;
    }
    text.rsplit_once('.')
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header as JwtHeader};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{SigningKey, base64url};

    /// Somebody else's key, in the hands of somebody else's library.
    struct Other {
        algorithm: Algorithm,
        key: SigningKey,
        encoding: EncodingKey,
    }

    impl Other {
        fn new(algorithm: Algorithm) -> Self {
            let pkcs8 = SigningKey::generate_pkcs8(algorithm).unwrap();
            let pem = crate::pem::tests::pem("PRIVATE KEY", &pkcs8);
            let encoding = match algorithm {
                Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
                Algorithm::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
                Algorithm::Rs256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            };
            let key = SigningKey::from_pkcs8(algorithm, &pkcs8).unwrap();
            Self { algorithm, key, encoding: encoding.unwrap() }
        }

        fn sign(&self, change: impl FnOnce(&mut JwtHeader)) -> String {
            let algorithm = match self.algorithm {
                Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
                Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
                Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            };
            let mut header = JwtHeader::new(algorithm);
            change(&mut header);
            jsonwebtoken::encode(&header, &json!({"iss": "client"}), &self.encoding).unwrap()
        }

        /// The header as it is written here; the signature is right.
        fn sign_raw(&self, header: &str) -> String {
            let signed = format!("{}.{}", base64url(header), base64url(r#"{"iss":"client"}"#));
            let signature = self.key.sign(signed.as_bytes()).unwrap();
            format!("{signed}.{}", base64url(signature))
        }

        fn jwk(&self, kid: &str) -> Value {
            let mut jwk = serde_json::to_value(self.key.jwk()).unwrap();
            jwk["kid"] = kid.into();
            jwk
        }
    }

    fn set(keys: &[Value]) -> PublicKeySet {
        PublicKeySet::parse(&json!({ "keys": keys })).unwrap()
    }

    fn verify(text: &str, keys: &PublicKeySet) -> Result<Value, InvalidJws> {
        verify_assertion(text, keys)
    }

    #[test]
    fn what_another_library_signs_is_verified_by_kid_and_without() {
        let others = Algorithm::ALL.map(Other::new);
        let keys = set(&[others[0].jwk("a"), others[1].jwk("b"), others[2].jwk("c")]);
        for (other, kid) in others.iter().zip(["a", "b", "c"]) {
            let with_kid = other.sign(|header| header.kid = Some(kid.to_owned()));
            assert_eq!(verify(&with_kid, &keys), Ok(json!({"iss": "client"})));
            let without = other.sign(|header| header.typ = None);
            assert_eq!(verify(&without, &keys), Ok(json!({"iss": "client"})));
            assert_eq!(unverified_claims::<Value>(&without), Some(json!({"iss": "client"})));
        }
    }

    #[test]
    fn a_wrong_kid_algorithm_or_key_is_refused_for_what_it_is() {
        let [eddsa, es256, rs256] = Algorithm::ALL.map(Other::new);
        let keys = set(&[eddsa.jwk("a"), rs256.jwk("c")]);
        let kid = |kid: &str| {
            let kid = kid.to_owned();
            move |header: &mut JwtHeader| header.kid = Some(kid)
        };
        assert_eq!(verify(&eddsa.sign(kid("b")), &keys), Err(InvalidJws::UnknownKey));
        assert_eq!(verify(&eddsa.sign(kid("c")), &keys), Err(InvalidJws::Algorithm));
        assert_eq!(verify(&es256.sign(|_| ()), &keys), Err(InvalidJws::UnknownKey));
        let stranger = Other::new(Algorithm::EdDsa);
        assert_eq!(verify(&stranger.sign(kid("a")), &keys), Err(InvalidJws::Signature));
        assert_eq!(verify(&stranger.sign(|_| ()), &keys), Err(InvalidJws::UnknownKey));
        // Signed by the RSA key, but the header says something that a public key could have made.
        for alg in ["HS256", "none", "None", "PS256", "rs256", ""] {
            let text = rs256.sign_raw(&format!(r#"{{"alg":"{alg}","kid":"c"}}"#));
            assert_eq!(verify(&text, &keys), Err(InvalidJws::Algorithm), "{alg}");
        }
    }

    #[test]
    fn only_what_may_be_an_assertion_is_taken() {
        let other = Other::new(Algorithm::EdDsa);
        let keys = set(&[other.jwk("a")]);
        for (header, good) in [
            (r#"{"alg":"EdDSA"}"#, true),
            (r#"{"alg":"EdDSA","typ":"jwt"}"#, true),
            (r#"{"alg":"EdDSA","typ":"JWT"}"#, true),
            (r#"{"alg":"EdDSA","typ":"Client-Authentication+JWT"}"#, true),
            (r#"{"alg":"EdDSA","typ":"application/authorization-grant+jwt"}"#, true),
            (r#"{"alg":"EdDSA","typ":"at+jwt"}"#, false),
            (r#"{"alg":"EdDSA","typ":"application/at+jwt"}"#, false),
            (r#"{"alg":"EdDSA","typ":"dpop+jwt"}"#, false),
            (r#"{"alg":"EdDSA","typ":""}"#, false),
            (r#"{"alg":"EdDSA","crit":["exp"]}"#, false),
            (r#"{"alg":"EdDSA","crit":null}"#, false),
            (r#"{"alg":"EdDSA","typ":"JWT","crit":[]}"#, false),
        ] {
            let expected = if good { Ok(json!({"iss": "client"})) } else { Err(InvalidJws::OtherType) };
            assert_eq!(verify(&other.sign_raw(header), &keys), expected, "{header}");
        }
        for header in [r#"{"alg":"EdDSA","alg":"EdDSA"}"#, r#"{"typ":"JWT"}"#, "[]", ""] {
            assert_eq!(verify(&other.sign_raw(header), &keys), Err(InvalidJws::Malformed), "{header}");
        }
    }

    #[test]
    fn every_byte_matters_and_the_length_is_bounded() {
        let other = Other::new(Algorithm::Es256);
        let keys = set(&[other.jwk("a")]);
        let text = other.sign(|_| ());
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(verify(&String::from_utf8(changed).unwrap(), &keys).is_err(), "byte {at}");
        }
        let long = other.sign_raw(&format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "a".repeat(MAX_LEN)));
        assert_eq!(verify(&long, &keys), Err(InvalidJws::Malformed));
        assert_eq!(unverified_claims::<Value>(&long), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_.-]{0,120}") {
            let keys = KEYS.with(Clone::clone);
            let _ = verify(&text, &keys);
            let _ = unverified_claims::<Value>(&text);
        }

        #[test]
        fn no_header_makes_it_panic(header in r#"\{"alg":"(EdDSA|ES256|x)"(,"(kid|typ|crit)":("a"|null|1|\[\]))*\}"#) {
            let keys = KEYS.with(Clone::clone);
            let text = format!("{}.{}.{}", base64url(header), base64url("{}"), base64url([0; 64]));
            prop_assert!(verify(&text, &keys).is_err());
        }
    }

    thread_local! {
        static KEYS: std::sync::Arc<PublicKeySet> =
            std::sync::Arc::new(set(&[Other::new(Algorithm::EdDsa).jwk("a"), Other::new(Algorithm::Es256).jwk("b")]));
    }
}
