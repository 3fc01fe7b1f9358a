//! `/admin/v1/clients`

use axum::body::Body;
use axum::http::Request;
use grantry_store::AuditTrail;
use serde_json::{Value, json};

use crate::app::{ADMIN_SECRET, App, SECRET, basic, form};

const CLIENTS: &str = "/admin/v1/clients";

#[tokio::test]
async fn a_client_is_created_read_changed_and_deleted() {
    let app = App::new().await;
    let created =
        app.admin("POST", CLIENTS, Some(json!({ "client_name": "Billing", "scope": "write read" }))).await;
    assert_eq!(created.status, 201);
    let body = created.json();
    let (id, secret) = (body["client_id"].as_str().unwrap(), body["client_secret"].as_str().unwrap());
    assert_eq!(body["client_secret_expires_at"], 0);
    assert_eq!(body["scope"], "read write");
    let path = format!("{CLIENTS}/{id}");
    assert_eq!(created.header("location"), path);

    let request = form("/oauth2/token").header("authorization", basic(id, secret));
    assert_eq!(app.send(request.body("grant_type=client_credentials".into()).unwrap()).await.status, 200);

    let read = app.admin("GET", &path, None).await;
    assert_eq!(read.json()["client_name"], "Billing");
    assert!(!read.text.contains(secret));

    let patched =
        app.admin("PATCH", &path, Some(json!({ "client_name": null, "access_token_lifetime": "5m" }))).await;
    assert_eq!(patched.status, 200, "{}", patched.text);
    assert_eq!(patched.json()["access_token_lifetime"], "5m");
    assert_eq!(patched.json()["scope"], "read write");
    assert!(patched.json().get("client_name").is_none());

    let replaced = app.admin("PUT", &path, Some(json!({ "scope": "read" }))).await;
    assert_eq!(replaced.json()["scope"], "read");
    assert!(replaced.json().get("access_token_lifetime").is_none());

    assert_eq!(app.admin("DELETE", &path, None).await.status, 204);
    assert_eq!(app.admin("GET", &path, None).await.status, 404);
    assert_eq!(app.admin("DELETE", &path, None).await.status, 404);

    let audit = app.store.audit_list(0, 10).await.unwrap();
    let actions: Vec<(&str, &str)> =
        audit.iter().map(|entry| (entry.actor.as_str(), entry.action.as_str())).collect();
    assert_eq!(
        actions,
        [
            ("host", "client.create"),
            ("admin", "client.create"),
            ("admin", "client.update"),
            ("admin", "client.update"),
            ("admin", "client.delete"),
        ]
    );
    assert!(audit.iter().skip(1).all(|entry| entry.request_id.is_some()));
    assert!(audit.iter().all(|entry| !entry.detail.to_string().contains(secret)));
    assert_eq!(audit[2].detail["access_token_lifetime"], json!({ "from": null, "to": "5m" }));
}

#[tokio::test]
async fn a_rotated_secret_replaces_the_old_one_and_tokens_stay() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    let rotated = app.admin("POST", "/admin/v1/clients/billing/secret", None).await;
    let secret = rotated.json()["client_secret"].as_str().unwrap().to_owned();
    let with = |secret: String| {
        let request = form("/oauth2/introspect").header("authorization", basic("billing", &secret));
        app.send(request.body(format!("token={token}").into()).unwrap())
    };
    assert_eq!(with(SECRET.into()).await.status, 401);
    assert_eq!(with(secret).await.json()["active"], true);
}

#[tokio::test]
async fn deleting_a_client_ends_its_tokens_even_if_the_id_comes_back() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    app.admin("DELETE", "/admin/v1/clients/billing", None).await;
    app.create_client("billing", json!({})).await;
    assert!(!app.is_active(&token).await);
    let new = app.token("").await;
    assert!(app.is_active(&new).await);
}

