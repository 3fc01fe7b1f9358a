//! Nodes of one deployment on the memory store, on a clock that the test turns.

mod changes;
mod choice;
mod masters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use grantry_jose::Algorithm;
use grantry_persistence::{Persistence, PersistenceSettings};
use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Clock, ConfiguredClaims, Lifetime,
    ManualClock, PersistenceMode, Rng, ScopeSet, Secret, Seen, Slot, TimeOrderedIds, Timestamp,
};
use grantry_store::{
    FaultyStore, Issue, KeyPurpose, MemoryStore, NodeId, Outage, StoreError, TokenWrite, Tokens,
};

use super::{KeyAdminError, KeyInfo, KeyName, KeyOptions, KeyRing, KeyRingError, KeyState, MasterKey};
use crate::tokens::IssuedToken;
use crate::tokens::opaque::{self, RefreshToken};
use crate::{Actor, Fetch, FetchError, Grants, TokenSettings};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const MAX_AGE: Duration = Duration::from_secs(300);
const RETENTION: Duration = Duration::from_secs(86_400);
const REFRESH_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// What all nodes have in common.
struct Deployment {
    clock: Arc<ManualClock>,
    store: Arc<FaultyStore>,
    rng: Arc<Counter>,
    ids: TimeOrderedIds,
}

/// Never the same bytes twice.
#[derive(Default)]
struct Counter {
    count: AtomicU64,
    /// Moved by as many seconds whenever something is sealed.
    slow: Option<Arc<ManualClock>>,
    seconds_to_seal: AtomicU64,
}

const NONCE_LEN: usize = 12;

impl Rng for Counter {
    fn fill(&self, dest: &mut [u8]) {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let bytes = count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        for (byte, value) in dest.iter_mut().zip(bytes.iter().cycle()) {
            *byte = *value;
        }
        if let Some(clock) = self.slow.as_ref().filter(|_| dest.len() == NONCE_LEN) {
            clock.advance(Duration::from_secs(self.seconds_to_seal.load(Ordering::Relaxed)));
        }
    }
}

struct NoFetch;

#[async_trait]
impl Fetch for NoFetch {
    async fn fetch(&self, _: &str) -> Result<Vec<u8>, FetchError> {
        Err(FetchError::Refused("no test here fetches".to_owned()))
    }
}

impl Deployment {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new(clock.clone()))));
        let rng = Arc::new(Counter { slow: Some(clock.clone()), ..Counter::default() });
        Self { clock, store, rng, ids: TimeOrderedIds::default() }
    }

    /// One more process.
    async fn node(&self) -> Grants {
        self.node_with(&master(7)).await.unwrap()
    }

    async fn node_with(&self, master: &MasterKey) -> Result<Grants, KeyRingError> {
        let options = KeyOptions {
            signing_algorithm: Algorithm::EdDsa,
            jwks_max_age: Lifetime::from_secs(MAX_AGE.as_secs()),
        };
        let keys =
            KeyRing::open(self.store.clone(), master.clone(), options, self.clock.clone(), self.rng.clone())
                .await?;
        let persistence = Persistence::start(
            self.store.clone(),
            self.clock.clone(),
            PersistenceSettings {
                retry_count: 3,
                queue_capacity: 8,
                max_batch: 8,
                pool_size: 0,
                retention_time: RETENTION,
            },
            NodeId([1; 16]),
        );
        let settings = TokenSettings {
            issuer: "https://issuer.example".to_owned(),
            access_token_lifetime: Lifetime::from_secs(3600),
            retention_time: Lifetime::from_secs(RETENTION.as_secs()),
            active_token_policy: ActiveTokenPolicy::Reuse,
            reuse_minimum_life: Lifetime::from_secs(30),
            refresh_token_lifetime: Lifetime::from_secs(REFRESH_LIFETIME.as_secs()),
            refresh_token_idle: Lifetime::from_secs(14 * 86_400),
            refresh_grace: Lifetime::from_secs(30),
            default_audience: Audience::default(),
            claims: ConfiguredClaims::default(),
            status_list_ttl: Lifetime::from_secs(60),
            persistence: PersistenceMode::Sync,
            has_queue: false,
            pool_size: 0,
        };
        let (store, clock, rng) = (self.store.clone(), self.clock.clone(), self.rng.clone());
        Ok(Grants::new(store, persistence, keys, settings, Arc::new(NoFetch), clock, rng))
    }

    /// A token that `client` may hold, not in the store.
    fn token(&self, format: AccessTokenFormat, lifetime: Duration) -> AccessToken {
        let now = self.clock.now();
        let scope = ScopeSet::parse("read").unwrap();
        let slot = Slot::of_client("client".parse().unwrap(), scope, Audience::default(), format);
        let id = self.ids.token(now, self.rng.as_ref());
        AccessToken::issue(id, slot, Seen::NOTHING, now, Lifetime::from_secs(lifetime.as_secs()))
    }

    /// Puts a token in the store.
    async fn keep(&self, token: AccessToken) {
        let policy = ActiveTokenPolicy::Multiple;
        let issue = Issue { token, policy, observed: None, min_life: Duration::ZERO };
        self.store.token_write(vec![TokenWrite::Issue(Arc::new(issue))]).await.unwrap();
    }

    /// One of everything that keys make, made by this node now.
    async fn make(&self, node: &Grants) -> Made {
        let token = |format| IssuedToken::stored(self.token(format, Duration::from_secs(3600)));
        let claims = ConfiguredClaims::default();
        let refresh = RefreshToken { grant: self.ids.grant(self.clock.now(), self.rng.as_ref()), counter: 0 };
        Made {
            opaque: node.write_token(&token(AccessTokenFormat::Opaque), &claims).await.unwrap(),
            jwt: node.write_token(&token(AccessTokenFormat::Jwt), &claims).await.unwrap(),
            refresh: opaque::write_refresh(&node.keys, refresh),
        }
    }
}

struct Made {
    opaque: Secret,
    jwt: Secret,
    refresh: Secret,
}

impl Made {
    /// Which of opaque token, JWT and refresh token the node takes for ours.
    fn taken_by(&self, node: &Grants) -> [bool; 3] {
        [
            node.recognize_token(self.opaque.expose()).is_some(),
            node.recognize_token(self.jwt.expose()).is_some(),
            opaque::read_refresh(&node.keys, self.refresh.expose()).is_some(),
        ]
    }
}

fn master(byte: u8) -> MasterKey {
    MasterKey::new(&[byte; 32])
}

fn actor() -> Actor {
    Actor { name: "admin".to_owned(), request_id: Some("r".to_owned()) }
}

/// The version byte that an opaque token carries.
fn version_of(token: &Secret) -> u8 {
    let (_, rest) = token.expose().split_at(4);
    grantry_jose::from_base64url(rest).unwrap()[0]
}

fn kid_of(token: &Secret) -> String {
    let header = token.expose().split('.').next().unwrap();
    let header: serde_json::Value =
        serde_json::from_slice(&grantry_jose::from_base64url(header).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

fn published(node: &Grants) -> Vec<String> {
    let set = serde_json::to_value(node.jwks()).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn key(node: &Grants, purpose: KeyPurpose, version: u8) -> KeyInfo {
    let keys = node.key_list().await.unwrap();
    keys.into_iter().find(|key| key.name() == KeyName::Version(purpose, version)).unwrap()
}

fn outage() -> StoreError {
    StoreError::unavailable(Outage::Busy, "for this test")
}
