//! `POST /oauth2/introspect`

use std::time::Duration;

use grantry_store::{Outage, StoreError};
use serde_json::json;

use crate::app::{App, DAY, ISSUER, form};
use crate::assertions::{alices_pair, bearer_app, create_bearer_client};

#[tokio::test]
async fn an_active_token_is_described() {
    let app = App::with_client(json!({})).await;
    let token = app.token("&scope=read").await;
    let answer =
        app.post("/oauth2/introspect", &format!("token={token}&token_type_hint=refresh_token")).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let mut body = answer.json();
    assert!(body["jti"].take().is_string());
    assert_eq!(
        body,
        json!({
            "active": true, "scope": "read", "client_id": "billing", "token_type": "Bearer", "sub": "billing",
            "iat": 1_700_000_000, "exp": 1_700_003_600, "aud": ISSUER, "iss": ISSUER, "jti": null,
        })
    );
}

#[tokio::test]
async fn who_may_see_a_token() {
    let app = App::with_client(json!({})).await;
    app.create_client("api", json!({ "grant_types": [], "resources": ["https://api.example/"] })).await;
    app.create_client("https://named.example/", json!({ "grant_types": [] })).await;
    app.create_client("watcher", json!({ "grant_types": [], "scope": "grantry:introspect" })).await;
    app.create_client("stranger", json!({})).await;
    let token = app.token("&resource=https://api.example/&resource=https://named.example/").await;
    for (client, sees) in [
        ("billing", true),
        ("api", true),
        ("https%3A//named.example/", true),
        ("watcher", true),
        ("stranger", false),
    ] {
        let answer = app.post_as(client, "/oauth2/introspect", &format!("token={token}")).await;
        assert_eq!(answer.json()["active"], sees, "{client}");
        if !sees {
            assert_eq!(answer.json(), json!({ "active": false }));
        }
    }
}

#[tokio::test]
async fn what_is_not_a_token_of_ours_is_inactive_without_asking_the_store() {
    let app = App::with_client(json!({})).await;
    let other = App::with_client(json!({})).await;
    let opaque = app.token("").await;
    let calls_of = async |token: String| {
        let before = app.store.calls();
        assert!(!app.is_active(&token).await, "{token}");
        app.store.calls() - before
    };
    // Each single flipped bit of the bytes, and a few of the text.
    let bytes = grantry_jose::from_base64url(opaque.strip_prefix("gta_").unwrap()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let forged = format!("gta_{}", grantry_jose::base64url(flipped));
        // The one call is the look-up of the caller.
        assert_eq!(calls_of(forged).await, 1, "bit {bit}");
    }
    let of_another_kind = opaque.replacen("gta_", "gtr_", 1);
    let longer = format!("{opaque}A");
    let shorter = opaque[..opaque.len() - 1].to_owned();
    for forged in
        [of_another_kind, longer, shorter, "x".into(), "a.b.c".into(), "%00%0a".into(), "gta_".into()]
    {
        assert_eq!(calls_of(forged.clone()).await, 1, "{forged}");
    }
    // Made by a deployment with the same master key but keys of its own.
    let foreign = other.token("").await;
    assert_eq!(calls_of(foreign).await, 1);
}

#[tokio::test]
async fn a_jwt_with_any_part_changed_is_inactive_without_asking_the_store() {
    let app = App::with_client(json!({ "access_token_format": "jwt" })).await;
    let token = app.token("").await;
    assert!(app.is_active(&token).await);
    for at in (0..token.len()).step_by(7) {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let before = app.store.calls();
        assert!(!app.is_active(std::str::from_utf8(&changed).unwrap()).await, "byte {at}");
        assert_eq!(app.store.calls() - before, 1, "byte {at}");
    }
}

