//! What clients are told about the resource (RFC 9728), through nginx as in `deploy/gateway`.

use serde_json::{Value, json};

use super::raw::{Answer, request};
use super::stage::{AUDIENCE, PATIENT, Stage};

const DOCUMENT: &str = "/.well-known/oauth-protected-resource";

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").unwrap_or_default()
}

#[tokio::test]
async fn who_is_refused_is_told_where_to_find_out_whom_to_ask_for_tokens() {
    let described = format!("{PATIENT}\nresource = \"{AUDIENCE}\"");
    let Stage { issuer, gateway, upstream, nginx } = Stage::with(&described).await;
    let named = format!("resource_metadata=\"{AUDIENCE}{DOCUMENT}\"");
    let missing = request(nginx.port, "GET /read", &[]).await;
    assert_eq!((missing.status, challenge(&missing)), (401, format!("Bearer {named}").as_str()));
    let forged = nginx.get("/read", "forged").await;
    assert_eq!(forged.status, 401);
    assert!(challenge(&forged).contains(r#"error="invalid_token""#) && challenge(&forged).contains(&named));
    let narrow = nginx.get("/read/admin", &issuer.token("read", 0).await).await;
    assert_eq!(narrow.status, 403);
    assert!(
        challenge(&narrow).contains(r#"error="insufficient_scope""#) && challenge(&narrow).contains(&named)
    );

    let found = request(nginx.port, &format!("GET {DOCUMENT}"), &[]).await;
    assert_eq!((found.status, found.header("content-type")), (200, Some("application/json")));
    assert_eq!(found.header("access-control-allow-origin"), Some("*"));
    for otherwise in [format!("GET /{DOCUMENT}"), format!("GET /read/..{DOCUMENT}")] {
        let answer = request(nginx.port, &otherwise, &["X-Original-URI: /public"]).await;
        assert_eq!((answer.status, &answer.body), (200, &found.body), "{otherwise}");
    }
    assert_eq!(request(nginx.port, &format!("POST {DOCUMENT}"), &[]).await.status, 403);
    let document: Value = serde_json::from_str(&found.body).unwrap();
    let expected = json!({
        "resource": AUDIENCE,
        "authorization_servers": [issuer.url()],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header"],
    });
    assert_eq!(document, expected);
    assert!(gateway.metrics().await.contains(r#"grantry_gateway_checks_total{outcome="metadata"} 3"#));

    // Nothing beside it, and nothing that only begins with it, is for everybody.
    for (line, status) in [
        (format!("GET {DOCUMENT}/read"), 401),
        (format!("GET {DOCUMENT}x"), 401),
        (format!("GET {DOCUMENT}/../check"), 403),
    ] {
        let answer = request(nginx.port, &line, &["X-Original-Method: GET", "X-Original-URI: /public"]).await;
        assert!([status, 403].contains(&answer.status), "{line}: {}", answer.status);
    }
    assert!(upstream.take().is_empty());
}

#[tokio::test]
async fn a_gateway_without_a_resource_describes_none() {
    let Stage { issuer: _issuer, gateway: _gateway, upstream, nginx } = Stage::start().await;
    let found = request(nginx.port, &format!("GET {DOCUMENT}"), &[]).await;
    assert_eq!(found.status, 403);
    let missing = request(nginx.port, "GET /read", &[]).await;
    assert_eq!(challenge(&missing), "Bearer");
    assert!(upstream.take().is_empty());
}
