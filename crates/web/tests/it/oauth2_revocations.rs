//! `GET /oauth2/revocations`

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use grantry_protocol::{LogKind, TokenId};
use grantry_revocation::{FeedKey, FeedPage, FeedPageKind, position_text};
use grantry_store::{Outage, StoreError};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::app::{Answer, App};

const FEED: &str = "/oauth2/revocations";

/// An app with `billing`, and `gateway`, which may follow the feed.
async fn app() -> (App, String) {
    let app = App::with_client(json!({ "active_token_policy": "multiple" })).await;
    app.create_client("gateway", json!({ "scope": "grantry:revocations read" })).await;
    let form = "grant_type=client_credentials&scope=grantry:revocations";
    let bearer = app.post_as("gateway", "/oauth2/token", form).await.token();
    (app, bearer)
}

fn request(bearer: &str, query: &str) -> axum::http::request::Builder {
    Request::get(format!("{FEED}{query}")).header("authorization", format!("Bearer {bearer}"))
}

async fn ask(app: &App, bearer: &str, query: &str) -> Answer {
    app.send(request(bearer, query).body(Body::empty()).unwrap()).await
}

async fn page(app: &App, bearer: &str, query: &str) -> FeedPage {
    let answer = ask(app, bearer, query).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        ("application/json", "no-store")
    );
    serde_json::from_str(&answer.text).unwrap()
}

fn after(page: &FeedPage) -> String {
    format!("?after={}", position_text(page.head))
}

/// A token of `billing` that is revoked; its id.
async fn revoke_one(app: &App) -> TokenId {
    let token = app.token("").await;
    let id = app.post("/oauth2/introspect", &format!("token={token}")).await.json()["jti"].clone();
    assert_eq!(app.post("/oauth2/revoke", &format!("token={token}")).await.status, 200);
    app.tail.catch_up().await;
    id.as_str().unwrap().parse().unwrap()
}

async fn revoke(app: &App, body: Value) {
    assert_eq!(app.admin("POST", "/admin/v1/revocations", Some(body)).await.status, 201);
    app.tail.catch_up().await;
}

fn ids(page: &FeedPage) -> Vec<[u8; 16]> {
    page.entries.iter().map(|entry| *entry.key.as_bytes()).collect()
}

#[tokio::test]
async fn first_everything_in_force_is_told_then_what_has_come_since() {
    let (app, bearer) = app().await;
    let first = revoke_one(&app).await;
    let all = page(&app, &bearer, "").await;
    assert_eq!((all.kind, ids(&all)), (FeedPageKind::Snapshot, vec![*first.as_bytes()]));
    assert_eq!((all.age, all.max_staleness), (Duration::ZERO, Duration::from_secs(1)));
    let none = page(&app, &bearer, &after(&all)).await;
    assert_eq!((none.kind, none.head, none.entries.len()), (FeedPageKind::Entries, all.head, 0));

    let (second, third) = (revoke_one(&app).await, revoke_one(&app).await);
    let since = page(&app, &bearer, &after(&all)).await;
    assert_eq!(
        (since.kind, ids(&since)),
        (FeedPageKind::Entries, vec![*second.as_bytes(), *third.as_bytes()])
    );
    let again = page(&app, &bearer, "").await;
    let mut known = ids(&again);
    known.sort_unstable();
    assert_eq!(known, [first, second, third].map(|id| *id.as_bytes()), "the snapshot, and what came since");
    assert_eq!((again.kind, again.head), (FeedPageKind::Snapshot, since.head));
}

#[tokio::test]
async fn a_position_from_elsewhere_is_answered_with_a_snapshot() {
    let (app, bearer) = app().await;
    revoke_one(&app).await;
    let head = page(&app, &bearer, "").await.head;
    let (epoch, position) = (head.epoch.0, head.position.0);
    for elsewhere in [format!("{epoch}.{}", position + 1), format!("{}.0", epoch + 1), "0.0".to_owned()] {
        let page = page(&app, &bearer, &format!("?after={elsewhere}")).await;
        assert_eq!(
            (page.kind, page.head, page.entries.len()),
            (FeedPageKind::Snapshot, head, 1),
            "{elsewhere}"
        );
    }
}

#[tokio::test]
async fn names_of_clients_and_subjects_are_never_told() {
    let (app, bearer) = app().await;
    let before = page(&app, &bearer, "").await;
    revoke(&app, json!({ "client_id": "billing" })).await;
    revoke(&app, json!({ "subject": "alice" })).await;
    for query in ["", &after(&before)] {
        let answer = ask(&app, &bearer, query).await;
        for name in ["billing", "alice", "gateway"] {
            assert!(!answer.text.contains(name), "{}", answer.text);
        }
        let page: FeedPage = serde_json::from_str(&answer.text).unwrap();
        let mut keys: Vec<_> = page.entries.iter().map(|entry| (entry.kind.code(), entry.key)).collect();
        keys.sort_unstable();
        let key = |kind: LogKind, name: &[u8]| (kind.code(), FeedKey::of(kind, name));
        assert_eq!(keys, [key(LogKind::Client, b"billing"), key(LogKind::Subject, b"alice")], "{query}");
    }
}

