//! `POST /oauth2/token` with `grant_type=refresh_token` (RFC 6749 §6)

use std::time::Duration;

use grantry_store::{AuditTrail, Fault, Outage, StoreError};
use serde_json::json;

use crate::app::{Answer, App, DAY};
use crate::assertions::{Signer, alices_pair, bear_as, bearer_app, create_bearer_client};

async fn refresh(app: &App, token: &str) -> Answer {
    refresh_as(app, "billing", token, "").await
}

async fn refresh_as(app: &App, client: &str, token: &str, more: &str) -> Answer {
    app.post_as(client, "/oauth2/token", &format!("grant_type=refresh_token&refresh_token={token}{more}"))
        .await
}

#[tokio::test]
async fn a_refresh_gives_a_new_pair_and_the_old_access_token_stays() {
    let (app, signer) = bearer_app(json!({})).await;
    let (access, refresh_token) = alices_pair(&app, &signer).await;
    app.clock.advance(Duration::from_secs(60));
    let answer = refresh(&app, &refresh_token).await;
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let (new_access, successor) = answer.pair();
    assert!(new_access != access && successor != refresh_token && successor.starts_with("gtr_"));
    assert_eq!(answer.json()["expires_in"], 3600);
    assert_eq!(answer.json()["scope"], "read write");
    assert!(app.is_active(&access).await && app.is_active(&new_access).await);
}

#[tokio::test]
async fn a_retry_gets_the_same_pair_and_a_replay_after_the_grace_ends_everything() {
    let (app, signer) = bearer_app(json!({})).await;
    let (access, first) = alices_pair(&app, &signer).await;
    let rotated = refresh(&app, &first).await.pair();
    app.clock.advance(Duration::from_secs(29));
    assert_eq!(refresh(&app, &first).await.pair(), rotated);
    app.clock.advance(Duration::from_secs(2));
    let replayed = refresh(&app, &first).await;
    assert_eq!(replayed.error(), (400, "invalid_grant".into()));
    assert_eq!(refresh(&app, &rotated.1).await.error(), (400, "invalid_grant".into()));
    assert!(!app.is_active(&access).await && !app.is_active(&rotated.0).await);
    let audit = app.store.audit_list(0, 100).await.unwrap();
    let reuse = audit.iter().find(|entry| entry.action == "grant.reuse").unwrap();
    assert_eq!(reuse.request_id.as_deref(), Some(replayed.header("x-request-id")));
}

#[tokio::test]
async fn behind_by_two_within_the_grace_is_refused_and_ends_nothing() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, first) = alices_pair(&app, &signer).await;
    let (_, second) = refresh(&app, &first).await.pair();
    let (_, third) = refresh(&app, &second).await.pair();
    assert_eq!(refresh(&app, &first).await.error(), (400, "invalid_grant".into()));
    refresh(&app, &third).await.pair();
}

#[tokio::test]
async fn under_rotation_never_the_token_stays_the_same() {
    let (app, signer) = bearer_app(json!({ "refresh_token_rotation": "never" })).await;
    let (_, first) = alices_pair(&app, &signer).await;
    for _ in 0..3 {
        app.clock.advance(Duration::from_secs(3600));
        assert_eq!(refresh(&app, &first).await.pair().1, first);
    }
}

#[tokio::test]
async fn the_scope_can_only_become_narrower() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, token) = bear_as(&app, &signer, "billing", "alice", "&scope=read").await.pair();
    for (more, error) in [
        ("&scope=write", "invalid_scope"),
        ("&scope=read+write", "invalid_scope"),
        ("&scope=%00", "invalid_scope"),
        ("&resource=https://api.example/", "invalid_target"),
        ("&resource=api", "invalid_target"),
    ] {
        assert_eq!(refresh_as(&app, "billing", &token, more).await.error(), (400, error.into()), "{more}");
    }
    // None of them was a rotation, and narrowing one answer narrows no later one.
    let (_, wide) = bear_as(&app, &signer, "billing", "bob@example.com", "").await.pair();
    let narrow = refresh_as(&app, "billing", &wide, "&scope=read").await;
    assert_eq!(narrow.json()["scope"], "read");
    assert_eq!(refresh(&app, &narrow.pair().1).await.json()["scope"], "read write");
    assert_eq!(refresh(&app, &token).await.json()["scope"], "read");
}

