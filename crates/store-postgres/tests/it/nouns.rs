//! What tests of the nouns need: stores on one database, and tokens and grants to write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Clock, Grant, Lifetime, LogHead,
    ManualClock, NodeNumber, Rng, ScopeSet, Slot, TimeOrderedIds, Timestamp, TokenId,
};
use grantry_store::{AuditEntry, Issue, Opening, Rotation, TokenWrite};
use grantry_store_postgres::testing::Database;
use grantry_store_postgres::{PostgresStore, StoreTime};

use tokio_postgres::{Client, NoTls};

use crate::{Fixed, options};

pub const LIFETIME: Duration = Duration::from_secs(3600);

pub struct Nouns {
    pub url: String,
    _database: Option<Database>,
    pub clock: Arc<ManualClock>,
    ids: TimeOrderedIds,
}

/// Never the same bytes twice.
struct Counter;

impl Rng for Counter {
    fn fill(&self, dest: &mut [u8]) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        dest.iter_mut().rev().zip(count).for_each(|(byte, value)| *byte = value);
    }
}

impl Nouns {
    pub fn new() -> Self {
        let database = Database::scratch();
        let nouns = Self::at(database.url());
        Self { _database: Some(database), ..nouns }
    }

    /// On a server of the test's own.
    pub fn at(url: String) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
        Self { url, _database: None, clock, ids: TimeOrderedIds::default() }
    }

    /// A connection of the plain driver, for what only a test does.
    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A node's: each has connections of its own.
    pub async fn store(&self) -> Arc<PostgresStore> {
        let time = StoreTime::Clock(Arc::clone(&self.clock) as Arc<dyn Clock>);
        Arc::new(PostgresStore::open(&self.url, &options(), time, Fixed::rng()).await.unwrap())
    }

    pub fn token(&self, client: &str) -> AccessToken {
        let scope = ScopeSet::parse("read").unwrap();
        let slot =
            Slot::of_client(client.parse().unwrap(), scope, Audience::default(), AccessTokenFormat::Opaque);
        let (now, lifetime) = (self.clock.now(), Lifetime::from_secs(LIFETIME.as_secs()));
        AccessToken::issue(self.ids.token(now, &Counter), slot, LogHead::EMPTY.seen(), now, lifetime)
    }

    pub fn deferred(&self, client: &str, by: NodeNumber) -> AccessToken {
        AccessToken { deferred_by: Some(by), ..self.token(client) }
    }

    /// A grant of the client and of one slot with all others of it.
    pub fn opening(&self, client: &str) -> Opening {
        let (mut token, now) = (self.token(client), self.clock.now());
        let grant = Grant {
            id: self.ids.grant(now, &Counter),
            slot: Some(token.slot),
            client_id: token.client_id.clone(),
            subject: token.subject.clone(),
            subject_kind: token.subject_kind,
            scope: token.scope.clone(),
            audience: token.audience.clone(),
            session: None,
            seen: token.authority.seen,
            created_at: now,
            expires_at: now + LIFETIME * 100,
            idle_expires_at: now + LIFETIME * 50,
            counter: 0,
            rotated_at: now,
            access_token: token.id,
            status_index: None,
        };
        token.authority = grant.authority();
        Opening { grant, token, is_stored: true, policy: ActiveTokenPolicy::Reuse }
    }

    pub fn rotation(&self, grant: &Grant, presented: u32) -> TokenWrite {
        let mut token = self.token(grant.client_id.as_str());
        token.authority = grant.authority();
        TokenWrite::Rotate(Arc::new(Rotation {
            grant: grant.id,
            origin: None,
            presented,
            advance: true,
            grace: Duration::from_secs(30),
            idle: LIFETIME * 50,
            token,
            is_stored: true,
            policy: ActiveTokenPolicy::Reuse,
            token_life: LIFETIME,
            keep_until: self.clock.now() + LIFETIME,
            reuse_audit: AuditEntry {
                at: self.clock.now(),
                actor: "app".into(),
                action: "grant.reuse",
                target: grant.id.to_string(),
                detail: serde_json::Value::Null,
                request_id: None,
            },
        }))
    }
}

pub fn issue_of(token: &AccessToken, policy: ActiveTokenPolicy, observed: Option<TokenId>) -> Arc<Issue> {
    Arc::new(Issue { token: token.clone(), policy, observed, min_life: Duration::from_secs(10) })
}
