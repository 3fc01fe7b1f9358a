use std::any::Any;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Client, ClientMetadata, Clock, Lifetime,
    LogEntry, LogHead, LogKind, LogPage, ManualClock, Position, Rng, ScopeSet, Seen, Slot, TimeOrderedIds,
    Timestamp, TokenId, TokenState, scopes,
};
use serde_json::json;

use crate::{
    Announcement, AuditEntry, AuditRecord, ClientChange, ClientDeletion, ClientOutcome, Issue, NodeId, Probe,
    RevokeOutcome, Store, StoredToken, Swept, TokenWrite, WriteOutcome,
};

mod grants;

pub use grants::{GRACE, GRANT_LIFETIME, IDLE, open, rotate};

/// How long a token of the suite lives.
pub const LIFETIME: Duration = Duration::from_secs(3600);

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// An empty store on a clock that the case turns, and what cases say often.
pub struct Harness {
    pub store: Arc<dyn Store>,
    pub clock: Arc<ManualClock>,
    /// How much later than it could the store removes what it removes with others of its time. Zero for a store that
    /// removes row by row; its clean-up is then held to each row.
    pub sweep_granularity: Duration,
    /// Whether the bell rings for what is appended.
    pub hears: bool,
    ids: TimeOrderedIds,
    rng: Counter,
    _guard: Option<Box<dyn Any + Send + Sync>>,
}

/// Never the same ten bytes twice.
#[derive(Default)]
struct Counter(AtomicU64);

impl Rng for Counter {
    fn fill(&self, dest: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (byte, value) in dest.iter_mut().rev().zip(count) {
            *byte = value;
        }
    }
}

impl Harness {
    /// Calls `make` with a clock that stands somewhere in the middle of a millisecond-precise day.
    pub fn new(make: impl FnOnce(Arc<ManualClock>) -> Arc<dyn Store>) -> Self {
        let clock = Arc::new(ManualClock::at(START + Duration::from_millis(250)));
        Self {
            store: make(Arc::clone(&clock)),
            clock,
            sweep_granularity: Duration::ZERO,
            hears: true,
            ids: TimeOrderedIds::default(),
            rng: Counter::default(),
            _guard: None,
        }
    }

