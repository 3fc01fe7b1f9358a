use std::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::{Algorithm, JsonText, SignError, Signer, SigningKey, from_base64url};

/// The protected header of what we sign; a header with anything else that must be understood is refused.
#[derive(Serialize, Deserialize)]
struct Header<'a> {
    alg: Algorithm,
    #[serde(borrow)]
    typ: JsonText<'a>,
    #[serde(borrow)]
    kid: JsonText<'a>,
    #[serde(default, skip_serializing)]
    crit: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJws {
    #[error("not a compact JWS")]
    Malformed,
    #[error("the header's typ is another one")]
    OtherType,
    #[error("signed with an algorithm that is not taken, or that is not the key's own")]
    Algorithm,
    /// A newer key set may have the key.
    #[error("signed with a key that is not known")]
    UnknownKey,
    #[error("the signature does not match")]
    Signature,
}

/// Bytes of a signature by an RSA key of 2048 bits, for which room is made; others are shorter, or rare.
const LONGEST_SIGNATURE: usize = 256;

/// At most so many bytes of text, with the dots of a compact JWS.
const fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4 + 8
}

/// A compact JWS (RFC 7515 §7.1).
pub async fn sign_compact(
    signer: &dyn Signer,
    typ: &str,
    claims: &(impl Serialize + Sync),
) -> Result<String, SignError> {
    let alg = signer.algorithm();
    let header = Header { alg, typ: typ.into(), kid: signer.kid().into(), crit: None };
    let header = serde_json::to_vec(&header).map_err(|_| SignError::Unusable(alg))?;
    let claims = serde_json::to_vec(claims).map_err(|_| SignError::Unusable(alg))?;
    let mut token = String::with_capacity(encoded_len(header.len() + claims.len() + LONGEST_SIGNATURE));
    URL_SAFE_NO_PAD.encode_string(header, &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = signer.sign(token.as_bytes()).await?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// The claims of a compact JWS of ours whose `typ`, key, algorithm and signature are as they must be. The header chooses
/// among our keys by `kid` and has to name that key's own algorithm (RFC 8725 §3.1).
pub fn verify_compact<C: DeserializeOwned, K: Deref<Target = SigningKey>>(
    token: &str,
    typ: &str,
    find_key: impl FnOnce(&str) -> Option<K>,
) -> Result<C, InvalidJws> {
    let (signed, signature) = token.rsplit_once('.').ok_or(InvalidJws::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(InvalidJws::Malformed)?;
    let header = from_base64url(header).ok_or(InvalidJws::Malformed)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| InvalidJws::Malformed)?;
    if *header.typ != *typ || header.crit.is_some() {
        return Err(InvalidJws::OtherType);
    }
    let key =
        find_key(&header.kid).filter(|key| key.algorithm() == header.alg).ok_or(InvalidJws::UnknownKey)?;
    let signature = from_base64url(signature).ok_or(InvalidJws::Malformed)?;
    if !key.verify(signed.as_bytes(), &signature) {
        return Err(InvalidJws::Signature);
    }
    from_json(claims)
}

pub(crate) fn from_json<T: DeserializeOwned>(part: &str) -> Result<T, InvalidJws> {
    let bytes = from_base64url(part).ok_or(InvalidJws::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| InvalidJws::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::base64url;

    fn key(algorithm: Algorithm) -> SigningKey {
        SigningKey::from_pkcs8(algorithm, &SigningKey::generate_pkcs8(algorithm).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_library_of_others_verifies_what_we_sign() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let token = sign_compact(
                &key,
                "at+jwt",
                &json!({"iss": "https://issuer.example", "exp": 4_000_000_000_u64}),
            )
            .await
            .unwrap();
            let jwk: jsonwebtoken::jwk::Jwk =
                serde_json::from_value(serde_json::to_value(key.jwk()).unwrap()).unwrap();
            let decoding = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
            let header = jsonwebtoken::decode_header(&token).unwrap();
            let mut rules = jsonwebtoken::Validation::new(header.alg);
            rules.set_issuer(&["https://issuer.example"]);
            let decoded = jsonwebtoken::decode::<Value>(&token, &decoding, &rules).unwrap();
            assert_eq!(decoded.header.typ.as_deref(), Some("at+jwt"));
        }
    }

    #[tokio::test]
    async fn typ_key_algorithm_and_every_byte_matter() {
        let (key, other) = (key(Algorithm::Es256), key(Algorithm::EdDsa));
        let token = sign_compact(&key, "at+jwt", &json!({"sub": "x"})).await.unwrap();
        let verify = |token: &str, typ: &str, key| verify_compact::<Value, _>(token, typ, |_| key);
        assert!(verify(&token, "at+jwt", Some(&key)).is_ok());
        assert_eq!(verify(&token, "rt+jwt", Some(&key)), Err(InvalidJws::OtherType));
        assert_eq!(verify(&token, "at+jwt", None), Err(InvalidJws::UnknownKey));
        assert_eq!(verify(&token, "at+jwt", Some(&other)), Err(InvalidJws::UnknownKey));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(verify(&changed, "at+jwt", Some(&key)).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_header_without_a_signature_or_with_none_as_algorithm_is_refused() {
        let key = key(Algorithm::EdDsa);
        let none =
            format!("{}.{}.", base64url(br#"{"alg":"none","typ":"at+jwt","kid":"x"}"#), base64url(b"{}"));
        assert_eq!(verify_compact::<Value, _>(&none, "at+jwt", |_| Some(&key)), Err(InvalidJws::Malformed));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_.-]{0,120}") {
            let _ = verify_compact::<Value, &SigningKey>(&text, "at+jwt", |_| None);
        }
    }
}
