//! Cross-origin requests (the CORS protocol, Fetch standard §3.2)

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use grantry_store::{Fault, Outage, StoreError};
use http_body::Frame;
use serde_json::json;

use crate::app::{Answer, App, SECRET, basic, form};

const ORIGIN: &str = "https://app.example";
const GRANT: &str = "grant_type=client_credentials";
const OPEN: [(&str, &str); 6] = [
    ("/oauth2/token", "POST"),
    ("/oauth2/revoke", "POST"),
    ("/oauth2/jwks", "GET, HEAD"),
    ("/oauth2/status-list", "GET, HEAD"),
    ("/oauth2/status-list/0", "GET, HEAD"),
    ("/.well-known/oauth-authorization-server", "GET, HEAD"),
];

/// An app whose client `billing` has pages at [`ORIGIN`].
async fn app_with_pages() -> App {
    App::with_client(json!({ "allowed_cors_origins": [ORIGIN, "http://127.0.0.1:3000"] })).await
}

async fn preflight(app: &App, path: &str, origin: &str) -> Answer {
    let request = Request::options(path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    app.send(request.body(Body::empty()).unwrap()).await
}

async fn get(app: &App, path: &str, origin: &str) -> Answer {
    app.send(Request::get(path).header("origin", origin).body(Body::empty()).unwrap()).await
}

async fn post(app: &App, path: &str, origin: &str, body: &str) -> Answer {
    let request = form(path).header("origin", origin).header("authorization", basic("billing", SECRET));
    app.send(request.body(body.to_owned().into()).unwrap()).await
}

fn cors_headers(answer: &Answer) -> Vec<&str> {
    let names = answer.headers.keys().map(axum::http::HeaderName::as_str);
    names.filter(|name| name.starts_with("access-control-")).collect()
}

/// A page of [`ORIGIN`] may read the answer.
fn assert_readable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    assert_eq!(answer.header("access-control-expose-headers"), "www-authenticate, retry-after, x-request-id");
    assert_eq!(answer.header("vary"), "Origin");
    assert_eq!(cors_headers(answer).len(), 2, "no credentials, and nothing of a preflight");
}

fn assert_unreadable(answer: &Answer) {
    assert_eq!(cors_headers(answer), [""; 0], "{}", answer.text);
    assert_eq!(answer.header("vary"), "Origin");
}

