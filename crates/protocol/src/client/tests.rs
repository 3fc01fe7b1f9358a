use super::*;

const RULES: MetadataRules = MetadataRules {
    retention_time: Lifetime::from_secs(86_400),
    has_queue: false,
    persistence: PersistenceMode::Sync,
    active_token_policy: ActiveTokenPolicy::Reuse,
};

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
fn a_status_list_is_for_jwts_that_can_be_ended_one_by_one() {
    use serde_json::json;
    let problem = |fields: serde_json::Value, rules: &MetadataRules| {
        let mut client = json!({ "status_list": true });
        client.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let metadata: ClientMetadata = serde_json::from_value(client).unwrap();
        metadata.validate(rules).err().map(|error| (error.field, error.problem))
    };
    let (field, text) = problem(json!({}), &RULES).unwrap();
    assert_eq!(field, "status_list");
    assert!(text.contains("access_token_format"), "{text}");
    assert_eq!(problem(json!({ "access_token_format": "jwt" }), &RULES), None);

    let none = MetadataRules { persistence: PersistenceMode::None, ..RULES };
    let replacing = MetadataRules { active_token_policy: ActiveTokenPolicy::Replace, ..RULES };
    let both = MetadataRules { persistence: PersistenceMode::None, ..replacing };
    for (mode, policy, rules, is_refused) in [
        (None, None, &none, false),
        (None, None, &replacing, false),
        (None, None, &both, true),
        (Some("sync"), None, &both, false),
        (None, Some("multiple"), &both, false),
        (Some("none"), Some("replace"), &RULES, true),
        (Some("none"), None, &replacing, true),
        (None, Some("replace"), &none, true),
    ] {
        let mut client = json!({ "access_token_format": "jwt" });
        mode.inspect(|mode| client["persistence"] = json!(mode));
        policy.inspect(|policy| client["active_token_policy"] = json!(policy));
        let refused = problem(client, rules);
        assert_eq!(refused.is_some(), is_refused, "{mode:?} {policy:?} {rules:?}");
        if let Some((field, text)) = refused {
            assert_eq!(field, "status_list");
            assert!(text.contains("persistence") && text.contains("active_token_policy"), "{text}");
        }
    }
}

#[test]
fn an_unknown_reserved_scope_names_the_nearest_one() {
    let metadata: ClientMetadata =
        serde_json::from_value(serde_json::json!({"scope": "grantry:admim"})).unwrap();
    assert!(metadata.validate(&RULES).unwrap_err().problem.contains("grantry:admin"));
}
