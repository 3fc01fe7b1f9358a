use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use grantry_grants::{
    Actor, Credentials, Fetch, FetchError, FileSettings, GrantError, Grants, Introspection, KeyOptions,
    KeyRing, MasterKey, NewClient, Proof, TokenResponse, TokenSettings,
};
use grantry_jose::{Algorithm, SigningKey, base64url};
use grantry_persistence::{Persistence, PersistenceSettings, QueueJournal};
use grantry_protocol::{
    ActiveTokenPolicy, Audience, ClientMetadata, Clock, ConfiguredClaims, JwtBearerRequest, Lifetime,
    ManualClock, OAuthError, PersistenceMode, RefreshRequest, RequestIds, Rng, ScopeSet, Secret, Timestamp,
    TokenId, Wanted,
};
use grantry_store::{AuditRecord, AuditTrail, FaultyStore, MemoryStore, NodeId};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub const ISSUER: &str = "https://as.example";
pub const START: Timestamp = Timestamp::from_secs(1_700_000_000);
/// Of every client that has one.
const SECRET: &str = "a secret of a client";

/// Other bytes with every call, the same ones in every run.
pub struct CountingRng(AtomicU64);

impl CountingRng {
    pub fn seeded(seed: u32) -> Self {
        Self(AtomicU64::new(u64::from(seed) << 32))
    }
}

impl Rng for CountingRng {
    fn fill(&self, dest: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        for (byte, n) in dest.iter_mut().zip(n.iter().cycle()) {
            *byte = *n;
        }
    }
}

/// Answers fetches with what was put in, in order, and counts them.
#[derive(Default)]
pub struct FakeFetch {
    answers: Mutex<VecDeque<Result<Vec<u8>, FetchError>>>,
    fetches: AtomicU64,
    /// A fetch waits here while a test holds it.
    pub gate: tokio::sync::Mutex<()>,
}

impl FakeFetch {
    pub fn answer(&self, answer: Result<Value, FetchError>) {
        self.answers.lock().unwrap().push_back(answer.map(|document| document.to_string().into_bytes()));
    }

    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Fetch for FakeFetch {
    async fn fetch(&self, _url: &str) -> Result<Vec<u8>, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let _open = self.gate.lock().await;
        let nothing = || Err(FetchError::Failed("nothing was put in".to_owned()));
        self.answers.lock().unwrap().pop_front().unwrap_or_else(nothing)
    }
}

/// The keys of a deployment are the same in every test of a process: an RSA key takes long to make.
static KEYS: OnceCell<Arc<KeyRing>> = OnceCell::const_new();

pub async fn key_ring() -> Arc<KeyRing> {
    let open = || async {
        let clock = Arc::new(ManualClock::at(START));
        let options =
            KeyOptions { signing_algorithm: Algorithm::Es256, jwks_max_age: Lifetime::from_secs(300) };
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let master = MasterKey::new(&[7; 32]);
        KeyRing::open(store, master, options, clock, Arc::new(CountingRng::seeded(1))).await.unwrap()
    };
    Arc::clone(KEYS.get_or_init(open).await)
}

pub fn settings() -> TokenSettings {
    TokenSettings {
        issuer: ISSUER.to_owned(),
        access_token_lifetime: Lifetime::from_secs(600),
        retention_time: Lifetime::from_secs(86_400),
        active_token_policy: ActiveTokenPolicy::Reuse,
        reuse_minimum_life: Lifetime::from_secs(30),
        refresh_token_lifetime: Lifetime::from_secs(36_000),
        refresh_token_idle: Lifetime::from_secs(7_200),
        refresh_grace: Lifetime::from_secs(30),
        default_audience: Audience::new(vec!["https://api.example".to_owned()]),
        claims: ConfiguredClaims::default(),
        status_list_ttl: Lifetime::from_secs(60),
        persistence: PersistenceMode::Sync,
        has_queue: false,
        pool_size: 0,
    }
}

/// One node on a store of its own.
pub struct World {
    pub store: Arc<FaultyStore>,
    pub clock: Arc<ManualClock>,
    pub fetch: Arc<FakeFetch>,
    pub grants: Arc<Grants>,
    /// Signs for every client that [`World::client`] makes.
    pub signer: TestSigner,
    pub requests: RequestIds,
    jtis: AtomicU64,
}

