//! The verifier of resource servers before the real server. What it does with answers that the server never gives is tested
//! in its own crate.

use std::sync::Arc;
use std::time::Duration;

use grantry_verifier::{
    ClientCredentials, Endpoints, Introspection, Outage, Reason, Refusal, Revocations, Secret, Settings,
    Verifier,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::home::{Home, ISSUER, text};
use crate::test_server::{Credentials, TestServer};
use crate::wait;

const API: &str = "https://api.example/";
const BOUND: Duration = Duration::from_secs(1);
const REVOKED: Refusal = Refusal::Invalid(Reason::Revoked);

struct Stage {
    home: Home,
    server: TestServer,
    /// Gets a new JWT each time.
    caller: Credentials,
    follower: Credentials,
    verifier: Arc<Verifier>,
}

impl Stage {
    async fn start(toml: &str) -> Self {
        let home = Home::with_config(toml);
        let server = home.start().await;
        let admin = home.first_client();
        let jwt = json!({ "access_token_format": "jwt", "active_token_policy": "multiple" });
        let caller = server.create_client(&admin, jwt).await;
        let follower = server.create_client(&admin, json!({ "scope": "grantry:revocations" })).await;
        let verifier = follow(&server, &follower, |_| ()).await;
        Self { home, server, caller, follower, verifier }
    }

    async fn token(&self) -> String {
        self.server.token(&self.caller, &[("resource", API)]).await
    }

    async fn check(&self, token: &str) -> Result<(), Refusal> {
        self.verifier.check(token).await.map(drop)
    }

    /// Ends what the body names, and gives the moment at which that was acknowledged.
    async fn end(&self, body: Value) -> Instant {
        let bearer = self.server.token(&self.home.first_client(), &[("scope", "grantry:admin")]).await;
        let url = format!("{}/admin/v1/revocations", self.server.admin_url);
        let request = self.server.http.post(url).bearer_auth(bearer).json(&body);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED, "{body}");
        Instant::now()
    }
}

/// A verifier that is ready.
async fn follow(
    server: &TestServer,
    follower: &Credentials,
    change: impl FnOnce(&mut Settings),
) -> Arc<Verifier> {
    let mut settings = Settings::new(ISSUER, API, Revocations::Followed(credentials(follower)));
    // The server is known as something else than where it listens.
    settings.endpoints = endpoints(server);
    change(&mut settings);
    let verifier = Verifier::start(settings).unwrap();
    wait_until_ready(&verifier).await;
    verifier
}

fn endpoints(server: &TestServer) -> Endpoints {
    let url = |path: &str| Some(format!("{}{path}", server.url));
    Endpoints {
        jwks: url("/oauth2/jwks"),
        token: url("/oauth2/token"),
        introspection: url("/oauth2/introspect"),
        revocations: url("/oauth2/revocations"),
    }
}

async fn wait_until_ready(verifier: &Verifier) {
    wait::until("keys and revocations are known", async || verifier.is_ready().then_some(())).await;
}

fn credentials((id, secret): &Credentials) -> ClientCredentials {
    ClientCredentials { client_id: id.clone(), client_secret: Secret::new(secret) }
}

#[tokio::test]
async fn whatever_ends_a_jwt_ends_it_here_within_the_bound() {
    let stage = Stage::start("").await;
    let bodies = [
        (json!({ "client_id": stage.caller.0 }), true),
        (json!({ "subject": stage.caller.0 }), true),
        (json!({ "all": true }), true),
        (Value::Null, false),
    ];
    for (body, is_rule) in bodies {
        let (token, other) = (stage.token().await, stage.token().await);
        assert_eq!(stage.check(&token).await, Ok(()));
        assert_eq!(stage.check(&other).await, Ok(()));
        let body = if is_rule { body } else { json!({ "token": token }) };
        let acknowledged = stage.end(body.clone()).await;
        sleep_until(acknowledged + BOUND).await; // wait: for the bound to pass
        assert_eq!(stage.check(&token).await, Err(REVOKED), "{body}");
        assert_eq!(stage.check(&other).await, if is_rule { Err(REVOKED) } else { Ok(()) }, "{body}");
        // After a rule about everything that includes the token for the feed, and the way there again.
        let later = stage.token().await;
        wait_until_ready(&stage.verifier).await;
        assert_eq!(stage.check(&later).await, Ok(()), "{body}");
    }
    let asked = stage.server.metric("grantry_http_requests_total", "/oauth2/introspect").await;
    assert_eq!(asked, 0.0, "nobody was asked about a token");
    stage.server.stop().await;
}