    /// Keeps something, such as a temporary directory, for as long as the store.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self._guard = Some(Box::new(guard));
        self
    }

    /// The same for a store whose clean-up is coarse.
    #[must_use]
    pub fn sweeping_late(mut self, granularity: Duration) -> Self {
        self.sweep_granularity = granularity;
        self
    }

    /// The same for a store that hears nothing of what is appended.
    #[must_use]
    pub fn deaf(mut self) -> Self {
        self.hears = false;
        self
    }

    /// The same with a decorator in front of the store.
    #[must_use]
    pub fn decorated(mut self, decorate: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        self.store = decorate(self.store);
        self
    }

    /// Lets as much time pass as the store may be late, and removes all that may go.
    pub async fn sweep_late(&self, retention: Duration) -> Swept {
        self.clock.advance(self.sweep_granularity);
        let mut all = Swept::default();
        for _ in 0..1000 {
            let swept = self.store.retention_sweep(retention, 100).await.unwrap();
            if swept.is_empty() {
                return all;
            }
            all.tokens += swept.tokens;
            all.slots += swept.slots;
            all.log_entries += swept.log_entries;
            all.nodes += swept.nodes;
            all.assertions += swept.assertions;
            all.early_ends += swept.early_ends;
        }
        panic!("the clean-up does not come to an end");
    }

    /// For counts that only a store which removes row by row keeps.
    pub fn assert_swept(&self, swept: Swept, rows: Swept) {
        if self.sweep_granularity.is_zero() {
            assert_eq!(swept, rows);
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A token of the client for the scope "read", which has seen nothing of the log.
    pub fn token(&self, client: &str) -> AccessToken {
        self.token_for(client, "read")
    }

    pub fn token_for(&self, client: &str, scope: &str) -> AccessToken {
        let scope = ScopeSet::parse(scope).unwrap();
        let slot =
            Slot::of_client(client.parse().unwrap(), scope, Audience::default(), AccessTokenFormat::Opaque);
        let id = self.ids.token(self.now(), &self.rng);
        let lifetime = Lifetime::from_secs(LIFETIME.as_secs());
        AccessToken::issue(id, slot, LogHead::EMPTY.seen(), self.now(), lifetime)
    }

    /// Writes one thing in a batch of its own.
    pub async fn write(&self, write: TokenWrite) -> WriteOutcome {
        let mut outcomes = self.store.token_write(vec![write]).await.unwrap();
        assert_eq!(outcomes.len(), 1, "a batch of one has one outcome");
        outcomes.remove(0)
    }

    pub async fn issue(&self, token: &AccessToken) -> WriteOutcome {
        self.write(issue(token)).await
    }

    /// A token that has been issued and was given its slot.
    pub async fn issued(&self, client: &str) -> AccessToken {
        let token = self.token(client);
        assert_eq!(self.issue(&token).await, WriteOutcome::Issued);
        token
    }

    pub async fn revoke(&self, id: TokenId) -> RevokeOutcome {
        match self.write(TokenWrite::Revoke { id, unwritten: None, audit: None }).await {
            WriteOutcome::Revoked(outcome) => outcome,
            other => panic!("a revocation was answered with {other:?}"),
        }
    }

    pub async fn stored(&self, id: TokenId) -> StoredToken {
        self.store.token_find_uncached(id).await.unwrap().expect("the token has a row")
    }

    pub async fn state(&self, id: TokenId) -> TokenState {
        self.stored(id).await.state(self.now())
    }

    pub async fn holder(&self, token: &AccessToken) -> Option<TokenId> {
        self.store.token_find_holder(token.slot).await.unwrap().map(|holder| holder.token.id)
    }

    pub async fn head(&self) -> LogHead {
        self.store.revocation_head().await.unwrap()
    }

    /// The whole log.
    pub async fn log(&self) -> Vec<LogEntry> {
        self.store.revocation_list(Position(0), 1000).await.unwrap()
    }

    /// Asks for all that follows `applied`, as a node that has applied so much.
    pub async fn probe(&self, node: NodeId, applied: Seen) -> LogPage {
        self.store.revocation_probe(Probe { node, applied, limit: 1000 }).await.unwrap()
    }

    /// The whole audit trail.
    pub async fn audit(&self) -> Vec<AuditRecord> {
        self.store.audit_list(0, 1000).await.unwrap()
    }

    pub fn client(&self, id: &str) -> Client {
        Client {
            id: id.parse().unwrap(),
            metadata: ClientMetadata { scope: ScopeSet::parse("read").unwrap(), ..ClientMetadata::default() },
            secret: None,
            created_at: self.now(),
            updated_at: self.now(),
            version: 1,
        }
    }

    pub fn administrator(&self, id: &str) -> Client {
        let mut client = self.client(id);
        client.metadata.scope = ScopeSet::parse(scopes::ADMIN).unwrap();
        client
    }

    pub async fn insert(&self, client: &Client) {
        let audit = self.entry("client.create", client.id.as_str());
        assert_eq!(self.store.client_insert(client.clone(), audit).await, Ok(ClientOutcome::Done));
    }

    pub async fn found(&self, id: &str) -> Option<Client> {
        self.store.client_find(&id.parse().unwrap()).await.unwrap().value
    }

    /// Writes the client as the next version of itself.
    pub async fn update(&self, client: &mut Client, kind: LogKind) -> ClientOutcome {
        client.version += 1;
        client.updated_at = self.now();
        self.store.client_update(self.change(client, kind)).await.unwrap()
    }

    pub fn change(&self, client: &Client, kind: LogKind) -> ClientChange {
        ClientChange {
            client: client.clone(),
            announcement: Announcement { kind, keep_until: self.now() + LIFETIME },
            audit: self.entry("client.update", client.id.as_str()),
        }
    }

    pub async fn delete(&self, id: &str) -> ClientOutcome {
        let deletion = ClientDeletion {
            id: id.parse().unwrap(),
            keep_until: self.now() + LIFETIME,
            audit: self.entry("client.delete", id),
        };
        self.store.client_delete(deletion).await.unwrap()
    }

    pub fn entry(&self, action: &'static str, target: &str) -> AuditEntry {
        AuditEntry {
            at: self.now(),
            actor: "console".to_owned(),
            action,
            target: target.to_owned(),
            detail: json!({ "fields": ["scope"] }),
            request_id: Some("0123".to_owned()),
        }
    }
}

/// Runs it to its end from anywhere, on a runtime of its own: what it has spawned ends with it.
pub fn block_on<F>(work: F) -> F::Output
where
    F: Future<Output: Send> + Send,
{
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    // A runtime can neither run nor be dropped inside another.
    thread::scope(|scope| scope.spawn(run).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

/// Asks for the slot under the policy `reuse`, having observed nobody, content with a holder that lives.
pub fn issue(token: &AccessToken) -> TokenWrite {
    issue_under(ActiveTokenPolicy::Reuse, token)
}

pub fn issue_under(policy: ActiveTokenPolicy, token: &AccessToken) -> TokenWrite {
    TokenWrite::Issue(Arc::new(Issue {
        token: token.clone(),
        policy,
        observed: None,
        min_life: Duration::ZERO,
    }))
}

/// The same under `reuse`, displacing the holder that was observed.
pub fn issue_over(observed: TokenId, token: &AccessToken) -> TokenWrite {
    let policy = ActiveTokenPolicy::Reuse;
    TokenWrite::Issue(Arc::new(Issue {
        token: token.clone(),
        policy,
        observed: Some(observed),
        min_life: Duration::ZERO,
    }))
}
