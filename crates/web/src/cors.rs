//! Which web pages may call the endpoints that are open to browsers: those of registered origins (the CORS protocol,
//! Fetch standard §3.2). tower-http's layer would send methods and headers to every origin and answer a preflight with
//! 200, so this is our own.
//!
//! 1. A preflight is answered here: the endpoint needs a body and credentials, which a preflight does not have.
//! 2. Any other request runs while its origin is looked up; an origin opens nothing, it only lets a page read the
//!    answer.
//! 3. The answer names the very origin, never `*`, and never allows cookies: there are none.
//! 4. An origin that cannot be looked up gets the answer without the headers. That page cannot read it; nobody else is
//!    kept from theirs.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::WebState;
use crate::deadline::within;
use crate::guard::BoxFuture;

/// A scheme, the longest name that DNS has (RFC 1035 §2.3.4), a port.
const MAX_ORIGIN_LEN: usize = "https://".len() + 253 + ":65535".len();
/// What a page may send besides what every page may (Fetch §2.2.2).
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");
/// What a page may read besides what every page may (Fetch §3.2.3).
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("www-authenticate, retry-after, x-request-id");
/// Seconds for which a browser may keep the answer to a preflight; none keeps it for longer.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The answer of `run`, for pages of other origins too. `methods` are those that the path takes.
pub fn open_to_pages<'a>(
    state: &'a WebState,
    methods: &'static str,
    request: Request,
    run: impl FnOnce(Request) -> BoxFuture<'a> + Send + 'a,
) -> BoxFuture<'a> {
    let Some(origin) = sole_origin(request.headers()) else {
        let answer = run(request);
        return Box::pin(async {
            let mut response = answer.await;
            vary(&mut response);
            response
        });
    };
    match is_preflight(&request) {
        true => Box::pin(answer_preflight(state, methods, origin)),
        false => Box::pin(answer_page(state, origin, run(request))),
    }
}

// 1.
async fn answer_preflight(state: &WebState, methods: &'static str, origin: HeaderValue) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    vary(&mut response);
    if is_registered(state, &origin).await {
        allow(&mut response, origin);
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
    response
}

// 2.
async fn answer_page(state: &WebState, origin: HeaderValue, answer: BoxFuture<'_>) -> Response {
    let (registered, mut response) = tokio::join!(is_registered(state, &origin), answer);
    vary(&mut response);
    if registered {
        allow(&mut response, origin);
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    response
}

/// `None` also for two of them, which no browser sends.
fn sole_origin(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    Some(origin.clone())
}

/// Fetch §3.2.2.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

async fn is_registered(state: &WebState, origin: &HeaderValue) -> bool {
    let Some(origin) = origin.to_str().ok().filter(|origin| may_be_registered(origin)) else { return false };
    let limit: Duration = state.settings.limits.request_timeout;
    // 4.
    match within(limit, state.grants.origin_is_registered(origin)).await {
        Some(Ok(registered)) => registered,
        Some(Err(error)) => {
            tracing::warn!(%error, "answered without CORS headers, since the origin could not be looked up");
            false
        }
        None => {
            tracing::warn!("answered without CORS headers, since looking the origin up took too long");
            false
        }
    }
}

/// Whether a client can have registered it, so that the store is not asked for anything else: `null` and what no
/// browser sends.
fn may_be_registered(origin: &str) -> bool {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let legal =
        |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b"/?#@\\*".contains(&byte);
    origin.len() <= MAX_ORIGIN_LEN && host.is_some_and(|host| !host.is_empty() && host.bytes().all(legal))
}

/// 3.
fn allow(response: &mut Response, origin: HeaderValue) {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

/// Also on answers without the other headers, so that no cache gives them to a page that may have them
/// (Fetch §3.2.5).
fn vary(response: &mut Response) {
    response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_may_send_for_a_registered_origin_is_looked_up() {
        let longest = format!("https://{}", "a".repeat(MAX_ORIGIN_LEN - 8));
        for origin in [
            "https://app.example",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "http://localhost",
            &longest,
        ] {
            assert!(may_be_registered(origin), "{origin}");
        }
        let longer = format!("{longest}a");
        for origin in [
            "",
            "null",
            "*",
            "https://",
            "https://*",
            "https://*.example",
            "https://app.example/",
            "https://App.example",
            "https://app.example?x",
            "https://app.example#x",
            "https://user@app.example",
            "https://a b",
            "https://app.example, https://b.example",
            "file://x",
            "moz-extension://x",
            "app.example",
            &longer,
        ] {
            assert!(!may_be_registered(origin), "{origin}");
        }
    }
}
