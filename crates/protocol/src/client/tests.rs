use super::*;

const RULES: MetadataRules = MetadataRules { retention_time: Lifetime::from_secs(86_400), has_queue: false };

fn refused_field(json: serde_json::Value) -> &'static str {
    let metadata: ClientMetadata = serde_json::from_value(json).unwrap();
    metadata.validate(&RULES).unwrap_err().field
}

#[test]
fn async_needs_a_queue() {
    assert_eq!(refused_field(serde_json::json!({ "persistence": "async" })), "persistence");
    let metadata: ClientMetadata =
        serde_json::from_value(serde_json::json!({ "persistence": "async" })).unwrap();
    metadata.validate(&MetadataRules { has_queue: true, ..RULES }).unwrap();
}

#[test]
fn the_defaults_are_valid() {
    ClientMetadata::default().validate(&RULES).unwrap();
}

#[test]
fn each_field_that_contradicts_is_named() {
    use serde_json::json;
    assert_eq!(refused_field(json!({"client_name": "a\nb"})), "client_name");
    assert_eq!(
        refused_field(json!({"grant_types": ["client_credentials", "client_credentials"]})),
        "grant_types"
    );
    assert_eq!(refused_field(json!({"token_endpoint_auth_method": "none"})), "token_endpoint_auth_method");
    assert_eq!(refused_field(json!({"scope": "grantry:admim"})), "scope");
    assert_eq!(refused_field(json!({"access_token_lifetime": "24h"})), "access_token_lifetime");
    assert_eq!(refused_field(json!({"access_token_lifetime": "10ms"})), "access_token_lifetime");
    assert_eq!(refused_field(json!({"resources": ["a b"]})), "resources");
    assert_eq!(refused_field(json!({"allowed_resources": [""]})), "allowed_resources");
    let method = "token_endpoint_auth_method";
    assert_eq!(refused_field(json!({method: "private_key_jwt"})), method);
    assert_eq!(refused_field(json!({"jwks": []})), "jwks");
    assert_eq!(refused_field(json!({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}})), "jwks");
    assert_eq!(refused_field(json!({"jwks": {"keys": [{}]}, "jwks_uri": "https://a.example/"})), "jwks_uri");
    for url in ["http://a.example/jwks", "https://user@a.example/", "https://a.example/#x", "jwks"] {
        assert_eq!(refused_field(json!({"jwks_uri": url})), "jwks_uri", "{url}");
    }
    let bearer = json!(["urn:ietf:params:oauth:grant-type:jwt-bearer"]);
    assert_eq!(refused_field(json!({"grant_types": bearer})), "jwt_bearer_subjects");
    assert_eq!(refused_field(json!({"grant_types": bearer, "jwt_bearer_subjects": ["*"]})), "jwks");
    assert_eq!(refused_field(json!({"jwt_bearer_issuer": {"issuer": "x"}})), "jwt_bearer_issuer");
    assert_eq!(
        refused_field(
            json!({"grant_types": ["refresh_token"], method: "none", "refresh_token_rotation": "never"})
        ),
        "refresh_token_rotation"
    );
    for origin in ["*", "null", "https://a.example/", "https://A.example", "https://a.example:443"] {
        assert_eq!(
            refused_field(json!({"allowed_cors_origins": [origin]})),
            "allowed_cors_origins",
            "{origin}"
        );
    }
}

#[test]
fn an_unknown_reserved_scope_names_the_nearest_one() {
    let metadata: ClientMetadata =
        serde_json::from_value(serde_json::json!({"scope": "grantry:admim"})).unwrap();
    assert!(metadata.validate(&RULES).unwrap_err().problem.contains("grantry:admin"));
}