#[tokio::test]
async fn a_preflight_of_a_registered_origin_names_what_the_page_may_do() {
    let app = app_with_pages().await;
    for (path, methods) in OPEN {
        let answer = preflight(&app, path, ORIGIN).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
        assert_eq!(answer.header("access-control-allow-methods"), methods, "{path}");
        assert_eq!(answer.header("access-control-allow-headers"), "authorization, content-type");
        assert_eq!(answer.header("access-control-max-age"), "7200");
        assert_eq!(answer.header("vary"), "Origin");
        assert!(answer.headers.get("access-control-allow-credentials").is_none());
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn the_answer_to_a_request_of_a_registered_origin_can_be_read() {
    let app = app_with_pages().await;
    let answer = post(&app, "/oauth2/token", ORIGIN, GRANT).await;
    assert_readable(&answer);
    assert_readable(&post(&app, "/oauth2/revoke", ORIGIN, &format!("token={}", answer.token())).await);
    for path in ["/oauth2/jwks", "/.well-known/oauth-authorization-server"] {
        let answer = get(&app, path, ORIGIN).await;
        assert_eq!(answer.status, 200);
        assert_readable(&answer);
    }
    let local = get(&app, "/oauth2/jwks", "http://127.0.0.1:3000").await;
    assert_eq!(local.header("access-control-allow-origin"), "http://127.0.0.1:3000");
}

#[tokio::test]
async fn errors_can_be_read_too() {
    let app = app_with_pages().await;
    let invalid = post(&app, "/oauth2/token", ORIGIN, "grant_type=magic").await;
    assert_eq!(invalid.status, 400);
    assert_readable(&invalid);
    let anonymous = form("/oauth2/token").header("origin", ORIGIN).body(GRANT.into()).unwrap();
    let anonymous = app.send(anonymous).await;
    assert_eq!((anonymous.status.as_u16(), anonymous.header("www-authenticate").is_empty()), (401, false));
    assert_readable(&anonymous);
    let wrong_method = get(&app, "/oauth2/token", ORIGIN).await;
    assert_eq!((wrong_method.status.as_u16(), wrong_method.header("allow")), (405, "POST"));
    assert_readable(&wrong_method);
    app.store.fail_writes([Some(Fault::Before(StoreError::unavailable(Outage::Full, "injected")))]);
    let outage = post(&app, "/oauth2/token", ORIGIN, GRANT).await;
    assert_eq!((outage.status.as_u16(), outage.header("retry-after")), (503, "1"));
    assert_readable(&outage);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_request_that_takes_too_long_can_be_read() {
    let app = App::with(|settings| settings.limits.request_timeout = Duration::from_secs(1)).await;
    app.create_client("billing", json!({ "allowed_cors_origins": [ORIGIN] })).await;
    let request =
        form("/oauth2/token").header("origin", ORIGIN).header("authorization", basic("billing", SECRET));
    let answer = app.send(request.body(Body::new(Never)).unwrap()).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_readable(&answer);
}

/// A body that does not come.
struct Never;

impl HttpBody for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn other_origins_get_the_answer_without_a_word_about_pages() {
    let app = app_with_pages().await;
    for origin in
        ["https://evil.example", "http://app.example", "https://app.example:8443", "https://app.example.evil"]
    {
        for (path, _) in OPEN {
            let answer = preflight(&app, path, origin).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{origin} {path}");
            assert_unreadable(&answer);
        }
        assert_unreadable(&get(&app, "/oauth2/jwks", origin).await);
        // The request itself is as good as any: the origin opens nothing and closes nothing.
        let answer = post(&app, "/oauth2/token", origin, GRANT).await;
        answer.token();
        assert_unreadable(&answer);
    }
}

#[tokio::test]
async fn without_an_origin_the_answer_still_varies_by_it() {
    let app = app_with_pages().await;
    assert_unreadable(&app.get("/oauth2/jwks").await);
    assert_unreadable(&app.get("/.well-known/oauth-authorization-server").await);
    assert_unreadable(&app.post("/oauth2/token", GRANT).await);
}

#[tokio::test]
async fn what_no_browser_sends_never_reaches_the_store() {
    let app = app_with_pages().await;
    let long = format!("https://{}", "a".repeat(300));
    let calls = app.store.calls();
    for origin in
        ["null", "*", "", "https://app.example/", "https://APP.example", "app.example", "\u{e9}", &long]
    {
        let request = Request::options("/oauth2/jwks")
            .header("origin", origin.as_bytes())
            .header("access-control-request-method", "GET");
        assert_unreadable(&app.send(request.body(Body::empty()).unwrap()).await);
        let request = Request::get("/oauth2/jwks").header("origin", origin.as_bytes());
        assert_unreadable(&app.send(request.body(Body::empty()).unwrap()).await);
    }
    let twice = Request::get("/oauth2/jwks").header("origin", ORIGIN).header("origin", ORIGIN);
    assert_unreadable(&app.send(twice.body(Body::empty()).unwrap()).await);
    assert_eq!(app.store.calls(), calls);
}

#[tokio::test]
async fn options_that_is_no_preflight_is_a_method_that_is_not_taken() {
    let app = app_with_pages().await;
    let request = Request::options("/oauth2/token").header("origin", ORIGIN);
    let answer = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    let request = Request::options("/oauth2/token").header("access-control-request-method", "POST");
    assert_eq!(app.send(request.body(Body::empty()).unwrap()).await.status, 405);
}

#[tokio::test]
async fn an_outage_costs_the_headers_and_not_the_answer() {
    let app = app_with_pages().await;
    app.store.fail_reads(Some(StoreError::unavailable(Outage::Busy, "injected")));
    let keys = get(&app, "/oauth2/jwks", ORIGIN).await;
    assert_eq!(keys.status, 200);
    assert_unreadable(&keys);
    let answer = preflight(&app, "/oauth2/token", ORIGIN).await;
    assert_eq!(answer.status, 204);
    assert_unreadable(&answer);
    let answer = post(&app, "/oauth2/token", ORIGIN, GRANT).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_unreadable(&answer);
    app.store.fail_reads(None);
    assert_readable(&get(&app, "/oauth2/jwks", ORIGIN).await);
}

#[tokio::test]
async fn an_overloaded_server_does_not_look_origins_up() {
    let app = App::with(|settings| settings.limits.max_concurrent_requests = 0).await;
    let calls = app.store.calls();
    let answer = post(&app, "/oauth2/token", ORIGIN, GRANT).await;
    assert_eq!((answer.status.as_u16(), cors_headers(&answer)), (503, Vec::new()));
    assert_eq!(preflight(&app, "/oauth2/token", ORIGIN).await.status, 503);
    assert_eq!(app.store.calls(), calls);
}

#[tokio::test]
async fn a_disabled_client_opens_nothing_to_its_pages() {
    let app = app_with_pages().await;
    app.admin("PATCH", "/admin/v1/clients/billing", Some(json!({ "enabled": false }))).await;
    assert_unreadable(&preflight(&app, "/oauth2/token", ORIGIN).await);
    assert_unreadable(&get(&app, "/oauth2/jwks", ORIGIN).await);
}

#[tokio::test]
async fn introspection_health_and_administration_are_never_open_to_pages() {
    let app = app_with_pages().await;
    let nothing = |answer: &Answer| {
        assert_eq!(cors_headers(answer), [""; 0]);
        assert!(answer.headers.get("vary").is_none());
    };
    let closed = preflight(&app, "/oauth2/introspect", ORIGIN).await;
    assert_eq!(closed.status, 405);
    nothing(&closed);
    nothing(&post(&app, "/oauth2/introspect", ORIGIN, "token=x").await);
    nothing(&get(&app, "/healthz", ORIGIN).await);
    nothing(&get(&app, "/oauth2/nothing", ORIGIN).await);
    let request = Request::options("/admin/v1/clients")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST");
    let closed = app.admin_send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(closed.status, 405);
    nothing(&closed);
}
