use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantry_cache::{Coherence, Tail};
use grantry_grants::{Feed, Fetch, FetchError, Grants, KeyOptions, KeyRing, MasterKey, TokenSettings};
use grantry_jose::Algorithm;
use grantry_persistence::{Persistence, PersistenceSettings, QueueJournal, ReadinessProbe};
use grantry_protocol::{
    ActiveTokenPolicy, Audience, BootClock, Clock, ConfiguredClaims, Lifetime, ManualClock, PersistenceMode,
    Rng, Secret, Timestamp,
};
use grantry_revocation::Freshness;
use grantry_store::{FaultyStore, MemoryStore, NodeId};
use grantry_web::{
    Limits, PersistenceFacts, PublicSite, Site, WebSettings, WebState, admin_router, public_site,
};
use http_body_util::BodyExt;
use serde_json::{Value, json};

pub const ISSUER: &str = "http://127.0.0.1:8080";
pub const ADMIN_SECRET: &str = "administrators secret";
pub const SECRET: &str = "a secret of a client";
pub const DAY: u64 = 86_400;

/// Different bytes with every call, so that two apps have different keys.
pub struct CountingRng;

static CALLS: AtomicU64 = AtomicU64::new(1);

impl Rng for CountingRng {
    fn fill(&self, dest: &mut [u8]) {
        let n = CALLS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        for (byte, n) in dest.iter_mut().zip(n.iter().cycle()) {
            *byte = *n;
        }
    }
}

/// Key sets of clients are inline here.
struct Nowhere;

#[async_trait::async_trait]
impl Fetch for Nowhere {
    async fn fetch(&self, _url: &str) -> Result<Vec<u8>, FetchError> {
        Err(FetchError::Refused("there is no network in this test".to_owned()))
    }
}

