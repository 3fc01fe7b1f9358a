//! What each proxy says and is answered, without the proxy: the gateway is asked as Traefik and Envoy ask.

use super::raw::{bearer, request};
use super::stage::{Gateway, Issuer};

#[tokio::test]
async fn traefik_says_it_in_forwarded_headers_and_gets_every_identity_header() {
    let issuer = Issuer::start().await;
    let gateway = Gateway::ready(&issuer, "proxy = \"traefik\"\nmax_staleness = \"30s\"").await;
    let token = bearer(&issuer.token("read", 0).await);
    let asked = async |method: &str, uri: &str, more: &[&str]| {
        let said = [format!("X-Forwarded-Method: {method}"), format!("X-Forwarded-Uri: {uri}")];
        let headers = [&[said[0].as_str(), said[1].as_str()], more].concat();
        request(gateway.port, "GET /check", &headers).await
    };
    let answer = asked("GET", "/read?x", &[&token]).await;
    assert_eq!((answer.status, answer.header("x-grantry-subject")), (200, Some(issuer.caller.0.as_str())));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // Traefik overwrites what is in the answer, and nothing else.
    let answer = asked("GET", "/public", &["X-Grantry-Subject: root", &token]).await;
    assert_eq!(answer.status, 200);
    for name in ["subject", "subject-kind", "client", "scope"] {
        assert_eq!(answer.header(&format!("x-grantry-{name}")), Some(""), "{name}");
    }
    let answer = asked("POST", "/orders", &[&token]).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("no rule allows this method"), "{}", answer.body);
    assert_eq!(asked("GET", "/public", &["X_Grantry_Subject: root"]).await.status, 403);
    assert_eq!(asked("GET", "/public", &["X-Forwarded-Uri: /public"]).await.status, 403, "said twice");
    let nginx = ["X-Original-Method: GET", "X-Original-URI: /public"];
    assert_eq!(request(gateway.port, "GET /check", &nginx).await.status, 403, "another proxy's way");
}

#[tokio::test]
async fn envoy_asks_with_the_request_itself_below_check() {
    let issuer = Issuer::start().await;
    let gateway = Gateway::ready(&issuer, "proxy = \"envoy\"\nmax_staleness = \"30s\"").await;
    let token = bearer(&issuer.token("read", 0).await);
    for (line, status) in [
        ("GET /check/read/1?x=y", 200),
        ("DELETE /check/read/1", 200),
        ("DELETE /check/orders", 403),
        ("GET /check/read/admin", 403),
        ("GET /check//public", 403),
        ("GET /check/public/../read/admin", 403),
        ("GET /check/public/%2e%2e/read", 403),
        ("GET /check", 403),
        ("GET /public", 403),
        ("GET /", 403),
        ("OPTIONS *", 403),
        ("CONNECT api.example:443", 403),
    ] {
        let answer = request(gateway.port, line, &[&token, "X-Original-URI: /public"]).await;
        assert_eq!(answer.status, status, "{line}");
    }
}

#[tokio::test]
async fn who_is_no_trusted_proxy_is_refused_and_the_log_says_so() {
    let issuer = Issuer::start().await;
    let gateway = Gateway::ready(&issuer, "proxy = \"nginx\"\ntrusted_proxies = [\"10.0.0.0/8\"]").await;
    let said = ["X-Original-Method: GET", "X-Original-URI: /public"];
    let answer = request(gateway.port, "GET /check", &said).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("only a trusted proxy"), "{}", answer.body);
    gateway.says("gateway.trusted_proxies").await;
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(r#"outcome="untrusted_proxy"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let issuer = Issuer::start().await;
    let gateway = Gateway::ready(&issuer, "proxy = \"nginx\"\nlimits = { max_header_bytes = 8192 }").await;
    let long = format!("x-long: {}", "a".repeat(10_000));
    assert_eq!(request(gateway.port, "GET /check", &[&long]).await.status, 431);
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_and_ends_as_well() {
    let issuer = Issuer::start().await;
    let gateway = Gateway::ready(&issuer, "proxy = \"nginx\"").await;
    let opaque = serde_json::json!({ "scope": "read" });
    let client = issuer.server.create_client(&issuer.admin, opaque).await;
    let more = [("scope", "read"), ("resource", super::stage::AUDIENCE)];
    let token = issuer.server.token(&client, &more).await;
    let said = [bearer(&token), "X-Original-Method: GET".to_owned(), "X-Original-URI: /read".to_owned()];
    let said = said.each_ref().map(String::as_str);
    let answer = request(gateway.port, "GET /check", &said).await;
    assert_eq!((answer.status, answer.header("x-grantry-client")), (200, Some(client.0.as_str())));
    issuer.server.post("/oauth2/revoke", &client, &[("token", &token)]).send().await.unwrap();
    crate::wait::seconds(1).await;
    let status = request(gateway.port, "GET /check", &said).await.status;
    assert!([401, 503].contains(&status), "{status}");
}
