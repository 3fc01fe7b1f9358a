//! JWT assertions as clients make them (RFC 7523 §3), with a library that is not ours.

use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::home::ISSUER;

pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key pair of a client.
pub struct Assertions {
    /// The issuer of the server that they are for.
    audience: String,
    key: EncodingKey,
    kid: String,
    jwk: Jwk,
}

impl Assertions {
    pub fn new() -> Self {
        Self::for_issuer(ISSUER)
    }

    pub fn for_issuer(audience: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        let kid = format!("key-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(kid.clone());
        Self { audience: audience.to_owned(), key, kid, jwk }
    }

    /// The public half, as a client registers it.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// Good for a minute and never the same: by `issuer`, about `subject`.
    pub fn sign(&self, issuer: &str, subject: &str) -> String {
        let mut claims = Self::claims(issuer, subject);
        claims["aud"] = self.audience.as_str().into();
        self.sign_claims(&claims)
    }

    pub fn claims(issuer: &str, subject: &str) -> Value {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let iat = get_current_timestamp();
        let jti = format!("{iat}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let exp = iat + 60;
        json!({ "iss": issuer, "sub": subject, "aud": ISSUER, "iat": iat, "exp": exp, "jti": jti })
    }

    pub fn sign_claims(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.key).unwrap()
    }
}
