//! `/admin/v1/revocations`

use grantry_store::AuditTrail;
use serde_json::{Value, json};

use crate::app::{Answer, App, DAY};
use crate::assertions::{alices_pair, bearer_app};

const REVOCATIONS: &str = "/admin/v1/revocations";
const NOBODYS: &str = "01a20089-99ae-7041-9121-dee2a3e8a9d3";

async fn revoke(app: &App, body: Value) -> Answer {
    app.admin("POST", REVOCATIONS, Some(body)).await
}

#[tokio::test]
async fn one_token_ends_and_the_deed_is_audited_once() {
    let app = App::with_client(json!({ "active_token_policy": "multiple" })).await;
    let (first, second, third) = (app.token("").await, app.token("").await, app.token("").await);
    assert_eq!(revoke(&app, json!({ "token": first })).await.status, 201);
    let introspected = app.post("/oauth2/introspect", &format!("token={second}")).await.json();
    let answer = revoke(&app, json!({ "token_id": introspected["jti"] })).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (201, json!({ "position": 2 })));
    let again = revoke(&app, json!({ "token": second })).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, json!({ "already_over": true })));
    assert!(!app.is_active(&first).await && !app.is_active(&second).await);
    assert!(app.is_active(&third).await);

    let audit = app.store.audit_list(0, 10).await.unwrap();
    let revocations: Vec<_> = audit.iter().filter(|entry| entry.action == "revocation.create").collect();
    assert_eq!(revocations.len(), 2);
    assert_eq!(
        (revocations[1].actor.as_str(), &revocations[1].detail),
        ("admin", &json!({ "kind": "token" }))
    );
    assert_eq!(revocations[1].target, introspected["jti"].as_str().unwrap());
}

#[tokio::test]
async fn a_rule_ends_what_was_issued_before_it_in_the_same_millisecond_and_nothing_after() {
    for rule in [json!({ "client_id": "billing" }), json!({ "subject": "billing" }), json!({ "all": true })] {
        let app = App::with_client(json!({})).await;
        let ends_others = rule.get("all").is_some();
        app.create_client("shipping", json!({})).await;
        app.create_client("watcher", json!({ "scope": "grantry:introspect" })).await;
        let before = app.token("").await;
        let others = app.post_as("shipping", "/oauth2/token", "grant_type=client_credentials").await.token();
        // The clock stands still: only the position in the log tells before from after.
        assert_eq!(revoke(&app, rule.clone()).await.status, 201, "{rule}");
        let after = app.token("").await;
        assert_ne!(after, before);
        assert!(!app.is_active(&before).await, "{rule}");
        assert!(app.is_active(&after).await, "{rule}");
        let seen = app.post_as("watcher", "/oauth2/introspect", &format!("token={others}")).await;
        assert_eq!(seen.json()["active"], !ends_others, "{rule}");
    }
}