#[tokio::test]
async fn a_refresh_token_of_another_client_is_refused_recorded_and_stays() {
    let (app, signer) = bearer_app(json!({})).await;
    create_bearer_client(&app, &Signer::new(), "shipping", json!({})).await;
    let (access, token) = alices_pair(&app, &signer).await;
    let answer = refresh_as(&app, "shipping", &token, "").await;
    assert_eq!(answer.error(), (400, "invalid_grant".into()));
    let audit = app.store.audit_list(0, 100).await.unwrap();
    let record = audit.iter().find(|entry| entry.action == "grant.foreign_client").unwrap();
    assert_eq!(record.actor, "shipping");
    assert_eq!(record.request_id.as_deref(), Some(answer.header("x-request-id")));
    assert!(app.is_active(&access).await);
    refresh(&app, &token).await.pair();
}

#[tokio::test]
async fn what_is_no_refresh_token_of_ours_is_refused_without_looking_it_up() {
    let (app, signer) = bearer_app(json!({})).await;
    let (access, token) = alices_pair(&app, &signer).await;
    let other = bearer_app(json!({})).await;
    let foreign = alices_pair(&other.0, &other.1).await.1;
    let mut forged = vec![access.clone(), access.replacen("gta_", "gtr_", 1), foreign, format!("{token}A")];
    forged.extend(["gtr_", "x", "%00", "a.b.c"].map(str::to_owned));
    for at in 4..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(changed).unwrap());
    }
    for text in forged {
        let before = app.store.calls();
        assert_eq!(refresh(&app, &text).await.error(), (400, "invalid_grant".into()), "{text}");
        // The one call is the look-up of the caller.
        assert_eq!(app.store.calls() - before, 1, "{text}");
    }
    assert_eq!(refresh(&app, "").await.error(), (400, "invalid_request".into()));
    let twice = format!("grant_type=refresh_token&refresh_token={token}&refresh_token={token}");
    assert_eq!(app.post("/oauth2/token", &twice).await.error(), (400, "invalid_request".into()));
    refresh(&app, &token).await.pair();
}

#[tokio::test]
async fn a_client_that_may_no_longer_refresh_is_told_so() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, token) = alices_pair(&app, &signer).await;
    let patched =
        app.admin("PATCH", "/admin/v1/clients/billing", Some(json!({ "jwt_bearer_refresh": false }))).await;
    assert_eq!(patched.status, 200, "{}", patched.text);
    assert_eq!(refresh(&app, &token).await.error(), (400, "unauthorized_client".into()));
}

#[tokio::test]
async fn a_grant_ends_when_idle_and_at_the_latest_at_its_absolute_end() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, idle) = alices_pair(&app, &signer).await;
    let (_, mut used) = bear_as(&app, &signer, "billing", "bob@example.com", "").await.pair();
    app.clock.advance(Duration::from_secs(13 * DAY));
    used = refresh(&app, &used).await.pair().1;
    app.clock.advance(Duration::from_secs(DAY));
    assert_eq!(refresh(&app, &idle).await.error(), (400, "invalid_grant".into()));
    app.clock.advance(Duration::from_secs(12 * DAY));
    used = refresh(&app, &used).await.pair().1;
    app.clock.advance(Duration::from_secs(4 * DAY));
    assert_eq!(refresh(&app, &used).await.error(), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn an_outage_is_503_and_the_token_is_not_spent() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, token) = alices_pair(&app, &signer).await;
    let outage = StoreError::unavailable(Outage::Full, "injected");
    app.store.fail_writes([Some(Fault::Before(outage.clone()))]);
    let answer = refresh(&app, &token).await;
    assert_eq!(
        (answer.error(), answer.header("retry-after")),
        ((503, "temporarily_unavailable".into()), "1")
    );
    app.store.fail_reads(Some(outage));
    assert_eq!(refresh(&app, &token).await.error(), (503, "temporarily_unavailable".into()));
    app.store.fail_reads(None);
    app.clock.advance(Duration::from_secs(3600));
    refresh(&app, &token).await.pair();
}
