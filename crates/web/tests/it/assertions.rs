//! JWT assertions as clients make them, with a library that is not ours.

use std::sync::atomic::{AtomicU64, Ordering};

use grantry_jose::{Algorithm, SigningKey};
use grantry_protocol::Clock;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::app::{Answer, App, ISSUER};

pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A key pair of a client.
pub struct Signer {
    key: SigningKey,
    pkcs8: Vec<u8>,
}

impl Signer {
    pub fn new() -> Self {
        let pkcs8 = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let key = SigningKey::from_pkcs8(Algorithm::Es256, &pkcs8).unwrap();
        Self { key, pkcs8: pkcs8.to_vec() }
    }

    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.key.jwk()] })
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header =
            Header { kid: Some(self.key.kid().to_owned()), ..Header::new(jsonwebtoken::Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&self.pkcs8)).unwrap()
    }

    /// An assertion of `issuer` about `subject`, good for a minute and used once. In `changes`, null takes a claim out.
    pub fn assert(&self, app: &App, issuer: &str, subject: &str, changes: &Value) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let now = app.clock.now().as_secs();
        let jti = format!("assertion-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut claims = json!({
            "iss": issuer, "sub": subject, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": jti,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.sign(&claims)
    }
}

/// An app with the client `billing`, which gets tokens for people by assertions that it signs itself, and may refresh
/// them; changed by `metadata`.
pub async fn bearer_app(metadata: Value) -> (App, Signer) {
    let signer = Signer::new();
    let app = App::new().await;
    create_bearer_client(&app, &signer, "billing", metadata).await;
    (app, signer)
}

pub async fn create_bearer_client(app: &App, signer: &Signer, id: &str, changes: Value) {
    let mut metadata = json!({
        "grant_types": [JWT_BEARER],
        "jwks": signer.jwks(),
        "jwt_bearer_subjects": ["alice", "*@example.com"],
        "jwt_bearer_refresh": true,
    });
    for (name, value) in changes.as_object().unwrap() {
        metadata[name] = value.clone();
    }
    app.create_client(id, metadata).await;
}

/// What `client` is answered for an assertion of its own about `subject`, with further parameters.
pub async fn bear_as(app: &App, signer: &Signer, client: &str, subject: &str, more: &str) -> Answer {
    let assertion = signer.assert(app, client, subject, &json!({}));
    app.post_as(client, "/oauth2/token", &format!("grant_type={JWT_BEARER}&assertion={assertion}{more}"))
        .await
}

/// The access token and the refresh token of `billing` for alice.
pub async fn alices_pair(app: &App, signer: &Signer) -> (String, String) {
    bear_as(app, signer, "billing", "alice", "").await.pair()
}