#[tokio::test]
async fn it_is_for_live_tokens_with_the_scope_alone() {
    let (app, bearer) = app().await;
    let (read, other) = ("grant_type=client_credentials&scope=read", app.token("").await);
    let without = app.post_as("gateway", "/oauth2/token", read).await.token();
    for token in [&without, &other] {
        let answer = ask(&app, token, "").await;
        assert_eq!(answer.error(), (403, "insufficient_scope".into()));
        let challenge =
            "Bearer realm=\"grantry\", error=\"insufficient_scope\", scope=\"grantry:revocations\"";
        assert_eq!(answer.header("www-authenticate"), challenge);
    }
    let answer = app.get(FEED).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("www-authenticate")),
        (401, "Bearer realm=\"grantry\"")
    );
    assert_eq!(app.post_as("gateway", "/oauth2/revoke", &format!("token={bearer}")).await.status, 200);
    for token in [&bearer, "nonsense"] {
        let answer = ask(&app, token, "").await;
        assert_eq!(answer.error(), (401, "invalid_token".into()), "{token}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"grantry\", error=\"invalid_token\"");
    }
}

#[tokio::test]
async fn a_parameter_that_cannot_be_read_is_named() {
    let (app, bearer) = app().await;
    let table = [
        ("?after=7", "after must be EPOCH.POSITION"),
        ("?after=1.x", "after must be EPOCH.POSITION"),
        ("?wait=31", "wait must be 0 to 30"),
        ("?wait=-1", "wait must be 0 to 30"),
        ("?wait=0.5", "wait must be 0 to 30"),
    ];
    for (query, message) in table {
        let answer = ask(&app, &bearer, query).await;
        assert_eq!(answer.error(), (400, "invalid_request".into()), "{query}");
        assert!(answer.text.contains(message), "{query}: {}", answer.text);
    }
    let events = request(&bearer, "").header("accept", "text/event-stream").header("last-event-id", "x");
    let answer = app.send(events.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("Last-Event-ID must be EPOCH.POSITION"), "{}", answer.text);
}

#[tokio::test]
async fn whoever_waits_is_told_when_something_ends_and_no_deadline_of_requests_is_about_it() {
    let app = App::with(|settings| {
        settings.limits.request_timeout = Duration::from_secs(1);
        settings.limits.max_concurrent_requests = 2;
    })
    .await;
    app.create_client("billing", json!({})).await;
    app.create_client("gateway", json!({ "scope": "grantry:revocations" })).await;
    let bearer = app.post_as("gateway", "/oauth2/token", "grant_type=client_credentials").await.token();
    let query = format!("{}&wait=30", after(&page(&app, &bearer, "").await));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let response = app.open(request(&bearer, &query).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        waiting.push(tokio::spawn(async move { response.into_body().collect().await.unwrap().to_bytes() }));
    }
    // wait: for longer than requests have.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    let id = revoke_one(&app).await;
    for waiting in waiting {
        let page: FeedPage = serde_json::from_slice(&waiting.await.unwrap()).unwrap();
        assert_eq!((page.kind, ids(&page)), (FeedPageKind::Entries, vec![*id.as_bytes()]));
    }
}

#[tokio::test]
async fn a_wait_ends_without_entries_when_nothing_comes_or_the_token_is_over() {
    let (app, bearer) = app().await;
    let head = page(&app, &bearer, "").await;
    let empty = page(&app, &bearer, &format!("{}&wait=1", after(&head))).await;
    assert_eq!((empty.kind, empty.head, empty.entries.len()), (FeedPageKind::Entries, head.head, 0));

    let query = format!("{}&wait=30", after(&head));
    let response = app.open(request(&bearer, &query).body(Body::empty()).unwrap()).await;
    let waiting = tokio::spawn(async move { response.into_body().collect().await.unwrap().to_bytes() });
    assert_eq!(app.post_as("gateway", "/oauth2/revoke", &format!("token={bearer}")).await.status, 200);
    let page: FeedPage = serde_json::from_slice(&waiting.await.unwrap()).unwrap();
    assert_eq!((page.head, page.entries.len()), (head.head, 0), "not even its own end is told any more");
}

/// One event of a stream.
#[derive(Debug)]
struct Event {
    name: String,
    id: String,
    page: FeedPage,
}

struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn open(app: &App, bearer: &str, query: &str, last: Option<&str>) -> Self {
        let mut request = request(bearer, query).header("accept", "text/html, text/event-stream;q=0.9");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response: Response = app.open(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// `None` where the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        while !self.text.contains("\n\n") {
            let piece = self.body.frame().await?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        let (event, rest) = self.text.split_once("\n\n").unwrap();
        let field = |name: &str| {
            let lines = event.lines().filter_map(|line| line.strip_prefix(name));
            lines.collect::<Vec<_>>().concat()
        };
        let page = serde_json::from_str(&field("data: ")).unwrap();
        let event = Event { name: field("event: "), id: field("id: "), page };
        assert_eq!(event.id, position_text(event.page.head));
        self.text = rest.to_owned();
        Some(event)
    }

    async fn next_but_pings(&mut self) -> Option<Event> {
        loop {
            let event = self.next().await?;
            if event.name != "ping" {
                return Some(event);
            }
        }
    }
}

#[tokio::test]
async fn a_stream_begins_with_everything_and_goes_on_with_what_comes() {
    let (app, bearer) = app().await;
    let first = revoke_one(&app).await;
    let mut events = Events::open(&app, &bearer, "", None).await;
    let snapshot = events.next().await.unwrap();
    assert_eq!((snapshot.name.as_str(), ids(&snapshot.page)), ("snapshot", vec![*first.as_bytes()]));
    let ping = events.next().await.unwrap();
    assert_eq!(
        (ping.name.as_str(), ping.page.head, ping.page.entries.len()),
        ("ping", snapshot.page.head, 0)
    );
    let second = revoke_one(&app).await;
    let entries = events.next_but_pings().await.unwrap();
    assert_eq!((entries.name.as_str(), ids(&entries.page)), ("entries", vec![*second.as_bytes()]));
}

#[tokio::test]
async fn a_stream_resumes_behind_its_last_event_whatever_the_query_says() {
    let (app, bearer) = app().await;
    revoke_one(&app).await;
    let mut events = Events::open(&app, &bearer, "", None).await;
    let last = events.next().await.unwrap().id;
    drop(events);
    let second = revoke_one(&app).await;
    let mut events = Events::open(&app, &bearer, "?after=0.0", Some(&last)).await;
    let entries = events.next().await.unwrap();
    assert_eq!((entries.name.as_str(), ids(&entries.page)), ("entries", vec![*second.as_bytes()]));
}

#[tokio::test]
async fn somebody_who_reads_slowly_finds_all_that_has_come_meanwhile_in_one_event() {
    let (app, bearer) = app().await;
    let mut events = Events::open(&app, &bearer, "", None).await;
    events.next().await.unwrap();
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(*revoke_one(&app).await.as_bytes());
    }
    assert_eq!(ids(&events.next_but_pings().await.unwrap().page), expected);
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked() {
    let (app, bearer) = app().await;
    let mut events = Events::open(&app, &bearer, "", None).await;
    assert_eq!(events.next().await.unwrap().name, "snapshot");
    assert_eq!(app.post_as("gateway", "/oauth2/revoke", &format!("token={bearer}")).await.status, 200);
    assert!(events.next_but_pings().await.is_none(), "not even its own end is told any more");
    assert_eq!(ask(&app, &bearer, "").await.status, 401);
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires_and_when_the_server_stops() {
    let (app, bearer) = app().await;
    let mut events = Events::open(&app, &bearer, "", None).await;
    assert_eq!(events.next().await.unwrap().name, "snapshot");
    app.clock.advance(Duration::from_secs(3_601));
    assert!(events.next_but_pings().await.is_none());

    let form = "grant_type=client_credentials&scope=grantry:revocations";
    let bearer = app.post_as("gateway", "/oauth2/token", form).await.token();
    let mut events = Events::open(&app, &bearer, "", None).await;
    assert_eq!(events.next().await.unwrap().name, "snapshot");
    app.readiness.stop();
    assert!(events.next_but_pings().await.is_none());
}

#[tokio::test]
async fn a_node_that_cannot_tell_whether_it_knows_every_revocation_says_so() {
    let (app, bearer) = app().await;
    let head = page(&app, &bearer, "").await;
    let mut events = Events::open(&app, &bearer, "", None).await;
    assert_eq!(events.next().await.unwrap().name, "snapshot");
    app.log.fail_reads(Some(StoreError::unavailable(Outage::Io, "cut off")));
    app.clock.advance(Duration::from_secs(1));
    for query in ["", &after(&head)] {
        let answer = ask(&app, &bearer, query).await;
        assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert!(events.next_but_pings().await.is_none(), "its stream ends");
    app.log.fail_reads(None);
    assert_eq!(page(&app, &bearer, &after(&head)).await.kind, FeedPageKind::Entries);
}

#[tokio::test]
async fn no_more_than_4096_wait_at_once() {
    let (app, bearer) = app().await;
    let mut open = Vec::new();
    for _ in 0..4096 {
        open.push(Events::open(&app, &bearer, "", None).await);
    }
    let events = request(&bearer, "").header("accept", "text/event-stream").body(Body::empty()).unwrap();
    assert_eq!(app.send(events).await.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(ask(&app, &bearer, "").await.status, 200, "who does not wait is answered");
    open.pop();
    Events::open(&app, &bearer, "", None).await;
}