pub struct App {
    pub store: Arc<FaultyStore>,
    /// The same store, as the tail of the log reaches it.
    pub log: Arc<FaultyStore>,
    pub tail: Arc<Tail>,
    pub clock: Arc<ManualClock>,
    pub grants: Arc<Grants>,
    pub persistence: Arc<Persistence>,
    pub readiness: ReadinessProbe,
    public: PublicSite,
    admin: Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn token(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// The access token and the refresh token.
    pub fn pair(&self) -> (String, String) {
        let refresh_token =
            self.json()["refresh_token"].as_str().unwrap_or_else(|| panic!("{}", self.text)).to_owned();
        (self.token(), refresh_token)
    }
}

impl App {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(adjust: impl FnOnce(&mut WebSettings)) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_700_000_000)));
        let rng = Arc::new(CountingRng);
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        let store = Arc::new(FaultyStore::new(memory.clone()));
        let (log, tail) = follow(memory, &clock);
        let options =
            KeyOptions { signing_algorithm: Algorithm::Es256, jwks_max_age: Lifetime::from_secs(300) };
        let master = MasterKey::new(&[7; 32]);
        let keys = KeyRing::open(store.clone(), master, options, clock.clone(), rng.clone()).await.unwrap();
        let persistence = Persistence::start_with_queue(
            store.clone(),
            clock.clone(),
            PersistenceSettings {
                retry_count: 3,
                queue_capacity: 64,
                pool_size: 1,
                max_batch: 16,
                retention_time: Duration::from_secs(86_400),
            },
            QueueJournal::Off(NODE.into()),
        )
        .await
        .unwrap();
        let settings = TokenSettings {
            issuer: ISSUER.to_owned(),
            access_token_lifetime: Lifetime::from_secs(3600),
            retention_time: Lifetime::from_secs(86_400),
            active_token_policy: ActiveTokenPolicy::Reuse,
            reuse_minimum_life: Lifetime::from_secs(30),
            refresh_token_lifetime: Lifetime::from_secs(30 * DAY),
            refresh_token_idle: Lifetime::from_secs(14 * DAY),
            refresh_grace: Lifetime::from_secs(30),
            default_audience: Audience::new(vec![ISSUER.to_owned()]),
            claims: ConfiguredClaims::default(),
            status_list_ttl: Lifetime::from_secs(60),
            persistence: PersistenceMode::Sync,
            has_queue: true,
            pool_size: 0,
        };
        settings.validate().unwrap();
        let grants = Grants::new(
            store.clone(),
            persistence.clone(),
            keys,
            settings,
            Arc::new(Nowhere),
            clock.clone(),
            rng.clone(),
        );
        let grants = Arc::new(grants.with_feed(Feed::new(tail.clone())));
        let administrator = grants
            .administrator_recover(Some("admin".parse().unwrap()), Some(Secret::new(ADMIN_SECRET)))
            .await;
        assert!(administrator.is_ok());
        let mut web = WebSettings {
            limits: Limits {
                max_body_bytes: 4096,
                body_timeout: Duration::from_secs(10),
                request_timeout: Duration::from_secs(15),
                max_concurrent_requests: 64,
                failed_attempts_per_client: 5,
                failed_attempts_per_address: 50,
                failed_attempts_window: Duration::from_secs(60),
            },
            trusted_proxies: Vec::new(),
            revoked_token_headers: false,
            persistence: PersistenceFacts { pool_size: 1, journal: Some("off") },
        };
        adjust(&mut web);
        let readiness = ReadinessProbe::default();
        let state =
            WebState::new(grants.clone(), readiness.clone(), web, Arc::new(String::new), rng.as_ref());
        Self {
            store,
            log,
            tail,
            clock,
            grants,
            persistence,
            readiness,
            public: public_site(state.clone()),
            admin: admin_router(state),
        }
    }

    /// An app with a client `billing`, whose metadata are changed by `metadata`.
    pub async fn with_client(metadata: Value) -> Self {
        let app = Self::new().await;
        app.create_client("billing", metadata).await;
        app
    }

    pub async fn create_client(&self, id: &str, metadata: Value) {
        let mut body = json!({ "client_id": id, "client_secret": SECRET, "scope": "read write" });
        for (name, value) in metadata.as_object().unwrap() {
            body[name] = value.clone();
        }
        body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let answer = self.admin("POST", "/admin/v1/clients", Some(body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.public, request).await
    }

    /// The answer before its body is read.
    pub async fn open(&self, request: Request<Body>) -> Response {
        self.public.answer(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// A form from `billing`, authenticated with the basic scheme.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.post_as("billing", path, body).await
    }

    pub async fn post_as(&self, client: &str, path: &str, body: &str) -> Answer {
        let request = form(path).header("authorization", basic(client, SECRET));
        self.send(request.body(body.to_owned().into()).unwrap()).await
    }

    /// A token of `billing`, with further parameters.
    pub async fn token(&self, more: &str) -> String {
        self.post("/oauth2/token", &format!("grant_type=client_credentials{more}")).await.token()
    }

    pub async fn is_active(&self, token: &str) -> bool {
        let answer = self.post("/oauth2/introspect", &format!("token={token}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["active"].as_bool().unwrap()
    }

    pub async fn admin_token(&self) -> String {
        let request = form("/oauth2/token").header("authorization", basic("admin", ADMIN_SECRET));
        self.send(request.body("grant_type=client_credentials".into()).unwrap()).await.token()
    }

    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {}", self.admin_token().await);
        let request = Request::builder().method(method).uri(path).header("authorization", bearer);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string().into()),
            None => request.body(Body::empty()),
        };
        self.admin_send(request.unwrap()).await
    }

    pub async fn admin_send(&self, request: Request<Body>) -> Answer {
        send(&self.admin, request).await
    }
}

/// Time stands still on both clocks until a test moves it.
struct Boot(Arc<ManualClock>);

impl BootClock for Boot {
    fn since_boot(&self) -> Duration {
        self.0.now().since(Timestamp::from_secs(0))
    }
}

fn follow(store: Arc<MemoryStore>, clock: &Arc<ManualClock>) -> (Arc<FaultyStore>, Arc<Tail>) {
    let log = Arc::new(FaultyStore::new(store));
    let freshness = Freshness::new(Duration::from_secs(1)).unwrap();
    let boot = Arc::new(Boot(clock.clone()));
    let tail = Tail::new(log.clone(), NODE, Coherence::Bounded, freshness, clock.clone(), boot);
    drop(tail.start());
    (log, tail)
}

async fn send(site: &impl Site, request: Request<Body>) -> Answer {
    let response = site.answer(request).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

pub fn form(path: &str) -> axum::http::request::Builder {
    let peer: SocketAddr = "192.0.2.1:4711".parse().unwrap();
    Request::post(path)
        .extension(ConnectInfo(peer))
        .header("content-type", "application/x-www-form-urlencoded")
}

pub fn basic(client: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client}:{}", secret.replace(' ', "+"))))
}

/// A heartbeat's node, for tests that probe.
pub const NODE: NodeId = NodeId([1; 16]);