#[tokio::test]
async fn what_was_revoked_before_the_start_is_known() {
    let stage = Stage::start("").await;
    let (token, other) = (stage.token().await, stage.token().await);
    stage.end(json!({ "token": token })).await;
    let late = follow(&stage.server, &stage.follower, |_| ()).await;
    assert_eq!(late.check(&token).await.map(drop), Err(REVOKED));
    assert_eq!(late.check(&other).await.map(drop), Ok(()));
    stage.server.stop().await;
}

#[tokio::test]
async fn a_server_that_hangs_closes_the_door_after_the_bound_and_opens_it_by_itself() {
    let stage = Stage::start("").await;
    let token = stage.token().await;
    assert_eq!(stage.check(&token).await, Ok(()));
    stage.server.process.signal("STOP");
    sleep_until(Instant::now() + BOUND).await; // wait: for the bound to pass
    let refusal = stage.check(&token).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable { because: Outage::Revocations, .. }), "{refusal}");
    stage.server.process.signal("CONT");
    wait_until_ready(&stage.verifier).await;
    assert_eq!(stage.check(&token).await, Ok(()));
    let acknowledged = stage.end(json!({ "token": token })).await;
    sleep_until(acknowledged + BOUND).await; // wait: for the bound to pass
    assert_eq!(stage.check(&token).await, Err(REVOKED));
    stage.server.stop().await;
}

#[tokio::test]
async fn a_client_without_the_scope_follows_nothing_and_nothing_is_let_in() {
    let stage = Stage::start("").await;
    let plain = stage.server.plain_client(&stage.home.first_client()).await;
    let mut settings = Settings::new(ISSUER, API, Revocations::Followed(credentials(&plain)));
    settings.endpoints = endpoints(&stage.server);
    let verifier = Verifier::start(settings).unwrap();
    let token = stage.token().await;
    let is_stale = async || {
        let outcome = verifier.check(&token).await.map(drop);
        matches!(outcome, Err(Refusal::Unavailable { because: Outage::Revocations, .. })).then_some(())
    };
    wait::until("the keys, but not the revocations", is_stale).await;
    let refused = async || stage.server.metric("grantry_http_requests_total", "/oauth2/token").await > 3.0;
    wait::until("the client has asked for a token", async || refused().await.then_some(())).await;
    assert!(!verifier.is_ready());
    stage.server.stop().await;
}

#[tokio::test]
async fn opaque_tokens_are_asked_about_and_end_within_both_bounds() {
    let stage = Stage::start("").await;
    let admin = stage.home.first_client();
    let asker = stage.server.create_client(&admin, json!({ "scope": "grantry:introspect" })).await;
    let verifier = follow(&stage.server, &stage.follower, |settings| {
        settings.introspection = Some(Introspection::new(credentials(&asker)));
    })
    .await;
    let caller = stage.server.create_client(&admin, json!({})).await;
    let token = stage.server.token(&caller, &[("resource", API)]).await;
    for _ in 0..3 {
        assert_eq!(verifier.check(&token).await.unwrap().client_id(), caller.0);
    }
    let acknowledged = stage.end(json!({ "client_id": caller.0 })).await;
    sleep_until(acknowledged + 2 * BOUND).await; // wait: for the verifier's bound and the node's
    assert_eq!(verifier.check(&token).await.map(drop), Err(Refusal::Invalid(Reason::Inactive)));
    stage.server.stop().await;
}

#[tokio::test]
async fn a_rotated_key_is_learnt_and_a_revoked_one_forgotten() {
    let stage = Stage::start("[keys]\njwks_max_age = \"1s\"\n").await;
    let verifier = follow(&stage.server, &stage.follower, |settings| {
        settings.jwks_refresh = BOUND;
        settings.jwks_keep = Duration::from_secs(60);
    })
    .await;
    let keys = |args: &[&str]| {
        let urls = ["--admin-url", &stage.server.admin_url, "--server-url", &stage.server.url];
        let output = stage.home.run(&[&["keys"], args, &urls].concat());
        assert!(output.status.success(), "{}", text(&output));
    };
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let old = stage.token().await;
    verifier.check(&old).await.unwrap();
    keys(&["rotate", "signing", "--json"]);
    let new = wait::until("the new key signs", async || {
        let token = stage.token().await;
        (kid(&token) != kid(&old)).then_some(token)
    })
    .await;
    verifier.check(&new).await.unwrap();
    verifier.check(&old).await.unwrap();
    keys(&["revoke", &kid(&old), "--json"]);
    let is_forgotten = async || {
        let outcome = verifier.check(&old).await.map(drop);
        (outcome == Err(Refusal::Invalid(Reason::UnknownKey))).then_some(())
    };
    wait::until("the revoked key is forgotten", is_forgotten).await;
    verifier.check(&new).await.unwrap();
    stage.server.stop().await;
}
