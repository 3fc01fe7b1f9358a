//! Public keys of clients, from the files that people have them in: a JWK set (RFC 7517), one JWK, or PEM as openssl
//! writes it (RFC 7468 section 13).

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use grantry_jose::base64url;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::failure::Failure;

/// What stands in front of the key itself (RFC 8410 section 4).
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// And in front of an uncompressed point on P-256 (RFC 5480 section 2), whose first byte is the last one here.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// The algorithm of an RSA key (RFC 8017 appendix A.1).
const RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// The JWK set of a file.
pub fn read_set(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::of_file(path, "read", &error))?;
    set_of(&text).map_err(|problem| Failure::new(format!("{}: {problem}", path.display())))
}

fn set_of(text: &str) -> Result<Value, String> {
    if !text.contains("-----BEGIN ") {
        return match serde_json::from_str::<Value>(text) {
            Ok(set) if set.get("keys").is_some() => Ok(set),
            Ok(key) if key.get("kty").is_some() => Ok(json!({ "keys": [key] })),
            _ => Err("is neither a JWK set, nor a JWK, nor PEM".to_owned()),
        };
    }
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "holds a private key, which is nobody's business but the client's; give the public one: openssl \
                    pkey -in FILE -pubout"
                .to_owned(),
        );
    }
    let keys: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()).collect();
    let keys = keys.map_err(|error| format!("is not PEM: {error}"))?;
    let keys: Option<Vec<Value>> = keys.iter().map(|key| jwk_of(key)).collect();
    match keys {
        Some(keys) if !keys.is_empty() => Ok(json!({ "keys": keys })),
        Some(_) => Err(
            "holds no public key (-----BEGIN PUBLIC KEY-----); of a certificate take it with: openssl x509 \
                        -in FILE -pubkey -noout"
                .to_owned(),
        ),
        None => Err("holds a key that is neither Ed25519, nor P-256, nor RSA".to_owned()),
    }
}

fn jwk_of(der: &[u8]) -> Option<Value> {
    if let Some(x) = der.strip_prefix(ED25519).filter(|x| x.len() == 32) {
        return Some(with_kid("EdDSA", json!({ "crv": "Ed25519", "kty": "OKP", "x": base64url(x) })));
    }
    if let Some(point) = der.strip_prefix(P256).filter(|point| point.len() == 64) {
        let (x, y) = point.split_at(32);
        let key = json!({ "crv": "P-256", "kty": "EC", "x": base64url(x), "y": base64url(y) });
        return Some(with_kid("ES256", key));
    }
    let (outer, _) = element(SEQUENCE, der)?;
    let (bits, _) = element(BIT_STRING, outer.strip_prefix(RSA)?)?;
    let (numbers, _) = element(SEQUENCE, bits.strip_prefix(&[0])?)?;
    let (modulus, rest) = element(INTEGER, numbers)?;
    let (exponent, _) = element(INTEGER, rest)?;
    // A leading zero only keeps the number from looking negative.
    let number = |bytes: &[u8]| base64url(bytes.strip_prefix(&[0]).unwrap_or(bytes));
    Some(with_kid("RS256", json!({ "e": number(exponent), "kty": "RSA", "n": number(modulus) })))
}

/// The content of the first element, which has to be of this kind, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // As many bytes of length follow; two are enough for any key.
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `kid` is the key's thumbprint (RFC 7638): of exactly the members that are there, which serde_json sorts.
fn with_kid(algorithm: &str, mut key: Value) -> Value {
    let kid = base64url(digest(&SHA256, key.to_string().as_bytes()));
    key["kid"] = kid.into();
    key["alg"] = algorithm.into();
    key["use"] = "sig".into();
    key
}

#[cfg(test)]
mod tests;
