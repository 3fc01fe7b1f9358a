//! `POST /oauth2/revoke`

use grantry_protocol::{LogKind, Position};
use grantry_store::{Fault, Outage, Revocations, StoreError};
use serde_json::json;

use crate::app::{App, form};
use crate::assertions::{Signer, alices_pair, bearer_app, create_bearer_client};

#[tokio::test]
async fn a_token_is_ended_and_announced_once() {
    let app = App::with_client(json!({})).await;
    let head = app.store.revocation_head().await.unwrap().position;
    let token = app.token("").await;
    for _ in 0..2 {
        let answer = app.post("/oauth2/revoke", &format!("token={token}")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
    }
    assert!(!app.is_active(&token).await);
    let entries = app.store.revocation_list(head, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].kind, entries[0].position), (LogKind::Token, head.next()));
    // The slot is free again.
    assert_ne!(app.token("").await, token);
}

#[tokio::test]
async fn the_hint_never_decides() {
    let app = App::with_client(json!({ "active_token_policy": "multiple" })).await;
    for hint in ["access_token", "refresh_token", "nonsense", "%00"] {
        let token = app.token("").await;
        let answer = app.post("/oauth2/revoke", &format!("token={token}&token_type_hint={hint}")).await;
        assert_eq!(answer.status, 200, "{hint}");
        assert!(!app.is_active(&token).await, "{hint}");
    }
}

#[tokio::test]
async fn an_unknown_token_is_200() {
    let app = App::with_client(json!({})).await;
    for token in ["x", "gta_AAAA", "%00%0a", "a.b.c"] {
        assert_eq!(app.post("/oauth2/revoke", &format!("token={token}")).await.status, 200, "{token}");
    }
    assert_eq!(app.store.revocation_head().await.unwrap().position, Position(0));
}

#[tokio::test]
async fn another_clients_token_is_refused_and_stays() {
    let app = App::with_client(json!({})).await;
    app.create_client("stranger", json!({})).await;
    let token = app.token("").await;
    let answer = app.post_as("stranger", "/oauth2/revoke", &format!("token={token}")).await;
    assert_eq!(answer.error(), (400, "unauthorized_client".into()));
    assert!(app.is_active(&token).await);
}

#[tokio::test]
async fn a_public_client_names_itself_and_reaches_only_its_own() {
    let app = App::with_client(json!({})).await;
    let public = json!({ "client_secret": null, "token_endpoint_auth_method": "none", "grant_types": [] });
    app.create_client("phone", public).await;
    let token = app.token("").await;
    let body = format!("token={token}&client_id=phone");
    let answer = app.send(form("/oauth2/revoke").body(body.into()).unwrap()).await;
    assert_eq!(answer.error(), (400, "unauthorized_client".into()));
    // With a secret it is not the public client that it was registered as.
    let body = format!("token={token}&client_id=phone&client_secret=x");
    let answer = app.send(form("/oauth2/revoke").body(body.into()).unwrap()).await;
    assert_eq!(answer.error(), (401, "invalid_client".into()));
    assert!(app.is_active(&token).await);
}

#[tokio::test]
async fn an_outage_is_503_and_the_token_stays() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    app.store.fail_writes([Some(Fault::Before(StoreError::unavailable(Outage::ReadOnly, "injected")))]);
    let answer = app.post("/oauth2/revoke", &format!("token={token}")).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert!(app.is_active(&token).await);
}

async fn refresh(app: &App, token: &str) -> crate::app::Answer {
    app.post("/oauth2/token", &format!("grant_type=refresh_token&refresh_token={token}")).await
}

#[tokio::test]
async fn a_refresh_token_ends_with_its_grant_and_every_access_token_of_it() {
    for hint in ["", "&token_type_hint=access_token", "&token_type_hint=refresh_token"] {
        let (app, signer) = bearer_app(json!({})).await;
        let (first_access, first) = alices_pair(&app, &signer).await;
        let (second_access, second) = refresh(&app, &first).await.pair();
        let head = app.store.revocation_head().await.unwrap().position;
        for _ in 0..2 {
            let answer = app.post("/oauth2/revoke", &format!("token={second}{hint}")).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""), "{hint}");
        }
        for token in [&first_access, &second_access, &first, &second] {
            assert!(!app.is_active(token).await, "{hint}");
        }
        assert_eq!(refresh(&app, &second).await.error(), (400, "invalid_grant".into()));
        let entries = app.store.revocation_list(head, 10).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [LogKind::Grant]);
        // What is asked for afterwards is a new pair, and lives.
        let (access, token) = alices_pair(&app, &signer).await;
        assert!(access != second_access && app.is_active(&access).await && app.is_active(&token).await);
    }
}

#[tokio::test]
async fn an_access_token_ends_alone() {
    let (app, signer) = bearer_app(json!({})).await;
    let (access, token) = alices_pair(&app, &signer).await;
    assert_eq!(app.post("/oauth2/revoke", &format!("token={access}")).await.status, 200);
    assert!(!app.is_active(&access).await && app.is_active(&token).await);
    let (next, _) = refresh(&app, &token).await.pair();
    assert!(app.is_active(&next).await);
}

#[tokio::test]
async fn another_clients_refresh_token_is_refused_and_stays() {
    let (app, signer) = bearer_app(json!({})).await;
    create_bearer_client(&app, &Signer::new(), "shipping", json!({})).await;
    let (access, token) = alices_pair(&app, &signer).await;
    let answer = app.post_as("shipping", "/oauth2/revoke", &format!("token={token}")).await;
    assert_eq!(answer.error(), (400, "unauthorized_client".into()));
    assert!(app.is_active(&access).await && app.is_active(&token).await);
}

#[tokio::test]
async fn an_outage_does_not_end_a_grant_and_says_so() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, token) = alices_pair(&app, &signer).await;
    app.store.fail_writes([Some(Fault::Before(StoreError::unavailable(Outage::ReadOnly, "injected")))]);
    let answer = app.post("/oauth2/revoke", &format!("token={token}")).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert!(app.is_active(&token).await);
}

#[tokio::test]
async fn headers_say_what_was_revoked_and_whose_it_was_where_they_are_wanted() {
    for is_wanted in [false, true] {
        let app = App::with(|settings| settings.revoked_token_headers = is_wanted).await;
        let signer = Signer::new();
        create_bearer_client(&app, &signer, "billing", json!({})).await;
        let (access, refresh) = alices_pair(&app, &signer).await;
        for (token, name) in [(&access, "RevokedAccessToken"), (&refresh, "RevokedRefreshToken")] {
            // A retry is answered in the same way.
            for _ in 0..2 {
                let answer = app.post("/oauth2/revoke", &format!("token={token}")).await;
                let said = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
                assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
                assert_eq!(said(name), is_wanted.then_some(token.as_str()));
                assert_eq!(said("AuthorizedUser"), is_wanted.then_some("alice"));
                assert_eq!(said("Cache-Control"), is_wanted.then_some("no-store"));
            }
        }
        let unknown = app.post("/oauth2/revoke", "token=x").await;
        assert!(!unknown.headers.contains_key("AuthorizedUser"));
    }
}
