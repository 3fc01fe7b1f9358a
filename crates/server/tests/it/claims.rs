//! Claims by configuration, as operators write them and resource servers read them.

use jsonwebtoken::dangerous::insecure_decode;
use serde_json::{Value, json};

use crate::at::At;
use crate::home::Home;

const CONFIG: &str = "[tokens.claims]\ntenant = \"acme\"\nlimits = { rate = 1.5, of = [\"a\", \"b\"] }\n";

#[tokio::test]
async fn configured_claims_are_in_jwts_and_introspections_of_every_mode() {
    let expected = json!({ "tenant": "acme", "limits": { "rate": 1.5, "of": ["a", "b"] }, "tier": "gold" });
    for mode in ["", "enable = false", "pool_size = 1"] {
        let home = Home::with_config(&format!("{CONFIG}[token_persistence]\n{mode}\n"));
        let server = home.start().await;
        for format in ["jwt", "opaque"] {
            let metadata =
                json!({ "access_token_format": format, "access_token_claims": { "tier": "gold" } });
            let client = server.create_client(&home.first_client(), metadata).await;
            let token = server.token(&client, &[]).await;
            let mut shown = vec![server.introspect(&client, &token).await];
            if format == "jwt" {
                shown.push(insecure_decode::<Value>(&token).unwrap().claims);
            }
            for claims in shown {
                let configured: Value = ["tenant", "limits", "tier"]
                    .map(|name| (name.to_owned(), claims[name].clone()))
                    .into_iter()
                    .collect();
                assert_eq!(configured, expected, "{mode}, {format}: {claims}");
                assert_eq!(claims["client_id"], client.0.as_str());
            }
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_registered_claim_is_refused_by_name_wherever_it_is_written() {
    let home = Home::new();
    let server = home.start().await;
    for at in [At::Server(&server), At::Store] {
        for (claims, named) in [
            (r#"{"exp":1}"#, "\"exp\""),
            (r#"{"a":1,"cnf":{}}"#, "\"cnf\""),
            (r#"{"grantry_x":1}"#, "\"grantry_x\""),
        ] {
            let refusal = at.refusal(&home, &["clients", "create", "--access-token-claims", claims]);
            assert!(refusal.contains("access_token_claims") && refusal.contains(named), "{refusal}");
        }
        let id = if matches!(at, At::Store) { "stored" } else { "served" };
        let claims = ["--access-token-claims", r#"{"tier":"gold","n":[1]}"#];
        let made = at.json(&home, &[&["clients", "create", "--id", id], &claims[..]].concat());
        assert_eq!(made["access_token_claims"], json!({ "tier": "gold", "n": [1] }));
        let changed = at.json(&home, &["clients", "update", id, "--access-token-claims", r#"{"n":2}"#]);
        assert_eq!(changed["access_token_claims"], json!({ "n": 2 }), "they are replaced as a whole");
        let unset = at.json(&home, &["clients", "update", id, "--unset", "access_token_claims"]);
        assert!(unset.get("access_token_claims").is_none());
    }
    let not_json = home.run(&["clients", "create", "--access-token-claims", "tier=gold"]);
    assert_eq!(not_json.status.code(), Some(2));
}
