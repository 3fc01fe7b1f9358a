//! `/admin/v1/tokens`

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::app::{App, DAY, ISSUER};
use crate::assertions::{alices_pair, bear_as, bearer_app, create_bearer_client};

const TOKENS: &str = "/admin/v1/tokens";

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

async fn list(app: &App, query: &str) -> Value {
    let answer = app.admin("GET", &format!("{TOKENS}?{query}"), None).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("cache-control")),
        (200, "no-store"),
        "{}",
        answer.text
    );
    answer.json()
}

#[tokio::test]
async fn what_a_subject_has_is_listed_without_the_text_of_any_token() {
    let (app, signer) = bearer_app(json!({})).await;
    let (first, spent) = alices_pair(&app, &signer).await;
    bear_as(&app, &signer, "billing", "bob@example.com", "").await.pair();
    app.clock.advance(Duration::from_secs(60));
    let refreshed =
        app.post("/oauth2/token", &format!("grant_type=refresh_token&refresh_token={spent}")).await;
    let (second, refresh_token) = refreshed.pair();
    let answer = app.admin("GET", &format!("{TOKENS}?subject=alice"), None).await;
    for text in [&first, &spent, &second, &refresh_token] {
        assert!(!answer.text.contains(text.as_str()) && !answer.text.contains(&text[4..]));
    }
    let mut listed = answer.json();
    let grant_id = listed["grants"][0]["id"].take();
    assert!(grant_id.is_string());
    let jti = async |token: &str| {
        app.post("/oauth2/introspect", &format!("token={token}")).await.json()["jti"].clone()
    };
    let token = |id: Value, state: &str, issued_at: u64| {
        json!({
            "id": id, "client_id": "billing", "subject": "alice", "subject_kind": "user",
            "scope": "read write", "audience": [ISSUER], "format": "opaque", "state": state,
            "issued_at": issued_at, "expires_at": issued_at + 3600, "grant_id": grant_id, "session_id": null,
        })
    };
    assert_eq!(
        listed,
        json!({
            "grants": [{
                "id": null, "client_id": "billing", "subject": "alice", "subject_kind": "user",
                "scope": "read write", "audience": [ISSUER], "state": "ACTIVE", "created_at": 1_700_000_000,
                "expires_at": 1_700_000_000 + 30 * DAY, "idle_expires_at": 1_700_000_060 + 14 * DAY,
                "counter": 1, "rotated_at": 1_700_000_060, "ended_at": null, "session_id": null,
            }],
            "tokens": [
                token(jti(&second).await, "ACTIVE", 1_700_000_060),
                token(jti(&first).await, "RETIRED", 1_700_000_000),
            ],
            "next_after": null,
        })
    );
}

#[tokio::test]
async fn ended_grants_and_tokens_say_how_they_stand() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, token) = alices_pair(&app, &signer).await;
    let states = async || {
        let listed = list(&app, "subject=alice").await;
        (
            listed["grants"][0]["state"].clone(),
            listed["grants"][0]["ended_at"].clone(),
            listed["tokens"][0]["state"].clone(),
        )
    };
    app.clock.advance(Duration::from_secs(5));
    app.post("/oauth2/revoke", &format!("token={token}")).await;
    assert_eq!(states().await, (json!("REVOKED"), json!(1_700_000_005), json!("REVOKED")));

    let (app, signer) = bearer_app(json!({})).await;
    alices_pair(&app, &signer).await;
    app.clock.advance(Duration::from_secs(14 * DAY));
    let listed = list(&app, "subject=alice").await;
    assert_eq!(
        (&listed["grants"][0]["state"], &listed["tokens"][0]["state"]),
        (&json!("EXPIRED"), &json!("EXPIRED"))
    );

    let (app, signer) = bearer_app(json!({})).await;
    alices_pair(&app, &signer).await;
    app.admin("POST", "/admin/v1/revocations", Some(json!({ "subject": "alice" }))).await;
    let listed = list(&app, "subject=alice").await;
    assert_eq!(
        (&listed["grants"][0]["state"], &listed["tokens"][0]["state"]),
        (&json!("REVOKED"), &json!("REVOKED"))
    );
    // It was no deed to this grant: the rule stands in the list of revocations.
    assert_eq!(listed["grants"][0]["ended_at"], Value::Null);
}

#[tokio::test]
async fn a_client_is_a_subject_too_and_nobody_has_nothing() {
    let app = App::with_client(json!({})).await;
    app.token("").await;
    let listed = list(&app, "subject=billing").await;
    assert_eq!(listed["grants"], json!([]));
    let token = &listed["tokens"][0];
    assert_eq!((&token["subject_kind"], &token["grant_id"]), (&json!("client"), &Value::Null));
    let nobody = list(&app, "subject=nobody%20at+all").await;
    assert_eq!(nobody, json!({ "grants": [], "tokens": [], "next_after": null }));
}

#[tokio::test]
async fn the_list_is_in_pages_that_give_everything_once() {
    let (app, signer) = bearer_app(json!({})).await;
    let (_, mut token) = alices_pair(&app, &signer).await;
    // More tokens than grants, so that one list ends pages before the other.
    for _ in 0..6 {
        token = app
            .post("/oauth2/token", &format!("grant_type=refresh_token&refresh_token={token}"))
            .await
            .pair()
            .1;
    }
    for n in 0..2 {
        let client = format!("client-{n}");
        create_bearer_client(&app, &signer, &client, json!({})).await;
        bear_as(&app, &signer, &client, "alice", "").await.pair();
    }
    let (mut grants, mut tokens, mut after) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = list(&app, &format!("subject=alice&limit=2{after}")).await;
        let ids = |name: &str| -> Vec<String> {
            let items = page[name].as_array().unwrap();
            items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
        };
        assert!(ids("grants").len() <= 2 && ids("tokens").len() <= 2);
        grants.extend(ids("grants"));
        tokens.extend(ids("tokens"));
        match page["next_after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((grants.len(), tokens.len()), (3, 9));
    assert!(
        grants.is_sorted_by(|left, right| left > right) && tokens.is_sorted_by(|left, right| left > right)
    );
}

#[tokio::test]
async fn each_wrong_parameter_is_named() {
    let app = App::new().await;
    for (query, field) in [
        ("", json!("subject")),
        ("limit=5", json!("subject")),
        ("subject=", json!("subject")),
        ("subject=a%00", json!("subject")),
        ("subject=a%0ab", json!("subject")),
        (&format!("subject={}", "x".repeat(256)), json!("subject")),
        ("subject=a&limit=0", json!("limit")),
        ("subject=a&limit=201", json!("limit")),
        ("subject=a&limit=x", Value::Null),
        ("subject=a&after=!", json!("after")),
        ("subject=a&after=AAAA", json!("after")),
        ("subject=a&after=", json!("after")),
        ("subject=a&subject=b", Value::Null),
        ("subject=a&nonsense=1", Value::Null),
    ] {
        let answer = app.admin("GET", &format!("{TOKENS}?{query}"), None).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["field"], field, "{query}: {}", answer.text);
    }
    assert_eq!(app.admin("POST", TOKENS, Some(json!({}))).await.status, 405);
}

#[tokio::test]
async fn the_list_is_for_administrators() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    let get = |authorization: Option<String>| {
        let mut request = Request::get(format!("{TOKENS}?subject=billing"));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        app.admin_send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(get(None).await.status, 401);
    assert_eq!(get(Some("Bearer x".into())).await.status, 401);
    assert_eq!(get(Some(format!("Bearer {token}"))).await.status, 403);
}
