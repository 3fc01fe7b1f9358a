//! `/admin/v1/settings`

use axum::body::Body;
use axum::http::{Request, StatusCode};
use grantry_protocol::{LogKind, Position};
use grantry_store::{AuditTrail, Revocations, Settings, SettingsChange, SettingsOutcome};
use serde_json::{Map, Value, json};

use crate::app::{Answer, App};

const PATH: &str = "/admin/v1/settings";

async fn patch(app: &App, patch: Value) -> Answer {
    app.admin("PATCH", PATH, Some(patch)).await
}

async fn patch_if(app: &App, condition: &str, patch: Value) -> Answer {
    let request = Request::patch(PATH)
        .header("authorization", format!("Bearer {}", app.admin_token().await))
        .header("content-type", "application/merge-patch+json")
        .header("if-match", condition);
    app.admin_send(request.body(patch.to_string().into()).unwrap()).await
}

async fn settings(app: &App) -> Value {
    let answer = app.admin("GET", PATH, None).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    answer.json()
}

async fn lifetime(app: &App, resource: &str) -> u64 {
    let body = format!("grant_type=client_credentials&resource=https%3A%2F%2F{resource}.example");
    app.post("/oauth2/token", &body).await.json()["expires_in"].as_u64().unwrap()
}

fn refusal(answer: &Answer) -> (u16, String, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), text("field"), text("detail"))
}

#[tokio::test]
async fn what_is_in_force_is_shown_with_where_it_comes_from() {
    let app = App::new().await;
    let shown = settings(&app).await;
    assert_eq!((&shown["version"], &shown["updated_at"]), (&json!(0), &Value::Null));
    assert_eq!(shown["settings"]["tokens"]["access_token_lifetime"], "1h");
    assert_eq!(shown["settings"]["tokens"]["active_token_policy"], "reuse");
    assert_eq!(shown["sources"]["tokens.access_token_lifetime"], "default");
    assert_eq!(shown["sources"].as_object().unwrap().len(), 8, "{shown}");

    let answer =
        patch(&app, json!({ "tokens": { "access_token_lifetime": "10m", "refresh_grace": 5 } })).await;
    assert_eq!((answer.status, answer.header("etag")), (StatusCode::OK, "\"1\""), "{}", answer.text);
    let shown = settings(&app).await;
    assert_eq!(shown, answer.json());
    assert_eq!((&shown["version"], &shown["updated_at"]), (&json!(1), &json!(1_700_000_000)));
    assert_eq!(shown["settings"]["tokens"]["access_token_lifetime"], "10m");
    assert_eq!(shown["settings"]["tokens"]["refresh_grace"], "5s");
    assert_eq!(shown["settings"]["tokens"]["refresh_token_idle"], "14days");
    assert_eq!(shown["sources"]["tokens.access_token_lifetime"], "run time");
    assert_eq!(shown["sources"]["tokens.refresh_token_idle"], "default");
}

#[tokio::test]
async fn a_changed_lifetime_is_that_of_new_tokens_and_of_no_other() {
    let app = App::with_client(json!({})).await;
    let before = app.token("").await;
    assert_eq!(lifetime(&app, "a").await, 3600);
    assert_eq!(patch(&app, json!({ "tokens": { "access_token_lifetime": "10m" } })).await.status, 200);
    assert_eq!(lifetime(&app, "b").await, 600);
    let shown = app.post("/oauth2/introspect", &format!("token={before}")).await.json();
    assert_eq!(shown["exp"].as_u64().unwrap() - shown["iat"].as_u64().unwrap(), 3600);

    assert_eq!(patch(&app, json!({ "tokens": { "access_token_lifetime": null } })).await.status, 200);
    assert_eq!(lifetime(&app, "c").await, 3600);
    assert_eq!(settings(&app).await["sources"]["tokens.access_token_lifetime"], "default");
}

