//! `GET /.well-known/oauth-authorization-server` and `GET /oauth2/jwks`

use serde_json::json;

use crate::app::{App, ISSUER};

#[tokio::test]
async fn the_metadata_name_what_is_there_and_nothing_else() {
    let app = App::new().await;
    let answer = app.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let all = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    let algorithms = ["EdDSA", "ES256", "RS256"];
    assert_eq!(
        answer.json(),
        json!({
            "issuer": ISSUER,
            "token_endpoint": format!("{ISSUER}/oauth2/token"),
            "token_endpoint_auth_methods_supported": all,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "introspection_endpoint": format!("{ISSUER}/oauth2/introspect"),
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
            "revocation_endpoint": format!("{ISSUER}/oauth2/revoke"),
            "revocation_endpoint_auth_methods_supported": all,
            "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
            "revocations_endpoint": format!("{ISSUER}/oauth2/revocations"),
            "status_list_aggregation_endpoint": format!("{ISSUER}/oauth2/status-list"),
            "jwks_uri": format!("{ISSUER}/oauth2/jwks"),
            "grant_types_supported": [
                "client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer",
            ],
            "response_types_supported": [],
        })
    );
}

#[tokio::test]
async fn the_key_set_has_a_public_key_for_each_algorithm_and_no_private_part() {
    let app = App::new().await;
    let answer = app.get("/oauth2/jwks").await;
    assert_eq!(answer.header("content-type"), "application/jwk-set+json");
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    let algorithms: Vec<&str> = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect();
    assert_eq!(algorithms, ["EdDSA", "ES256", "RS256"]);
    for key in keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none());
        }
    }
}