/// An answer of the token endpoint as a client keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub access: String,
    pub refresh: Option<String>,
    pub scope: String,
    pub expires_in: u64,
}

impl Pair {
    pub fn refresh(&self) -> &str {
        self.refresh.as_deref().expect("the answer has a refresh token")
    }
}

impl From<TokenResponse> for Pair {
    fn from(response: TokenResponse) -> Self {
        Self {
            access: response.access_token.expose().to_owned(),
            refresh: response.refresh_token.map(|token| token.expose().to_owned()),
            scope: response.scope.to_string(),
            expires_in: response.expires_in,
        }
    }
}

pub type Answer = Result<Pair, GrantError>;

impl World {
    pub async fn start() -> Self {
        Self::with(settings()).await
    }

    pub async fn with(settings: TokenSettings) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new(clock.clone()))));
        Self::node(store, clock, settings, 2).await
    }

    /// A node on a store that may have others, each with a seed of its own.
    pub async fn node(
        store: Arc<FaultyStore>,
        clock: Arc<ManualClock>,
        settings: impl Into<FileSettings>,
        seed: u32,
    ) -> Self {
        let rng = Arc::new(CountingRng::seeded(seed));
        let settings = settings.into();
        settings.tokens.validate().unwrap();
        let fetch = Arc::new(FakeFetch::default());
        let limits = PersistenceSettings {
            retry_count: 3,
            queue_capacity: 64,
            max_batch: 16,
            pool_size: 2,
            retention_time: settings.tokens.retention_time.as_duration(),
        };
        let node = NodeId::random(rng.as_ref());
        let persistence = if settings.tokens.has_queue {
            let journal = QueueJournal::Off(node.into());
            Persistence::start_with_queue(store.clone(), clock.clone(), limits, journal).await.unwrap()
        } else {
            Persistence::start(store.clone(), clock.clone(), limits, node)
        };
        let grants = Grants::new(
            store.clone(),
            persistence,
            key_ring().await,
            settings,
            fetch.clone(),
            clock.clone(),
            rng.clone(),
        );
        let requests = RequestIds::new(rng.as_ref());
        let jtis = AtomicU64::new(1);
        Self { store, clock, fetch, grants: Arc::new(grants), signer: TestSigner::shared(), requests, jtis }
    }

    /// A client that may refresh and bring assertions which it signs itself, changed by `fields`.
    pub async fn client(&self, id: &str, fields: Value) {
        let mut json = json!({
            "grant_types": ["refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
            "scope": "read write",
            "jwks": self.signer.jwks(),
            "jwt_bearer_subjects": ["*"],
            "jwt_bearer_refresh": true,
        });
        json.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let metadata: ClientMetadata = serde_json::from_value(json).unwrap();
        let secret = metadata.token_endpoint_auth_method.has_secret().then(|| Secret::new(SECRET));
        let new = NewClient { id: Some(id.parse().unwrap()), secret, metadata };
        if let Err(error) = self.grants.client_create(new, &Actor::host()).await {
            panic!("{id}: {error}");
        }
    }

    pub async fn update(&self, id: &str, change: impl Fn(&mut ClientMetadata)) {
        let changed = |metadata: &ClientMetadata| {
            let mut metadata = metadata.clone();
            change(&mut metadata);
            Ok(metadata)
        };
        let updated = self.grants.client_update(&id.parse().unwrap(), &Actor::host(), changed).await;
        assert!(updated.is_ok());
    }

    /// What an assertion of the client about the subject should claim; its `jti` is new.
    pub fn claims(&self, client: &str, subject: &str) -> Value {
        let jti = self.jtis.fetch_add(1, Ordering::Relaxed).to_string();
        let exp = self.now().as_secs() + 60;
        json!({ "iss": client, "sub": subject, "aud": ISSUER, "exp": exp, "jti": jti })
    }

    pub async fn bearer(&self, client: &str, assertion: &str, wanted: Wanted) -> Answer {
        self.bearer_as(&secret_of(client), assertion, wanted).await
    }

    pub async fn bearer_as(&self, credentials: &Credentials, assertion: &str, wanted: Wanted) -> Answer {
        let request = JwtBearerRequest { assertion: Secret::new(assertion), wanted };
        self.grants.jwt_bearer(credentials, request).await.map(Pair::from)
    }

    /// The pair that the client gets for the subject.
    pub async fn pair(&self, client: &str, subject: &str) -> Pair {
        let assertion = self.signer.sign(&self.claims(client, subject));
        self.bearer(client, &assertion, Wanted::default()).await.expect("the pair is given")
    }

    pub async fn refresh(&self, client: &str, token: &str) -> Answer {
        self.refresh_for(client, token, Wanted::default()).await
    }

    pub async fn refresh_for(&self, client: &str, token: &str, wanted: Wanted) -> Answer {
        self.refresh_as(&secret_of(client), token, wanted).await
    }

    pub async fn refresh_as(&self, credentials: &Credentials, token: &str, wanted: Wanted) -> Answer {
        let request = RefreshRequest { refresh_token: Secret::new(token), wanted };
        self.grants.refresh(credentials, request, self.requests.next()).await.map(Pair::from)
    }

    /// Whether the client, whose own token it is, is told that it is active.
    pub async fn is_active(&self, client: &str, token: &str) -> bool {
        !matches!(self.grants.introspect(&secret_of(client), token).await, Ok(Introspection::Inactive))
    }

    /// The id of an access token that is active.
    pub async fn id_of(&self, client: &str, token: &str) -> TokenId {
        match self.grants.introspect(&secret_of(client), token).await {
            Ok(Introspection::Active(active)) => active.token.id,
            _ => panic!("the token is not active"),
        }
    }

    pub async fn audit(&self, action: &str) -> Vec<AuditRecord> {
        let all = self.store.audit_list(0, 10_000).await.unwrap();
        all.into_iter().filter(|record| record.action == action).collect()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn wait(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

pub fn secret_of(client: &str) -> Credentials {
    Credentials { client_id: client.to_owned(), proof: Proof::Basic(Secret::new(SECRET)) }
}

pub fn public(client: &str) -> Credentials {
    Credentials { client_id: client.to_owned(), proof: Proof::None }
}

pub fn wanted(scope: &str, resources: &[&str]) -> Wanted {
    Wanted {
        scope: (!scope.is_empty()).then(|| ScopeSet::parse(scope).unwrap()),
        audience: Audience::from_resources(resources.iter().copied()).unwrap(),
    }
}

/// The code and the description that a request was refused with.
#[track_caller]
pub fn refusal<T>(answer: Result<T, GrantError>) -> (&'static str, String) {
    match answer {
        Err(GrantError::Refused(OAuthError { code, description })) => {
            (code.as_str(), description.into_owned())
        }
        Err(other) => panic!("not refused: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[track_caller]
pub fn code<T>(answer: Result<T, GrantError>) -> &'static str {
    refusal(answer).0
}

/// A key pair of somebody who signs assertions.
pub struct TestSigner {
    key: Arc<SigningKey>,
    kid: String,
}

impl TestSigner {
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        let pkcs8 = SigningKey::generate_pkcs8(algorithm).unwrap();
        let key = Arc::new(SigningKey::from_pkcs8(algorithm, &pkcs8).unwrap());
        Self { key, kid: kid.to_owned() }
    }

    fn shared() -> Self {
        static SHARED: std::sync::LazyLock<TestSigner> =
            std::sync::LazyLock::new(|| TestSigner::new(Algorithm::Es256, "shared"));
        Self { key: Arc::clone(&SHARED.key), kid: SHARED.kid.clone() }
    }

    pub fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(self.key.jwk()).unwrap();
        jwk["kid"] = self.kid.as_str().into();
        jwk
    }

    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.key.algorithm().as_str(), "typ": "JWT", "kid": self.kid });
        self.sign_under(&header, claims)
    }

    /// The signature is right, whatever the header says.
    pub fn sign_under(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", base64url(signature))
    }
}