#[tokio::test]
async fn a_changed_policy_is_followed_at_once() {
    let app = App::with_client(json!({})).await;
    let first = app.token("").await;
    assert_eq!(app.token("").await, first);
    assert_eq!(patch(&app, json!({ "tokens": { "active_token_policy": "replace" } })).await.status, 200);
    assert_ne!(app.token("").await, first);
    assert!(!app.is_active(&first).await);
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_the_name_of_its_key_and_changes_nothing() {
    let app = App::new().await;
    let table = [
        (
            json!({ "tokens": { "access_token_lifetime": "25h" } }),
            "tokens.access_token_lifetime",
            "retention_time",
        ),
        (json!({ "tokens": { "access_token_lifetime": "20s" } }), "tokens.reuse_minimum_life", "(20s)"),
        (json!({ "tokens": { "refresh_grace": "20d" } }), "tokens.refresh_grace", "refresh_token_idle"),
        (
            json!({ "tokens": { "access_token_lifetime": "soon" } }),
            "tokens.access_token_lifetime",
            "length of time",
        ),
        (json!({ "tokens": { "active_token_policy": "keep" } }), "tokens.active_token_policy", "reuse"),
        (
            json!({ "tokens": { "acces_token_lifetime": "1h" } }),
            "tokens.acces_token_lifetime",
            "did you mean tokens.access",
        ),
        (
            json!({ "tokens": { "acces_token_lifetime": null } }),
            "tokens.acces_token_lifetime",
            "did you mean tokens.access",
        ),
        (json!({ "tokens": 5 }), "tokens", "is a section"),
        (
            json!({ "tokens": { "access_token_lifetime": { "m": 10 } } }),
            "tokens.access_token_lifetime.m",
            "no such setting",
        ),
        (json!({ "banana": 1 }), "banana", "at run time can be changed: token_persistence.enable"),
        (
            json!({ "cache": { "tokens": { "capacity": 5 } } }),
            "cache.tokens.capacity",
            "cache.enabled is false",
        ),
    ];
    for (change, key, part) in table {
        let answer = patch(&app, change.clone()).await;
        let (status, field, detail) = refusal(&answer);
        assert_eq!((status, field.as_str()), (400, key), "{change}: {detail}");
        assert!(detail.contains(part), "{change}: {detail}");
    }
    assert_eq!(patch(&app, json!([])).await.status, 400);
    assert_eq!(settings(&app).await["version"], 0);
}

#[tokio::test]
async fn of_two_who_read_the_same_settings_the_second_is_refused() {
    let app = App::new().await;
    let read = app.admin("GET", PATH, None).await;
    let tag = read.header("etag").to_owned();
    assert_eq!(tag, "\"0\"");
    let first = patch_if(&app, &tag, json!({ "tokens": { "access_token_lifetime": "10m" } })).await;
    assert_eq!((first.status, first.header("etag")), (StatusCode::OK, "\"1\""));
    let second = patch_if(&app, &tag, json!({ "tokens": { "access_token_lifetime": "20m" } })).await;
    assert_eq!(refusal(&second).0, 412);
    assert_eq!(settings(&app).await["settings"]["tokens"]["access_token_lifetime"], "10m");

    let read_again = patch_if(&app, "\"1\"", json!({ "tokens": { "access_token_lifetime": "20m" } })).await;
    assert_eq!(read_again.status, 200);
    let any = patch_if(&app, "*", json!({ "tokens": { "access_token_lifetime": "30m" } })).await;
    assert_eq!((any.status, any.header("etag")), (StatusCode::OK, "\"3\""));
    assert_eq!(patch_if(&app, "3", json!({})).await.status, 400);
}

#[tokio::test]
async fn a_change_is_in_the_audit_trail_and_in_the_log_and_a_repetition_is_not() {
    let app = App::new().await;
    let change = json!({ "tokens": { "access_token_lifetime": "600s" } });
    for _ in 0..2 {
        assert_eq!(patch(&app, change.clone()).await.header("etag"), "\"1\"");
    }
    let audit = app.store.audit_list(0, 100).await.unwrap();
    let entry = audit.last().unwrap();
    assert_eq!((entry.actor.as_str(), entry.action.as_str()), ("admin", "settings.update"));
    assert_eq!(entry.detail, json!({ "tokens.access_token_lifetime": { "from": null, "to": "10m" } }));
    assert!(entry.request_id.is_some());
    let log = app.store.revocation_list(Position(0), 100).await.unwrap();
    let kinds: Vec<LogKind> = log.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [LogKind::SettingsChanged]);
    assert_eq!(app.admin("GET", "/admin/v1/revocations", None).await.status, 200);
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_left_alone_and_said() {
    let app = App::with_client(json!({})).await;
    patch(&app, json!({ "tokens": { "access_token_lifetime": "10m" } })).await;
    let newer: Map<String, Value> =
        serde_json::from_value(json!({ "tokens": { "access_token_lifetime": "5m", "shape": "round" } }))
            .unwrap();
    let audit = grantry_store::AuditEntry {
        at: grantry_protocol::Timestamp::from_secs(1),
        actor: "newer".into(),
        action: "settings.update",
        target: "settings".into(),
        detail: Value::Null,
        request_id: None,
    };
    let keep_until = grantry_protocol::Timestamp::from_secs(1_800_000_000);
    let change = SettingsChange { from: 1, document: newer, audit, keep_until };
    assert_eq!(app.store.settings_replace(change).await, Ok(SettingsOutcome::Done));

    let shown = settings(&app).await;
    assert_eq!((&shown["version"], &shown["problem"]["key"]), (&json!(2), &json!("tokens.shape")));
    assert_eq!(shown["settings"]["tokens"]["access_token_lifetime"], "10m");
    assert_eq!(lifetime(&app, "a").await, 600);
    let (status, field, _) = refusal(&patch(&app, json!({ "tokens": { "refresh_grace": "10s" } })).await);
    assert_eq!((status, field.as_str()), (400, "tokens.shape"), "nothing of a newer version is lost");
}

#[tokio::test]
async fn nobody_else_reads_or_changes_them() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    for method in ["GET", "PATCH"] {
        let request = Request::builder().method(method).uri(PATH);
        let bearer = request.header("authorization", format!("Bearer {token}"));
        let answer = app.admin_send(bearer.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
}
