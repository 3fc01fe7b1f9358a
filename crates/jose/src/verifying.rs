//! Signatures under the keys that a server publishes, for those who know nothing of it but these.

use crate::assertion::Header;
use crate::{Algorithm, InvalidJws, PresentedJws, PublicKeySet, from_base64url};

/// What a text has to be.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// What it may call itself, in lower case and without `application/`. It has to say what it is (RFC 8725 §3.11).
    pub types: &'a [&'a str],
    /// What it may be signed with, besides that this has to be the key's own algorithm (RFC 8725 §3.1).
    pub algorithms: &'a [Algorithm],
}

/// What has been signed, as JSON, of a compact JWS that the key which its `kid` names has signed.
///
/// # Errors
/// [`InvalidJws::UnknownKey`] when a newer set may have the key.
pub fn verify_published(
    jws: &PresentedJws<'_>,
    expected: Expected<'_>,
    keys: &PublicKeySet,
) -> Result<Vec<u8>, InvalidJws> {
    let header = from_base64url(jws.header).ok_or(InvalidJws::Malformed)?;
    let header = Header::read(&header)?;
    if header.crit || !header.is_one_of(expected.types) {
        return Err(InvalidJws::OtherType);
    }
    let allowed = |algorithm: &Algorithm| expected.algorithms.contains(algorithm);
    let algorithm = header.algorithm().filter(allowed).ok_or(InvalidJws::Algorithm)?;
    // Without a name each key would be tried, and anybody could ask for that much work.
    let kid = header.kid().ok_or(InvalidJws::Malformed)?;
    let signature = from_base64url(jws.signature).ok_or(InvalidJws::Malformed)?;
    let mut named = keys.candidates(Some(kid)).peekable();
    named.peek().ok_or(InvalidJws::UnknownKey)?;
    let mut candidates = named.filter(|key| key.algorithm == algorithm).peekable();
    candidates.peek().ok_or(InvalidJws::Algorithm)?;
    if !candidates.any(|key| key.verify_presented(jws, &signature)) {
        return Err(InvalidJws::Signature);
    }
    from_base64url(jws.payload).ok_or(InvalidJws::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{SigningKey, base64url};

    const EXPECTED: Expected<'_> = Expected { types: &["at+jwt"], algorithms: &Algorithm::ALL };

    fn key(algorithm: Algorithm) -> SigningKey {
        SigningKey::from_pkcs8(algorithm, &SigningKey::generate_pkcs8(algorithm).unwrap()).unwrap()
    }

    fn jwk(key: &SigningKey, kid: &str) -> Value {
        let mut jwk = serde_json::to_value(key.jwk()).unwrap();
        jwk["kid"] = kid.into();
        jwk
    }

    fn set(keys: &[Value]) -> PublicKeySet {
        PublicKeySet::parse(&json!({ "keys": keys })).unwrap()
    }

    fn verify(text: &str, expected: Expected<'_>, keys: &PublicKeySet) -> Result<Vec<u8>, InvalidJws> {
        verify_published(&PresentedJws::new(text).unwrap(), expected, keys)
    }

    /// The header as it is written here; the signature is right.
    fn sign(key: &SigningKey, header: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url("{}"));
        let signature = key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", base64url(signature))
    }

    #[test]
    fn each_algorithm_is_verified_and_only_where_it_is_taken() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let keys = set(&[jwk(&key, "a")]);
            let alg = algorithm.as_str();
            let text = sign(&key, &format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"a"}}"#));
            assert_eq!(verify(&text, EXPECTED, &keys), Ok(b"{}".to_vec()));
            let others: Vec<_> = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
            let expected = Expected { algorithms: &others, ..EXPECTED };
            assert_eq!(verify(&text, expected, &keys), Err(InvalidJws::Algorithm));
        }
    }

    #[test]
    fn type_algorithm_and_key_have_to_be_said_and_right() {
        let (rsa, other) = (key(Algorithm::Rs256), key(Algorithm::EdDsa));
        let keys = set(&[jwk(&rsa, "a"), jwk(&other, "b")]);
        let table = [
            (r#"{"alg":"RS256","typ":"application/AT+JWT","kid":"a"}"#, Ok(b"{}".to_vec())),
            (r#"{"alg":"RS256","kid":"a"}"#, Err(InvalidJws::OtherType)),
            (r#"{"alg":"RS256","typ":"JWT","kid":"a"}"#, Err(InvalidJws::OtherType)),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"a","crit":[]}"#, Err(InvalidJws::OtherType)),
            (r#"{"alg":"RS256","typ":"at+jwt"}"#, Err(InvalidJws::Malformed)),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"c"}"#, Err(InvalidJws::UnknownKey)),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"b"}"#, Err(InvalidJws::Algorithm)),
            (r#"{"alg":"EdDSA","typ":"at+jwt","kid":"a"}"#, Err(InvalidJws::Algorithm)),
            (r#"{"alg":"EdDSA","typ":"at+jwt","kid":"b"}"#, Err(InvalidJws::Signature)),
            (r#"{"alg":"HS256","typ":"at+jwt","kid":"a"}"#, Err(InvalidJws::Algorithm)),
            (r#"{"alg":"none","typ":"at+jwt","kid":"a"}"#, Err(InvalidJws::Algorithm)),
            (r#"{"alg":"PS256","typ":"at+jwt","kid":"a"}"#, Err(InvalidJws::Algorithm)),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"a","kid":"a"}"#, Err(InvalidJws::Malformed)),
        ];
        for (header, expected) in table {
            assert_eq!(verify(&sign(&rsa, header), EXPECTED, &keys), expected, "{header}");
        }
    }

    #[test]
    fn an_empty_set_verifies_nothing() {
        let key = key(Algorithm::EdDsa);
        let text = sign(&key, r#"{"alg":"EdDSA","typ":"at+jwt","kid":"a"}"#);
        assert_eq!(verify(&text, EXPECTED, &PublicKeySet::empty()), Err(InvalidJws::UnknownKey));
    }
}
