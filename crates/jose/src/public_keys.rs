use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{Algorithm, PresentedJws, from_base64url};

/// Keys in a set; a signature without `kid` is tried with each of them.
const MAX_KEYS: usize = 16;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a key set cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    #[error("it is not a JWK set: an object with an array \"keys\" (RFC 7517 section 5)")]
    NotASet,
    #[error("it has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// It must be taken for known to others.
    #[error("it has a private key; publish public keys only, and replace that key")]
    PrivateKey,
    #[error(
        "it has no key that can be used: OKP Ed25519, EC P-256, or RSA of 2048 bits or more, for signatures"
    )]
    NoUsableKey,
}

/// The public keys of somebody else (RFC 7517 §5), parsed once.
pub struct PublicKeySet {
    keys: Vec<PublicKey>,
}

pub(crate) struct PublicKey {
    kid: Option<String>,
    pub(crate) algorithm: Algorithm,
    parsed: ParsedPublicKey,
}

impl PublicKeySet {
    /// Keys that are for something else are skipped: other types, curves and algorithms, and keys for encryption.
    pub fn parse(set: &Value) -> Result<Self, InvalidKeySet> {
        let keys = set.get("keys").and_then(Value::as_array).ok_or(InvalidKeySet::NotASet)?;
        if keys.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooManyKeys);
        }
        if !keys.iter().all(Value::is_object) {
            return Err(InvalidKeySet::NotASet);
        }
        if keys.iter().any(|key| key.get("d").is_some()) {
            return Err(InvalidKeySet::PrivateKey);
        }
        let keys: Vec<PublicKey> = keys.iter().filter_map(PublicKey::parse).collect();
        if keys.is_empty() {
            return Err(InvalidKeySet::NoUsableKey);
        }
        Ok(Self { keys })
    }

    /// The set of somebody who has no key that can be used, which signs nothing.
    pub const fn empty() -> Self {
        Self { keys: Vec::new() }
    }

    /// The keys that a header may mean; all of them where it names none.
    pub(crate) fn candidates<'s>(&'s self, kid: Option<&'s str>) -> impl Iterator<Item = &'s PublicKey> {
        self.keys.iter().filter(move |key| kid.is_none() || key.kid.as_deref() == kid)
    }
}

/// The members of a JWK that we look at.
#[derive(Deserialize)]
struct Members {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Members {
    fn are_for_signatures(&self) -> bool {
        self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|name| name == "verify"))
    }
}

impl PublicKey {
    fn parse(key: &Value) -> Option<Self> {
        let members = Members::deserialize(key).ok().filter(Members::are_for_signatures)?;
        let bytes = |member: &Option<String>| from_base64url(member.as_deref()?);
        let (algorithm, parsed) = match (members.kty.as_str(), members.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => {
                let x = bytes(&members.x).filter(|x| x.len() == 32)?;
                (Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, x))
            }
            ("EC", Some("P-256")) => {
                // RFC 7518 §6.2.1.2: always of full length.
                let (x, y) = (bytes(&members.x)?, bytes(&members.y)?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                (Algorithm::Es256, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point))
            }
            ("RSA", _) => {
                let (n, e) = (number(bytes(&members.n)?), number(bytes(&members.e)?));
                if !is_acceptable_rsa(&n, &e) {
                    return None;
                }
                let components = RsaPublicKeyComponents { n, e };
                (Algorithm::Rs256, components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256))
            }
            _ => return None,
        };
        let says_otherwise = members.alg.as_deref().is_some_and(|alg| alg != algorithm.as_str());
        if says_otherwise {
            return None;
        }
        Some(Self { kid: members.kid, algorithm, parsed: parsed.ok()? })
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }

    /// The same with the hash that was made anyway, where the algorithm signs a hash.
    pub(crate) fn verify_presented(&self, jws: &PresentedJws<'_>, signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::EdDsa => self.verify(jws.signed.as_bytes(), signature),
            Algorithm::Es256 | Algorithm::Rs256 => Digest::import_less_safe(&jws.signed_hash(), &SHA256)
                .is_ok_and(|digest| self.parsed.verify_digest_sig(&digest, signature).is_ok()),
        }
    }
}

