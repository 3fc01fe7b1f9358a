//! The feed of revocations, as a subscriber follows it.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::home::{Home, text};
use crate::test_server::{Credentials, TestServer};

/// Two clients: whose tokens are revoked, and who follows.
struct Follower {
    client: Credentials,
    gateway: Credentials,
}

impl Follower {
    async fn register(home: &Home, server: &TestServer) -> Self {
        let admin = home.first_client();
        let scope = json!({ "scope": "grantry:revocations" });
        Self {
            client: server
                .create_client(&admin, json!({ "scope": "read", "active_token_policy": "multiple" }))
                .await,
            gateway: server.create_client(&admin, scope).await,
        }
    }

    async fn request(&self, server: &TestServer, query: &str) -> RequestBuilder {
        let bearer = server.token(&self.gateway, &[]).await;
        server.http.get(format!("{}/oauth2/revocations{query}", server.url)).bearer_auth(bearer)
    }

    async fn page(&self, server: &TestServer, query: &str) -> Value {
        let answer = self.request(server, query).await.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// Issues and revokes.
    async fn revoke_one(&self, server: &TestServer) {
        let token = server.token(&self.client, &[]).await;
        let answer = server.post("/oauth2/revoke", &self.client, &[("token", &token)]).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

fn after(page: &Value) -> String {
    format!("?after={}", page["head"].as_str().unwrap())
}

fn told(page: &Value) -> (&str, usize) {
    (page["kind"].as_str().unwrap(), page["entries"].as_array().unwrap().len())
}

/// The next event of a stream, as it was sent; `None` where the stream has ended.
async fn event(stream: &mut Response, text: &mut String) -> Option<String> {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let event = event.to_owned();
            *text = rest.to_owned();
            return Some(event);
        }
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap()?).unwrap());
    }
}

async fn event_but_pings(stream: &mut Response, text: &mut String) -> Option<String> {
    loop {
        let event = event(stream, text).await?;
        if !event.starts_with("event: ping\n") {
            return Some(event);
        }
    }
}

#[tokio::test]
async fn a_subscriber_goes_on_by_position_after_a_restart_of_the_server() {
    let home = Home::new();
    let server = home.start().await;
    let follower = Follower::register(&home, &server).await;
    follower.revoke_one(&server).await;
    let all = follower.page(&server, "").await;
    assert_eq!(told(&all), ("snapshot", 1));
    follower.revoke_one(&server).await;
    server.stop().await;

    let server = home.start().await;
    follower.revoke_one(&server).await;
    let since = follower.page(&server, &after(&all)).await;
    assert_eq!(told(&since), ("entries", 2), "{since}");
    assert_eq!(told(&follower.page(&server, &after(&since)).await), ("entries", 0));
    assert_eq!(told(&follower.page(&server, "").await), ("snapshot", 3));
    server.stop().await;
}

#[tokio::test]
async fn after_a_restore_everything_is_told_anew_since_the_epoch_is_another() {
    let home = Home::new();
    let server = home.start().await;
    let follower = Follower::register(&home, &server).await;
    follower.revoke_one(&server).await;
    let backup = home.run(&["store", "backup", "backup.db"]);
    assert!(backup.status.success(), "{}", text(&backup));
    follower.revoke_one(&server).await;
    let all = follower.page(&server, "").await;
    server.stop().await;
    let restore = home.run(&["store", "restore", "backup.db", "--yes"]);
    assert!(restore.status.success(), "{}", text(&restore));

    let server = home.start().await;
    let again = follower.page(&server, &after(&all)).await;
    assert_eq!(again["kind"], "snapshot");
    let (before, now) = (all["head"].as_str().unwrap(), again["head"].as_str().unwrap());
    assert!(before.starts_with("1.") && now.starts_with("2."), "{before}, then {now}");
    let kinds: Vec<_> = again["entries"].as_array().unwrap().iter().map(|entry| &entry[2]).collect();
    assert!(kinds.contains(&&json!(5)), "a restore ends everything from before it: {again}");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_of_one_server_tells_what_another_has_revoked_and_a_stop_ends_it() {
    let home = Home::new();
    let (server, other) = (home.start().await, home.start().await);
    let follower = Follower::register(&home, &server).await;
    let request = follower.request(&server, "").await.header("accept", "text/event-stream");
    let mut stream = request.send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut rest = String::new();
    let first = event(&mut stream, &mut rest).await.unwrap();
    assert!(first.starts_with("event: snapshot\nid: 1."), "{first}");
    let ping = event(&mut stream, &mut rest).await.unwrap();
    assert!(ping.starts_with("event: ping\nid: 1."), "{ping}");
    follower.revoke_one(&other).await;
    let entries = event_but_pings(&mut stream, &mut rest).await.unwrap();
    assert!(entries.starts_with("event: entries\nid: 1."), "{entries}");
    assert_eq!(server.metric("grantry_feed_subscribers", "").await, 1.0);
    assert_eq!(server.metric("grantry_feed_snapshots_made_total", "").await, 1.0);
    assert!(server.metric("grantry_feed_bytes_sent_total", "").await > 0.0);
    let (end, ()) = tokio::join!(event_but_pings(&mut stream, &mut rest), server.stop());
    assert_eq!(end, None);
    other.stop().await;
}

#[tokio::test]
async fn whoever_waits_hears_of_a_revocation_at_another_server() {
    let home = Home::new();
    let (server, other) = (home.start().await, home.start().await);
    let follower = Follower::register(&home, &server).await;
    let all = follower.page(&server, "").await;
    let request = follower.request(&server, &format!("{}&wait=30", after(&all))).await;
    // Its head is sent at once.
    let waiting = request.timeout(Duration::from_secs(60)).send().await.unwrap();
    follower.revoke_one(&other).await;
    let since: Value = waiting.json().await.unwrap();
    assert_eq!(told(&since), ("entries", 1), "{since}");
    server.stop().await;
    other.stop().await;
}