#[tokio::test]
async fn the_log_is_listed_by_position_with_names_that_people_know() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    let id = app.post("/oauth2/introspect", &format!("token={token}")).await.json()["jti"].clone();
    revoke(&app, json!({ "token": token })).await;
    revoke(&app, json!({ "client_id": "billing" })).await;
    revoke(&app, json!({ "subject": "somebody" })).await;
    let log = app.admin("GET", &format!("{REVOCATIONS}?limit=2"), None).await.json();
    assert_eq!((&log["epoch"], &log["position"]), (&json!(1), &json!(3)));
    let entries: Vec<_> =
        log["entries"].as_array().unwrap().iter().map(|e| (&e["position"], &e["kind"], &e["key"])).collect();
    assert_eq!(entries[0], (&json!(1), &json!("token"), &id));
    assert_eq!(entries[1], (&json!(2), &json!("client"), &json!("billing")));
    // Remembered until the last grant has expired whose request was under way when the rule was made.
    let refresh_token_lifetime_and_an_hour = 1_700_000_000 + 30 * DAY + 3_600;
    assert_eq!(log["entries"][1]["keep_until"], refresh_token_lifetime_and_an_hour);
    let rest = app.admin("GET", &format!("{REVOCATIONS}?after=2"), None).await.json();
    assert_eq!(rest["entries"][0]["key"], "somebody");
    assert_eq!(rest["entries"].as_array().unwrap().len(), 1);
    for wrong in ["?limit=0", "?limit=1001", "?after=x", "?nonsense=1"] {
        assert_eq!(app.admin("GET", &format!("{REVOCATIONS}{wrong}"), None).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_what_ends_is_refused() {
    let app = App::new().await;
    let table = [
        (json!({}), 400),
        (json!([]), 400),
        (json!({ "client_id": "a", "subject": "b" }), 400),
        (json!({ "all": false }), 400),
        (json!({ "nonsense": "x" }), 400),
        (json!({ "token": "gta_forged" }), 400),
        (json!({ "token": 5 }), 400),
        (json!({ "token_id": "x" }), 400),
        (json!({ "token": "gtr_forged" }), 400),
        (json!({ "grant_id": "x" }), 400),
        (json!({ "grant_id": 5 }), 400),
        (json!({ "grant_id": NOBODYS, "subject": "a" }), 400),
        (json!({ "session_id": "x" }), 400),
        (json!({ "session_id": null }), 400),
        (json!({ "client_id": "a\u{0}" }), 400),
        (json!({ "subject": "a\nb" }), 400),
        (json!({ "token_id": NOBODYS }), 404),
        (json!({ "grant_id": NOBODYS }), 404),
    ];
    for (body, status) in table {
        let answer = revoke(&app, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    assert_eq!(app.admin("GET", REVOCATIONS, None).await.json()["position"], 0);
}

/// The only grant of alice, as the list of her tokens has it.
async fn alices_grant(app: &App) -> Value {
    let listed = app.admin("GET", "/admin/v1/tokens?subject=alice", None).await.json();
    listed["grants"][0].clone()
}

#[tokio::test]
async fn a_grant_ends_by_its_id_or_by_its_refresh_token() {
    for by_token in [false, true] {
        let (app, signer) = bearer_app(json!({})).await;
        let (access, token) = alices_pair(&app, &signer).await;
        let grant = alices_grant(&app).await["id"].clone();
        let body = if by_token { json!({ "token": token }) } else { json!({ "grant_id": grant }) };
        let answer = revoke(&app, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (201, json!({ "position": 1 })), "{body}");
        let again = revoke(&app, body).await;
        assert_eq!((again.status.as_u16(), again.json()), (200, json!({ "already_over": true })));
        assert!(!app.is_active(&access).await && !app.is_active(&token).await);
        let refreshed = format!("grant_type=refresh_token&refresh_token={token}");
        assert_eq!(app.post("/oauth2/token", &refreshed).await.error(), (400, "invalid_grant".into()));

        let entry = app.admin("GET", REVOCATIONS, None).await.json()["entries"][0].clone();
        assert_eq!((&entry["kind"], &entry["key"]), (&json!("grant"), &grant));
        let audit = app.store.audit_list(0, 100).await.unwrap();
        let deeds: Vec<_> = audit.iter().filter(|entry| entry.action == "revocation.create").collect();
        assert_eq!(deeds.len(), 1);
        assert_eq!((deeds[0].actor.as_str(), &deeds[0].detail), ("admin", &json!({ "kind": "grant" })));
        assert_eq!(deeds[0].target, grant.as_str().unwrap());
    }
}

#[tokio::test]
async fn a_session_ends_by_a_rule_that_is_listed_by_its_id() {
    let (app, signer) = bearer_app(json!({})).await;
    let (access, token) = alices_pair(&app, &signer).await;
    assert_eq!(revoke(&app, json!({ "session_id": NOBODYS })).await.status, 201);
    let entry = app.admin("GET", REVOCATIONS, None).await.json()["entries"][0].clone();
    assert_eq!((&entry["kind"], &entry["key"]), (&json!("session"), &json!(NOBODYS)));
    // Alice's grant has no session.
    assert!(app.is_active(&access).await && app.is_active(&token).await);
}

#[tokio::test]
async fn a_rule_ends_grants_from_before_it_in_the_same_millisecond_and_none_after() {
    for rule in [json!({ "client_id": "billing" }), json!({ "subject": "alice" }), json!({ "all": true })] {
        let (app, signer) = bearer_app(json!({})).await;
        let (access, token) = alices_pair(&app, &signer).await;
        assert_eq!(revoke(&app, rule.clone()).await.status, 201, "{rule}");
        let refresh = |token: &str| {
            let body = format!("grant_type=refresh_token&refresh_token={token}");
            let app = &app;
            async move { app.post("/oauth2/token", &body).await }
        };
        assert_eq!(refresh(&token).await.error(), (400, "invalid_grant".into()), "{rule}");
        assert!(!app.is_active(&access).await && !app.is_active(&token).await, "{rule}");
        let (access, token) = alices_pair(&app, &signer).await;
        assert!(app.is_active(&access).await && app.is_active(&token).await, "{rule}");
        let (access, _) = refresh(&token).await.pair();
        assert!(app.is_active(&access).await, "{rule}");
    }
}