#[tokio::test]
async fn the_list_is_in_pages() {
    let app = App::new().await;
    for n in 0..5 {
        app.create_client(&format!("client-{n}"), json!({})).await;
    }
    let mut ids = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = app.admin("GET", &format!("{CLIENTS}{query}"), None).await.json();
        let clients = page["clients"].as_array().unwrap().clone();
        assert!(clients.len() <= 2);
        ids.extend(clients.iter().map(|client| client["client_id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(ids, ["admin", "client-0", "client-1", "client-2", "client-3", "client-4"]);
    for wrong in ["?limit=0", "?limit=201", "?limit=x", "?cursor=!", "?nonsense=1"] {
        assert_eq!(app.admin("GET", &format!("{CLIENTS}{wrong}"), None).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let app = App::new().await;
    let table: [(Value, &str, &str); 21] = [
        (json!({ "client_id": "" }), "client_id", "printable"),
        (json!({ "client_id": "a\u{0}b" }), "client_id", "printable"),
        (json!({ "client_id": "a\nb" }), "client_id", "printable"),
        (json!({ "client_id": 5 }), "client_id", "string"),
        (json!({ "client_secret": "" }), "client_secret", "printable"),
        (json!({ "client_secret": "a\u{0}" }), "client_secret", "printable"),
        (json!({ "client_secret": "a\nb" }), "client_secret", "printable"),
        (json!({ "client_name": "a\u{0}" }), "client_name", "control"),
        (json!({ "client_name": "a\nb" }), "client_name", "control"),
        (json!({ "scope": "a\u{0}" }), "scope", "character"),
        (json!({ "scope": "a\nb" }), "scope", "character"),
        (json!({ "scope": "grantry:admim" }), "scope", "grantry:admin"),
        (json!({ "grant_types": ["implicit"] }), "grant_types", "implicit"),
        (json!({ "token_endpoint_auth_method": "none" }), "token_endpoint_auth_method", "client_credentials"),
        (json!({ "access_token_format": "paseto" }), "access_token_format", "opaque"),
        (json!({ "access_token_lifetime": "24h" }), "access_token_lifetime", "retention_time"),
        (
            json!({ "access_token_claims": { "sub": "x" } }),
            "access_token_claims",
            "\"sub\" is a registered claim",
        ),
        (json!({ "access_token_claims": ["x"] }), "access_token_claims", "map"),
        (json!({ "access_token_lifetime": "soon" }), "access_token_lifetime", "length of time"),
        (json!({ "resources": ["a\u{0}"] }), "resources", "printable"),
        (json!({ "acces_token_format": "jwt" }), "body", "access_token_format"),
    ];
    for (body, field, hint) in table {
        let answer = app.admin("POST", CLIENTS, Some(body.clone())).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["field"], field, "{body}: {}", answer.text);
        assert!(problem["detail"].as_str().unwrap().contains(hint), "{body}: {}", answer.text);
    }
    assert_eq!(app.admin("GET", CLIENTS, None).await.json()["clients"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bodies_that_are_no_json_object_are_refused() {
    let app = App::new().await;
    let bearer = format!("Bearer {}", app.admin_token().await);
    let post = |content_type: &'static str, body: String| {
        let request =
            Request::post(CLIENTS).header("authorization", &bearer).header("content-type", content_type);
        app.admin_send(request.body(body.into()).unwrap())
    };
    assert_eq!(post("application/json", "{".into()).await.status, 400);
    assert_eq!(post("application/json", "[]".into()).await.status, 400);
    assert_eq!(post("text/plain", "{}".into()).await.status, 400);
    assert_eq!(
        post("application/json", format!("{{\"client_name\": \"{}\"}}", "x".repeat(5000))).await.status,
        413
    );
}

#[tokio::test]
async fn an_id_is_taken_once_and_cannot_be_changed() {
    let app = App::with_client(json!({})).await;
    let taken = app.admin("POST", CLIENTS, Some(json!({ "client_id": "billing" }))).await;
    assert_eq!(taken.status, 409);
    let renamed =
        app.admin("PATCH", "/admin/v1/clients/billing", Some(json!({ "client_id": "other" }))).await;
    assert_eq!((renamed.status.as_u16(), renamed.json()["field"].as_str().unwrap()), (400, "client_id"));
    let secret = app.admin("PATCH", "/admin/v1/clients/billing", Some(json!({ "client_secret": "x" }))).await;
    assert_eq!((secret.status.as_u16(), secret.json()["field"].as_str().unwrap()), (400, "client_secret"));
    // What was read may be put back as it is.
    let read = app.admin("GET", "/admin/v1/clients/billing", None).await.json();
    assert_eq!(app.admin("PUT", "/admin/v1/clients/billing", Some(read)).await.status, 200);
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let app = App::new().await;
    let admin = "/admin/v1/clients/admin";
    assert_eq!(app.admin("DELETE", admin, None).await.status, 409);
    for change in [json!({ "enabled": false }), json!({ "scope": "read" }), json!({ "grant_types": [] })] {
        assert_eq!(app.admin("PATCH", admin, Some(change.clone())).await.status, 409, "{change}");
    }
    app.create_client("second", json!({ "scope": "grantry:admin" })).await;
    assert_eq!(app.admin("DELETE", "/admin/v1/clients/second", None).await.status, 204);
    app.create_client("second", json!({ "scope": "grantry:admin" })).await;
    assert_eq!(app.admin("DELETE", admin, None).await.status, 204);
}

#[tokio::test]
async fn only_a_live_token_with_the_scope_opens_it() {
    let app = App::with_client(json!({})).await;
    let get = |authorization: Option<String>| {
        let mut request = Request::get(CLIENTS);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        app.admin_send(request.body(Body::empty()).unwrap())
    };
    let none = get(None).await;
    assert_eq!((none.status.as_u16(), none.header("www-authenticate")), (401, "Bearer realm=\"grantry\""));
    assert_eq!(get(Some(basic("admin", ADMIN_SECRET))).await.status, 401);
    let forged = get(Some("Bearer gta_forged".into())).await;
    assert!(forged.header("www-authenticate").contains("invalid_token"));
    let weak = get(Some(format!("Bearer {}", app.token("").await))).await;
    assert_eq!(weak.status, 403);
    assert!(weak.header("www-authenticate").contains("insufficient_scope"));
    let token = app.admin_token().await;
    assert_eq!(get(Some(format!("bearer {token}"))).await.status, 200);
    let request = form("/oauth2/revoke").header("authorization", basic("admin", ADMIN_SECRET));
    assert_eq!(app.send(request.body(format!("token={token}").into()).unwrap()).await.status, 200);
    assert_eq!(get(Some(format!("Bearer {token}"))).await.status, 401);
}