#[tokio::test]
async fn expired_and_revoked_tokens_are_inactive() {
    let app = App::with_client(json!({ "active_token_policy": "multiple" })).await;
    let (expiring, revoked) = (app.token("").await, app.token("").await);
    app.post("/oauth2/revoke", &format!("token={revoked}")).await;
    assert!(app.is_active(&expiring).await);
    assert!(!app.is_active(&revoked).await);
    app.clock.advance(Duration::from_secs(3599));
    assert!(app.is_active(&expiring).await);
    app.clock.advance(Duration::from_secs(1));
    assert!(!app.is_active(&expiring).await);
}

#[tokio::test]
async fn the_caller_must_authenticate_and_a_public_one_cannot() {
    let app = App::with_client(json!({})).await;
    let public = json!({ "client_secret": null, "token_endpoint_auth_method": "none", "grant_types": [] });
    app.create_client("phone", public).await;
    let token = app.token("").await;
    for body in [
        format!("token={token}"),
        format!("token={token}&client_id=phone"),
        format!("token={token}&client_id=billing"),
    ] {
        let answer = app.send(form("/oauth2/introspect").body(body.clone().into()).unwrap()).await;
        assert_eq!(answer.error(), (401, "invalid_client".into()), "{body}");
    }
    assert_eq!(app.post("/oauth2/introspect", "").await.error(), (400, "invalid_request".into()));
}

#[tokio::test]
async fn an_outage_is_503_and_never_inactive() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    app.store.fail_reads(Some(StoreError::unavailable(Outage::Busy, "injected")));
    let answer = app.post("/oauth2/introspect", &format!("token={token}")).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_refresh_token_is_described_without_a_type() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, token) = alices_pair(&app, &signer).await;
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let answer = app.post("/oauth2/introspect", &format!("token={token}&token_type_hint={hint}")).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(
            answer.json(),
            json!({
                "active": true, "scope": "read write", "client_id": "billing", "sub": "alice",
                "iat": 1_700_000_000, "exp": 1_700_000_000 + 14 * DAY, "aud": ISSUER, "iss": ISSUER,
            }),
            "{hint}"
        );
    }
}

#[tokio::test]
async fn a_refresh_token_is_active_as_long_as_a_refresh_would_take_it() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, first) = alices_pair(&app, &signer).await;
    app.clock.advance(Duration::from_secs(10));
    let (_, second) =
        app.post("/oauth2/token", &format!("grant_type=refresh_token&refresh_token={first}")).await.pair();
    let seen = app.post("/oauth2/introspect", &format!("token={second}")).await.json();
    assert_eq!((&seen["iat"], &seen["exp"]), (&json!(1_700_000_010), &json!(1_700_000_010 + 14 * DAY)));
    assert!(app.is_active(&first).await && app.is_active(&second).await);
    app.clock.advance(Duration::from_secs(31));
    assert!(!app.is_active(&first).await && app.is_active(&second).await);
    app.clock.advance(Duration::from_secs(14 * DAY));
    assert!(!app.is_active(&second).await);
}

#[tokio::test]
async fn a_refresh_token_is_shown_to_its_client_and_to_who_may_see_every_token() {
    let (app, signer) = bearer_app(json!({})).await;
    create_bearer_client(&app, &signer, "shipping", json!({})).await;
    app.create_client("watcher", json!({ "grant_types": [], "scope": "grantry:introspect" })).await;
    app.create_client("api", json!({ "grant_types": [], "resources": [ISSUER] })).await;
    let (access, token) = alices_pair(&app, &signer).await;
    for (client, sees) in [("billing", true), ("watcher", true), ("shipping", false), ("api", false)] {
        let seen = app.post_as(client, "/oauth2/introspect", &format!("token={token}")).await;
        assert_eq!(seen.json()["active"], sees, "{client}");
        if !sees {
            assert_eq!(seen.json(), json!({ "active": false }));
        }
    }
    // The resource server is meant to see the access token.
    let seen = app.post_as("api", "/oauth2/introspect", &format!("token={access}")).await;
    assert_eq!(seen.json()["active"], true);
}
