//! `/admin/v1/persistence`: what waits for its row, and another try for what was refused.

use axum::http::StatusCode;
use grantry_store::{AuditTrail, Fault, StoreError};
use serde_json::{Value, json};

use crate::app::App;

const PATH: &str = "/admin/v1/persistence";

async fn state(app: &App) -> Value {
    let answer = app.admin("GET", PATH, None).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    answer.json()
}

/// Lets the writers run until that many tokens are parked and none waits.
async fn settle(app: &App, parked: usize) {
    for _ in 0..1000 {
        let queue = app.persistence.queue_state();
        if (queue.depth, queue.parked) == (0, parked) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{:?}", app.persistence.queue_state());
}

#[tokio::test]
async fn what_the_store_refuses_is_shown_and_redriven_by_an_administrator() {
    let app = App::with_client(json!({ "persistence": "async" })).await;
    let before = state(&app).await;
    assert_eq!(before["default_mode"], "sync");
    assert_eq!(
        (&before["pool_size"], &before["journal"], &before["node_number"]),
        (&json!(1), &json!("off"), &json!(1))
    );
    assert_eq!(
        (&before["queue_depth"], &before["parked"], &before["drained_below"]),
        (&json!(0), &json!(0), &Value::Null)
    );

    app.store.fail_writes([Some(Fault::Before(StoreError::Rejected("injected".into())))]);
    let token = app.token("").await;
    settle(&app, 1).await;
    assert!(app.is_active(&token).await);
    let parked = state(&app).await;
    assert_eq!((&parked["parked"], &parked["tokens_at_risk"]), (&json!(1), &json!(1)), "{parked}");

    let answer = app.admin("POST", &format!("{PATH}/redrive"), None).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "redriven": 1 })));
    settle(&app, 0).await;
    assert!(app.is_active(&token).await);
    let audit = app.store.audit_list(0, 100).await.unwrap();
    let entry = audit.last().unwrap();
    assert_eq!((entry.actor.as_str(), entry.action.as_str()), ("admin", "persistence.redrive"));
    assert_eq!(
        (&entry.detail, entry.target.as_str()),
        (&json!({ "parked": 1 }), before["node_id"].as_str().unwrap())
    );

    app.persistence.heartbeat().await.unwrap();
    let marked = state(&app).await;
    assert!(marked["drained_below"]["token_id"].is_string(), "{marked}");
}

#[tokio::test]
async fn nobody_else_sees_or_redrives_it() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    for (method, path) in [("GET", PATH.to_owned()), ("POST", format!("{PATH}/redrive"))] {
        let request = axum::http::Request::builder().method(method).uri(&path);
        let bearer = request.header("authorization", format!("Bearer {token}"));
        let answer = app.admin_send(bearer.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
}
