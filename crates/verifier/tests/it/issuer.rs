//! An issuer that does what a test tells it to, behind a real socket. What the real one does is tested with it, in `server`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use grantry_jose::{Algorithm, SigningKey, base64url};
use grantry_protocol::{Epoch, LogKind, Position, Seen};
use grantry_revocation::{FeedEntry, FeedKey, FeedPage, FeedPageKind, parse_position};
use grantry_verifier::{ClientCredentials, Introspection, Revocations, Secret, Settings, Verifier};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::clock::{Clocks, NOW};
use crate::wait;

pub const AUDIENCE: &str = "https://api.example";
pub const TOKEN_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
pub const GRANT_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8058";
pub const SESSION_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8059";
pub const SLOT: [u8; 32] = [7; 32];

pub fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8(algorithm, &SigningKey::generate_pkcs8(algorithm).unwrap()).unwrap()
}

/// A JWT with whatever header and claims.
pub fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url(signature))
}

pub struct Issuer {
    pub url: String,
    pub key: SigningKey,
    pub script: Arc<Script>,
    pub clocks: Clocks,
}

/// What it does, and what it was asked.
pub struct Script {
    pub issuer: Mutex<String>,
    pub metadata_reads: AtomicUsize,
    pub jwks: Mutex<Value>,
    pub jwks_is_down: AtomicBool,
    pub jwks_fetches: AtomicUsize,
    pub logins: AtomicUsize,
    /// The access token that the feed takes.
    pub feed_token: Mutex<String>,
    pub feed_is_down: AtomicBool,
    pub log: Mutex<Log>,
    grown: Notify,
    pub age: Mutex<Duration>,
    /// What `after` said in the polls that were answered, in order.
    pub polls: Mutex<Vec<Option<Seen>>>,
    pub polls_begun: AtomicUsize,
    /// Whether polls reach a node that knows of no entry yet.
    pub polls_lag: AtomicBool,
    /// Each poll takes one before it is answered.
    pub poll_permits: Semaphore,
    /// What each token is said to be; 503 where there is nothing.
    pub introspection: Mutex<HashMap<String, Value>>,
    pub introspections: AtomicUsize,
    pub introspection_permits: Semaphore,
}

pub struct Log {
    pub epoch: u64,
    pub entries: Vec<FeedEntry>,
}

impl Log {
    pub fn head(&self) -> Seen {
        let last = self.entries.iter().rev().map(|entry| entry.at).find(|at| at.epoch == Epoch(self.epoch));
        last.unwrap_or(Seen { epoch: Epoch(self.epoch), position: Position(0) })
    }

    fn page(&self, after: Option<Seen>, age: Duration) -> FeedPage {
        let head = self.head();
        let continues = after.filter(|after| after.epoch == head.epoch && *after <= head);
        let entries = self.entries.iter().filter(|entry| continues.is_none_or(|after| entry.at > after));
        FeedPage {
            kind: if continues.is_some() { FeedPageKind::Entries } else { FeedPageKind::Snapshot },
            head,
            age,
            max_staleness: Duration::from_secs(1),
            // Tokens that expired before that may be missing from a snapshot.
            now: NOW.saturating_sub(Duration::from_secs(10)),
            entries: entries.copied().collect(),
        }
    }
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = key(Algorithm::EdDsa);
        let script = Arc::new(Script {
            issuer: Mutex::new(url.clone()),
            metadata_reads: AtomicUsize::default(),
            jwks: Mutex::new(json!({ "keys": [key.jwk()] })),
            jwks_is_down: AtomicBool::default(),
            jwks_fetches: AtomicUsize::default(),
            logins: AtomicUsize::default(),
            feed_token: Mutex::new("first".to_owned()),
            feed_is_down: AtomicBool::default(),
            log: Mutex::new(Log { epoch: 1, entries: Vec::new() }),
            grown: Notify::new(),
            age: Mutex::default(),
            polls: Mutex::default(),
            polls_begun: AtomicUsize::default(),
            polls_lag: AtomicBool::default(),
            poll_permits: Semaphore::new(MANY),
            introspection: Mutex::default(),
            introspections: AtomicUsize::default(),
            introspection_permits: Semaphore::new(MANY),
        });
        let app = Router::new()
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/oauth2/jwks", get(jwks))
            .route("/oauth2/token", post(login))
            .route("/oauth2/revocations", get(feed))
            .route("/oauth2/introspect", post(introspect))
            .with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, key, script, clocks: Clocks::new() }
    }

    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new(&self.url, AUDIENCE, Revocations::Followed(credentials()));
        settings.introspection = Some(Introspection::new(credentials()));
        settings
    }

    pub fn verifier(&self, settings: Settings) -> Arc<Verifier> {
        Verifier::start_with(settings, self.clocks.ambient()).unwrap()
    }

    pub async fn ready_verifier(&self) -> Arc<Verifier> {
        let verifier = self.verifier(self.settings());
        wait::until("keys and a snapshot", async || verifier.is_ready()).await;
        verifier
    }

    pub fn claims(&self) -> Value {
        let now = self.clocks.now().as_secs();
        json!({
            "iss": self.url, "sub": "ann", "aud": AUDIENCE, "client_id": "app", "scope": "read write",
            "iat": now, "exp": now + 600, "jti": TOKEN_ID, "grantry_stored": "row", "grantry_seen": [1, 0],
            "grantry_slot": base64url(SLOT), "grantry_grant": GRANT_ID, "sid": SESSION_ID,
        })
    }

    pub fn token(&self) -> String {
        self.token_with(|_| ())
    }

    pub fn token_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        sign(&self.key, &header(&self.key), &claims)
    }

    /// Appends to the log, for as long as it takes tokens to expire.
    pub fn end(&self, kind: LogKind, key: &[u8]) -> Seen {
        let mut log = lock(&self.script.log);
        let Seen { epoch, position } = log.head();
        let at = Seen { epoch, position: position.next() };
        let keep_until = self.clocks.now() + Duration::from_secs(3600);
        log.entries.push(FeedEntry { at, kind, key: FeedKey::of(kind, key), keep_until });
        self.script.grown.notify_waiters();
        at
    }

    /// Waits for a poll that was begun after now to be answered, and for what it brought to be known.
    pub async fn next_poll(&self) {
        let known = lock(&self.script.polls).len();
        // The second is sent after the answer to the first has been taken in.
        let is_past = async || lock(&self.script.polls).len() >= known + 2;
        wait::until("two more polls", is_past).await;
    }
}

