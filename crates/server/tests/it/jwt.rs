//! A resource server that knows nothing of us: the `jsonwebtoken` crate, with the published keys.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::home::{Home, ISSUER};
use crate::test_server::TestServer;

const API: &str = "https://api.example/";

async fn verified(
    server: &TestServer,
    token: &str,
    algorithm: Algorithm,
) -> jsonwebtoken::errors::Result<Value> {
    let keys: JwkSet =
        server.http.get(format!("{}/oauth2/jwks", server.url)).send().await.unwrap().json().await.unwrap();
    let header = decode_header(token)?;
    assert_eq!(header.typ.as_deref(), Some("at+jwt"), "RFC 9068 section 2.1");
    assert_eq!(header.alg, algorithm);
    let key = keys.find(header.kid.as_deref().expect("a kid")).expect("a published key");
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[API]);
    validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation).map(|data| data.claims)
}

#[tokio::test]
async fn a_jwt_access_token_is_verified_with_the_published_keys() {
    for (name, algorithm) in
        [("EdDSA", Algorithm::EdDSA), ("ES256", Algorithm::ES256), ("RS256", Algorithm::RS256)]
    {
        let home = Home::new();
        let server = home.start_with(|command| command.env("GRANTRY_KEYS__SIGNING_ALGORITHM", name)).await;
        let metadata = json!({ "scope": "read write", "access_token_format": "jwt" });
        let client = server.create_client(&home.first_client(), metadata).await;
        let parameters = [("resource", API), ("scope", "read")];
        let token = server.token(&client, &parameters).await;

        let claims = verified(&server, &token, algorithm).await.unwrap();
        assert_eq!(claims["sub"], client.0.as_str(), "RFC 9068 section 2.2");
        assert_eq!(claims["client_id"], client.0.as_str());
        assert_eq!(claims["scope"], "read");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
        assert!(server.is_active(&client, &token).await);

        // "The same token" is the same id and expiry; it may be signed anew.
        let again = verified(&server, &server.token(&client, &parameters).await, algorithm).await.unwrap();
        assert_eq!((&again["jti"], &again["exp"]), (&claims["jti"], &claims["exp"]));

        let (head, signature) = token.rsplit_once('.').unwrap();
        let flipped = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{head}.{flipped}{}", &signature[1..]);
        assert!(verified(&server, &forged, algorithm).await.is_err());
        assert!(!server.is_active(&client, &forged).await);
    }
}

#[tokio::test]
async fn a_change_of_the_signing_algorithm_leaves_older_tokens_valid() {
    let home = Home::new();
    let server = home.start().await;
    let client = server.create_client(&home.first_client(), json!({ "access_token_format": "jwt" })).await;
    let older = server.token(&client, &[("resource", API)]).await;
    server.stop().await;
    let server = home.start_with(|command| command.env("GRANTRY_KEYS__SIGNING_ALGORITHM", "EdDSA")).await;
    assert!(server.is_active(&client, &older).await);
    verified(&server, &older, Algorithm::ES256).await.unwrap();
    let newer = server.token(&client, &[("resource", "https://api.example/")]).await;
    verified(&server, &newer, Algorithm::EdDSA).await.unwrap();
}
