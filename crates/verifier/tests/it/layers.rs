//! What a request is answered that is not let in.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use axum::{Extension, Router};
use grantry_verifier::{RequireScope, RequireToken, ResourceMetadata, Verified, Verifier};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::issuer::{AUDIENCE, Issuer};
use crate::wait;

const METADATA: &str = "resource_metadata=\"https://api.example/.well-known/oauth-protected-resource\"";

fn app(verifier: &Arc<Verifier>) -> Router {
    let who = |Extension(verified): Extension<Arc<Verified>>| async move { verified.subject().to_owned() };
    Router::new()
        .route("/admin", get(who).layer(RequireScope::new(verifier, "read admin")))
        .route("/write", get(who).layer(RequireScope::new(verifier, "write")))
        .route("/", get(who))
        .layer(RequireToken::new(Arc::clone(verifier)))
        .route("/unguarded", get(who).layer(RequireScope::new(verifier, "read")))
        .merge(verifier.resource().unwrap().router())
}

async fn service() -> (Issuer, Router) {
    let issuer = Issuer::start().await;
    let mut settings = issuer.settings();
    settings.resource = Some(ResourceMetadata::new(AUDIENCE, &issuer.url, &["read", "write"]).unwrap());
    let verifier = issuer.verifier(settings);
    wait::until("keys and a snapshot", async || verifier.is_ready()).await;
    let app = app(&verifier);
    (issuer, app)
}

async fn call(app: &Router, path: &str, token: Option<&str>) -> Response<Body> {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_good_token_reaches_the_handler_with_what_it_says() {
    let (issuer, app) = service().await;
    for path in ["/", "/write"] {
        let response = call(&app, path, Some(&issuer.token())).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, "ann");
    }
}

#[tokio::test]
async fn each_refusal_has_its_status_and_challenge() {
    let (issuer, app) = service().await;
    let (good, expired) = (issuer.token(), issuer.token_with(|claims| claims["exp"] = json!(1)));
    let foreign = issuer.token_with(|claims| claims["aud"] = json!("https://other.example"));
    let missing = format!("Bearer {METADATA}");
    let invalid = format!(
        "Bearer error=\"invalid_token\", error_description=\"the access token is not valid here\", {METADATA}"
    );
    let insufficient = format!("Bearer error=\"insufficient_scope\", scope=\"read admin\", {METADATA}");
    let table = [
        ("/", None, StatusCode::UNAUTHORIZED, &missing),
        ("/", Some(&expired), StatusCode::UNAUTHORIZED, &invalid),
        ("/admin", Some(&foreign), StatusCode::UNAUTHORIZED, &invalid),
        ("/admin", Some(&good), StatusCode::FORBIDDEN, &insufficient),
        ("/unguarded", Some(&good), StatusCode::UNAUTHORIZED, &missing),
    ];
    for (path, token, status, challenge) in table {
        let response = call(&app, path, token.map(String::as_str)).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["www-authenticate"], **challenge, "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(text(response).await, "");
    }
}

#[tokio::test]
async fn an_outage_is_503_with_a_wait_and_no_challenge() {
    let issuer = Issuer::start().await;
    let mut settings = issuer.settings();
    settings.resource = Some(ResourceMetadata::new(AUDIENCE, &issuer.url, &[]).unwrap());
    let app = app(&issuer.verifier(settings));
    let response = call(&app, "/", Some("gta_opaque")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(!response.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn the_resource_describes_itself_to_everybody() {
    let (issuer, app) = service().await;
    let response = call(&app, "/.well-known/oauth-protected-resource", None).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let document: Value = serde_json::from_str(&text(response).await).unwrap();
    let expected = json!({
        "resource": AUDIENCE,
        "authorization_servers": [issuer.url],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header"],
    });
    assert_eq!(document, expected);
}
