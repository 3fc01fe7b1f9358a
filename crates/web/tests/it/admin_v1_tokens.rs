//! `POST /admin/v1/tokens/inspect`

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::App;

async fn inspect(app: &App, token: &str) -> Value {
    let answer = app.admin("POST", "/admin/v1/tokens/inspect", Some(json!({ "token": token }))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn it_says_what_a_token_is_and_why_it_is_not_active() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    let seen = inspect(&app, &token).await;
    assert_eq!(seen["origin"], "ours");
    assert_eq!(seen["active"], true);
    assert_eq!(seen["token"]["format"], "opaque");
    assert_eq!(seen["token"]["row"]["state"], "ACTIVE");
    assert_eq!(seen["token"]["row"]["client_id"], "billing");

    app.clock.advance(Duration::from_secs(3580));
    app.token("").await;
    assert_eq!(inspect(&app, &token).await["token"]["row"]["state"], "RETIRED");
    app.clock.advance(Duration::from_secs(20));
    assert_eq!(inspect(&app, &token).await["token"]["row"]["state"], "EXPIRED");

    let revoked = app.token("").await;
    app.post("/oauth2/revoke", &format!("token={revoked}")).await;
    let seen = inspect(&app, &revoked).await;
    assert_eq!(
        (seen["active"].as_bool(), seen["token"]["row"]["state"].as_str()),
        (Some(false), Some("REVOKED"))
    );

    let ruled = app.token("").await;
    app.admin("POST", "/admin/v1/revocations", Some(json!({ "client_id": "billing" }))).await;
    let seen = inspect(&app, &ruled).await;
    assert_eq!(seen["token"]["row"]["state"], "REVOKED");
    assert!(seen["explanation"].as_str().unwrap().contains("an administrator"));

    let forged = inspect(&app, "gta_forged").await;
    assert_eq!((forged["origin"].as_str(), forged["active"].as_bool()), (Some("not_ours"), Some(false)));
}

#[tokio::test]
async fn a_body_without_a_token_names_the_field() {
    let app = App::new().await;
    for body in [json!({}), json!({ "token": 5 }), json!([])] {
        let answer = app.admin("POST", "/admin/v1/tokens/inspect", Some(body)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["field"].as_str().unwrap().to_owned()),
            (400, "token".into())
        );
    }
}