const MANY: usize = 1 << 20;

pub fn header(key: &SigningKey) -> Value {
    json!({"alg": key.algorithm().as_str(), "typ": "at+jwt", "kid": key.kid()})
}

pub fn credentials() -> ClientCredentials {
    ClientCredentials { client_id: "api: 1".to_owned(), client_secret: Secret::new("s%cr/t") }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// `api%3A+1:s%25cr%2Ft`: encoded before they are joined (RFC 6749 §2.3.1).
const BASIC: &str = "Basic YXBpJTNBKzE6cyUyNWNyJTJGdA==";

fn is_the_client(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == BASIC)
}

type Answer = Result<Json<Value>, StatusCode>;

async fn metadata(State(script): State<Arc<Script>>, headers: HeaderMap) -> Answer {
    script.metadata_reads.fetch_add(1, Ordering::SeqCst);
    let url = format!("http://{}", headers["host"].to_str().unwrap());
    Ok(Json(json!({
        "issuer": *lock(&script.issuer),
        "jwks_uri": format!("{url}/oauth2/jwks"),
        "token_endpoint": format!("{url}/oauth2/token"),
        "introspection_endpoint": format!("{url}/oauth2/introspect"),
    })))
}

async fn jwks(State(script): State<Arc<Script>>) -> Answer {
    script.jwks_fetches.fetch_add(1, Ordering::SeqCst);
    match script.jwks_is_down.load(Ordering::SeqCst) {
        true => Err(StatusCode::INTERNAL_SERVER_ERROR),
        false => Ok(Json(lock(&script.jwks).clone())),
    }
}

async fn login(
    State(script): State<Arc<Script>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Answer {
    script.logins.fetch_add(1, Ordering::SeqCst);
    let is_asked_for = form["grant_type"] == "client_credentials" && form["scope"] == "grantry:revocations";
    if !is_the_client(&headers) || !is_asked_for {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let token = lock(&script.feed_token).clone();
    Ok(Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600})))
}

async fn feed(
    State(script): State<Arc<Script>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let expected = format!("Bearer {}", *lock(&script.feed_token));
    if headers["authorization"] != expected {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let after = query.get("after").map(|text| parse_position(text).unwrap());
    let is_poll = !query.contains_key("wait");
    if is_poll {
        script.polls_begun.fetch_add(1, Ordering::SeqCst);
        script.poll_permits.acquire().await.unwrap().forget();
    } else {
        loop {
            let grown = script.grown.notified();
            if Some(lock(&script.log).head()) != after {
                break;
            }
            grown.await;
        }
    }
    if script.feed_is_down.load(Ordering::SeqCst) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let age = *lock(&script.age);
    let lagging = Log { epoch: 1, entries: Vec::new() };
    let page = match is_poll && script.polls_lag.load(Ordering::SeqCst) {
        true => lagging.page(after, age),
        false => lock(&script.log).page(after, age),
    };
    if is_poll {
        lock(&script.polls).push(after);
    }
    Ok(Json(serde_json::to_value(page).unwrap()))
}

async fn introspect(
    State(script): State<Arc<Script>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Answer {
    script.introspections.fetch_add(1, Ordering::SeqCst);
    script.introspection_permits.acquire().await.unwrap().forget();
    if !is_the_client(&headers) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let said = lock(&script.introspection).get(&form["token"]).cloned();
    said.map(Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
}
