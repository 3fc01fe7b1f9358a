//! `/admin/v1/revocations`

use grantry_store::AuditTrail;
use serde_json::{Value, json};

use crate::app::{Answer, App};

const REVOCATIONS: &str = "/admin/v1/revocations";

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
    // Remembered until the last token has expired whose request was under way when the rule was made.
    let retention_time_and_an_hour = 1_700_000_000 + 86_400 + 3_600;
    assert_eq!(log["entries"][1]["keep_until"], retention_time_and_an_hour);
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
        (json!({ "client_id": "a\u{0}" }), 400),
        (json!({ "subject": "a\nb" }), 400),
        (json!({ "token_id": "01a20089-99ae-7041-9121-dee2a3e8a9d3" }), 404),
    ];
    for (body, status) in table {
        let answer = revoke(&app, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    assert_eq!(app.admin("GET", REVOCATIONS, None).await.json()["position"], 0);
}
