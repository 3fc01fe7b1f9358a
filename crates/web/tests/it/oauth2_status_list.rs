//! `GET /oauth2/status-list` and `GET /oauth2/status-list/{list}`

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use grantry_store::{Outage, StoreError};
use serde_json::{Value, json};

use crate::app::{Answer, App, ISSUER};

const LIST: &str = "/oauth2/status-list/0";

/// With a token of `billing` that has a place in the first list.
async fn app() -> App {
    let app = App::with_client(json!({ "access_token_format": "jwt", "status_list": true })).await;
    app.token("").await;
    app
}

async fn get_with(app: &App, path: &str, header: (&str, &str)) -> Answer {
    app.send(Request::get(path).header(header.0, header.1).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_list_is_a_signed_token_that_caches_may_keep() {
    let app = app().await;
    let answer = app.get(LIST).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/statuslist+jwt");
    let max_age: u64 =
        answer.header("cache-control").strip_prefix("public, max-age=").unwrap().parse().unwrap();
    assert!((29..=30).contains(&max_age), "{max_age}");

    let header = jsonwebtoken::decode_header(&answer.text).unwrap();
    assert_eq!(header.typ.as_deref(), Some("statuslist+jwt"));
    let keys: jsonwebtoken::jwk::JwkSet =
        serde_json::from_value(app.get("/oauth2/jwks").await.json()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(header.alg);
    // The clock of the test stands still, long ago.
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(&answer.text, &key, &rules).unwrap().claims;
    assert_eq!(claims["sub"], format!("{ISSUER}{LIST}"));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
    assert_eq!((&claims["ttl"], &claims["status_list"]["bits"]), (&json!(30), &json!(1)));

    let all = app.get("/oauth2/status-list").await;
    assert_eq!(all.header("content-type"), "application/json");
    assert_eq!(all.json(), json!({ "status_lists": [format!("{ISSUER}{LIST}")] }));
}

#[tokio::test]
async fn a_list_that_the_caller_has_is_not_sent_again() {
    let app = app().await;
    let tag = app.get(LIST).await.header("etag").to_owned();
    let again = get_with(&app, LIST, ("if-none-match", &tag)).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), tag);
    assert!(again.header("cache-control").starts_with("public, max-age="));
    app.clock.advance(Duration::from_secs(31));
    let next = get_with(&app, LIST, ("if-none-match", &tag)).await;
    assert_eq!(next.status, 200);
    assert_ne!(next.header("etag"), tag);
}

#[tokio::test]
async fn what_cannot_be_given_has_its_status() {
    let app = app().await;
    assert_eq!(get_with(&app, LIST, ("accept", "application/statuslist+cwt")).await.status, 406);
    assert_eq!(get_with(&app, LIST, ("accept", "application/statuslist+jwt")).await.status, 200);
    assert_eq!(app.get(&format!("{LIST}?time=1686925000")).await.status, 501);
    for path in [
        "/oauth2/status-list/1",
        "/oauth2/status-list/x",
        "/oauth2/status-list/00",
        "/oauth2/status-list/0/0",
    ] {
        assert_eq!(app.get(path).await.status, 404, "{path}");
    }
    assert_eq!(app.post(LIST, "").await.status, 405);
}

#[tokio::test]
async fn an_outage_is_503_and_not_an_older_list() {
    let app = app().await;
    assert_eq!(app.get(LIST).await.status, 200);
    app.store.fail_reads(Some(StoreError::unavailable(Outage::Io, "injected")));
    app.clock.advance(Duration::from_secs(31));
    for path in [LIST, "/oauth2/status-list"] {
        let answer = app.get(path).await;
        assert_eq!(answer.error(), (503, "temporarily_unavailable".to_owned()));
        assert_eq!((answer.header("retry-after"), answer.header("cache-control")), ("1", "no-store"));
    }
}