/// Some libraries put a zero in front (RFC 7518 §6.3.1.1).
fn number(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}

/// Both odd, the exponent from 3 to 2^33 (as the verification wants it, and FIPS 186-5 allows).
fn is_acceptable_rsa(modulus: &[u8], exponent: &[u8]) -> bool {
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    if exponent.len() > 5 {
        return false;
    }
    let exponent = exponent.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    RSA_BITS.contains(&bits)
        && modulus.last().is_some_and(|last| last % 2 == 1)
        && exponent % 2 == 1
        && (3..1 << 33).contains(&exponent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{SigningKey, base64url};

    fn jwk(algorithm: Algorithm) -> Value {
        let key = SigningKey::from_pkcs8(algorithm, &SigningKey::generate_pkcs8(algorithm).unwrap()).unwrap();
        serde_json::to_value(key.jwk()).unwrap()
    }

    fn parse(keys: &[Value]) -> Result<PublicKeySet, InvalidKeySet> {
        PublicKeySet::parse(&json!({ "keys": keys }))
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn keys_of_the_three_algorithms_are_taken_with_and_without_alg_and_use() {
        for algorithm in Algorithm::ALL {
            let mut key = jwk(algorithm);
            assert_eq!(parse(&[key.clone()]).unwrap().keys[0].algorithm, algorithm);
            key.as_object_mut().unwrap().retain(|name, _| !["alg", "use", "kid"].contains(&name.as_str()));
            assert_eq!(parse(&[key]).unwrap().keys[0].algorithm, algorithm);
        }
    }

    #[test]
    fn keys_for_something_else_are_skipped_and_the_others_taken() {
        let good = jwk(Algorithm::EdDsa);
        let rsa = jwk(Algorithm::Rs256);
        let others = [
            with(good.clone(), "use", json!("enc")),
            with(good.clone(), "alg", json!("ES256")),
            with(good.clone(), "crv", json!("X25519")),
            with(good.clone(), "key_ops", json!(["sign"])),
            with(good.clone(), "x", json!("AAAA")),
            with(rsa.clone(), "alg", json!("PS256")),
            with(rsa.clone(), "n", json!(base64url([0xff; 128]))),
            with(rsa.clone(), "e", json!("AQ")),
            with(rsa, "e", json!("AQAA")),
            with(jwk(Algorithm::Es256), "y", json!(base64url([1; 32]))),
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            json!({"kty": 7}),
            json!({}),
        ];
        for other in others {
            assert_eq!(
                parse(std::slice::from_ref(&other)).err(),
                Some(InvalidKeySet::NoUsableKey),
                "{other}"
            );
            assert_eq!(parse(&[other, good.clone()]).unwrap().keys.len(), 1);
        }
    }

    #[test]
    fn a_number_with_a_zero_in_front_is_the_same_number() {
        let key = jwk(Algorithm::Rs256);
        let n = from_base64url(key["n"].as_str().unwrap()).unwrap();
        assert!(parse(&[with(key, "n", json!(base64url([&[0], n.as_slice()].concat())))]).is_ok());
    }

    #[test]
    fn what_is_no_set_or_has_too_many_or_private_keys_is_refused() {
        for other in [json!(null), json!([]), json!({}), json!({"keys": {}}), json!({"keys": ["key"]})] {
            assert_eq!(PublicKeySet::parse(&other).err(), Some(InvalidKeySet::NotASet), "{other}");
        }
        let key = jwk(Algorithm::EdDsa);
        assert!(parse(&vec![key.clone(); MAX_KEYS]).is_ok());
        assert_eq!(parse(&vec![key.clone(); MAX_KEYS + 1]).err(), Some(InvalidKeySet::TooManyKeys));
        assert_eq!(parse(&[]).err(), Some(InvalidKeySet::NoUsableKey));
        assert_eq!(parse(&[with(key, "d", json!("AA"))]).err(), Some(InvalidKeySet::PrivateKey));
    }
}
