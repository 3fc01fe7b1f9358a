//! A server that signs the claims of an access token and does nothing else: nothing that signs as many tokens with the same
//! keys, from the same HTTP stack, can be faster.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{baseline, clock, failure::Failure};

#[derive(Args)]
pub struct BaselineSigningArgs {
    /// Where to listen; port 0 takes a free one, and the address is printed
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// How to sign
    #[arg(long)]
    algorithm: Algorithm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Algorithm {
    #[value(name = "EdDSA")]
    EdDsa,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "RS256")]
    Rs256,
}

impl Algorithm {
    /// As `alg` names it (RFC 7518 §3.1, RFC 8037 §3.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

pub async fn run(args: &BaselineSigningArgs) -> Result<ExitCode, Failure> {
    let signer = Arc::new(Signer { key: Key::generate(args.algorithm)?, issued: AtomicU64::new(0) });
    let router = Router::new()
        .route("/oauth2/token", post(token))
        .layer(DefaultBodyLimit::max(baseline::MAX_REQUEST))
        .with_state(signer);
    baseline::serve_at(args.listen, router).await
}

struct Signer {
    key: Key,
    issued: AtomicU64,
}

enum Key {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair, SystemRandom),
    Rs256(RsaKeyPair, SystemRandom),
}

/// As many as the real token has, and as long.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    client_id: &'a str,
    scope: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
    grantry_stored: &'a str,
    grantry_seen: [u64; 2],
    grantry_slot: &'a str,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

const KID: &str = "sRzAHlkhZwUhPOqgxdrlAmnZcMXe0cyzgnZlL7aNfxM";
const SLOT: &str = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg";

async fn token(State(signer): State<Arc<Signer>>, _request: Bytes) -> Response {
    let number = signer.issued.fetch_add(1, Relaxed);
    let audience = format!("https://bench.example/{number:016}");
    let now = clock::since_epoch().as_secs();
    let claims = Claims {
        iss: "http://127.0.0.1:8080",
        sub: "bench-jwt",
        aud: &audience,
        client_id: "bench-jwt",
        scope: "read write",
        iat: now,
        exp: now + 3600,
        jti: uuid::Uuid::from_u128(u128::from(number)).to_string(),
        grantry_stored: "none",
        grantry_seen: [1, 0],
        grantry_slot: SLOT,
    };
    let Some(jwt) = signer.key.jwt(&claims) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let body =
        format!(r#"{{"access_token":"{jwt}","token_type":"Bearer","expires_in":3600,"scope":"read write"}}"#);
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

impl Key {
    fn generate(algorithm: Algorithm) -> Result<Self, Failure> {
        let no_key = |_| Failure::new("no key can be generated on this machine");
        Ok(match algorithm {
            Algorithm::EdDsa => Self::EdDsa(Ed25519KeyPair::generate().map_err(no_key)?),
            Algorithm::Es256 => Self::Es256(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(no_key)?,
                SystemRandom::new(),
            ),
            Algorithm::Rs256 => {
                Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).map_err(no_key)?, SystemRandom::new())
            }
        })
    }

    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::EdDsa(_) => Algorithm::EdDsa,
            Self::Es256(..) => Algorithm::Es256,
            Self::Rs256(..) => Algorithm::Rs256,
        }
    }

    fn jwt(&self, claims: &Claims<'_>) -> Option<String> {
        let header = Header { alg: self.algorithm().name(), typ: "at+jwt", kid: KID };
        let mut jwt = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).ok()?);
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims).ok()?, &mut jwt);
        let signature = self.sign(jwt.as_bytes())?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Some(jwt)
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::EdDsa(key) => Some(key.sign(message).as_ref().to_vec()),
            Self::Es256(key, random) => key.sign(random, message).ok().map(|sig| sig.as_ref().to_vec()),
            Self::Rs256(key, random) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, random, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_signs_a_token_of_three_parts() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            let claims = Claims {
                iss: "",
                sub: "",
                aud: "",
                client_id: "",
                scope: "",
                iat: 0,
                exp: 0,
                jti: String::new(),
                grantry_stored: "none",
                grantry_seen: [1, 0],
                grantry_slot: SLOT,
            };
            let jwt = Key::generate(algorithm).unwrap().jwt(&claims).unwrap();
            assert_eq!(jwt.split('.').count(), 3);
            let header = URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
            assert!(String::from_utf8(header).unwrap().contains(algorithm.name()));
        }
    }
}
