use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, Client, ClientId, Grant, GrantId, LogEntry, LogHead, LogPage, NodeNumber, Position, Rule,
    Seen, SlotKey, StatusIndex, Subject, Timestamp, TokenId,
};
use tokio::sync::{RwLock, watch};

use crate::{
    AuditEntry, AuditRecord, AuditTrail, ClientChange, ClientDeletion, ClientOutcome, Clients, ClusterId,
    DeferredToken, Grants, GrantsSwept, Issue, KeyChange, KeyRecord, Keys, LogView, Merge, MergeOutcome,
    Node, NodeId, Nodes, Observed, Probe, Replication, ReplicationState, Result, Retention, Revocations,
    RuleAppend, Settings, SettingsChange, SettingsOutcome, StatusLists, Store, StoreError, StoredGrant,
    StoredSettings, StoredToken, Swept, TokenPage, TokenWrite, TokenWriters, Tokens, WriteOutcome,
};

/// What the next matching call meets.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call does not reach the store.
    Before(StoreError),
    /// The store does it, and the answer is lost.
    After(StoreError),
}

/// A store in front of another that counts the calls that reach it and lets them fail on demand.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    calls: AtomicU64,
    probes: AtomicU64,
    /// For `token_write`, in order; `None` lets one pass.
    writes: Mutex<VecDeque<Option<Fault>>>,
    /// For every read, until it is lifted.
    reads: Mutex<Option<StoreError>>,
    /// A batch with this token is refused as a whole.
    poison: Mutex<Option<TokenId>>,
    /// Whoever reads a status list waits here while a test holds it.
    pub lists_gate: RwLock<()>,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            calls: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            writes: Mutex::default(),
            reads: Mutex::default(),
            poison: Mutex::default(),
            lists_gate: RwLock::default(),
        }
    }

    /// How many calls of any method there were, but for probes: nodes make those by themselves at any time.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn probes(&self) -> u64 {
        self.probes.load(Ordering::SeqCst)
    }

    /// Appends to what the coming `token_write`s meet, one each. A probe meets what the next of them will.
    pub fn fail_writes(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        lock(&self.writes).extend(faults);
    }

    /// Every read fails with this, until `None` is set.
    pub fn fail_reads(&self, error: Option<StoreError>) {
        *lock(&self.reads) = error;
    }

    /// Every batch with this token is rejected.
    pub fn poison(&self, id: TokenId) {
        *lock(&self.poison) = Some(id);
    }

    fn count(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn read_fault(&self) -> Option<Fault> {
        lock(&self.reads).clone().map(Fault::Before)
    }

    async fn read<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.count();
        meet(self.read_fault(), call).await
    }
}

async fn meet<T>(fault: Option<Fault>, call: impl Future<Output = Result<T>>) -> Result<T> {
    match fault {
        None => call.await,
        Some(Fault::Before(error)) => Err(error),
        Some(Fault::After(error)) => call.await.and(Err(error)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Tokens for FaultyStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        self.count();
        let poison = *lock(&self.poison);
        let is_poison = |write: &TokenWrite| match write {
            TokenWrite::Issue(issue) | TokenWrite::Settle(issue) => Some(issue.token.id) == poison,
            TokenWrite::EndSlot(end) => Some(end.token.id) == poison,
            _ => false,
        };
        if batch.iter().any(is_poison) {
            return Err(StoreError::Rejected("injected poison".into()));
        }
        let fault = lock(&self.writes).pop_front().flatten();
        meet(fault, self.inner.token_write(batch)).await
    }

    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        self.read(self.inner.token_find(id)).await
    }

    async fn token_find_deferred(&self, id: TokenId, by: NodeNumber) -> Result<DeferredToken> {
        self.read(self.inner.token_find_deferred(id, by)).await
    }

    async fn token_judge(&self, issue: Arc<Issue>) -> Result<StoredToken> {
        self.read(self.inner.token_judge(issue)).await
    }

    async fn token_judge_unstored(&self, token: AccessToken) -> Result<StoredToken> {
        self.read(self.inner.token_judge_unstored(token)).await
    }

    fn token_writers(&self) -> TokenWriters {
        self.inner.token_writers()
    }

    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        self.read(self.inner.token_find_holder(slot)).await
    }

    async fn token_list(
        &self,
        subject: &Subject,
        before: Option<TokenId>,
        limit: usize,
        among: usize,
    ) -> Result<TokenPage> {
        self.read(self.inner.token_list(subject, before, limit, among)).await
    }

    async fn token_newest(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<StoredToken>> {
        self.read(self.inner.token_newest(before, limit)).await
    }

    async fn token_last_expiry(&self) -> Result<Option<Timestamp>> {
        self.read(self.inner.token_last_expiry()).await
    }

    async fn token_count(&self) -> Result<u64> {
        self.read(self.inner.token_count()).await
    }
}

#[async_trait]
impl Grants for FaultyStore {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        self.read(self.inner.grant_find(id)).await
    }

    async fn grant_judge_unstored(&self, grant: Grant) -> Result<StoredGrant> {
        self.read(self.inner.grant_judge_unstored(grant)).await
    }

    async fn grant_find_by_slot(&self, slot: SlotKey) -> Result<Option<StoredGrant>> {
        self.read(self.inner.grant_find_by_slot(slot)).await
    }

    async fn grant_list(
        &self,
        subject: &Subject,
        before: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<StoredGrant>> {
        self.read(self.inner.grant_list(subject, before, limit)).await
    }

    async fn grant_count(&self) -> Result<u64> {
        self.read(self.inner.grant_count()).await
    }

    async fn grant_last_expiry(&self) -> Result<Option<Timestamp>> {
        self.read(self.inner.grant_last_expiry()).await
    }
}

#[async_trait]
impl Clients for FaultyStore {
    async fn client_find(&self, id: &ClientId) -> Result<Observed<Option<Client>>> {
        self.read(self.inner.client_find(id)).await
    }

    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>> {
        self.read(self.inner.client_list(after, limit)).await
    }

    async fn client_origin_exists(&self, origin: &str) -> Result<bool> {
        self.read(self.inner.client_origin_exists(origin)).await
    }

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> Result<ClientOutcome> {
        self.count();
        self.inner.client_insert(client, audit).await
    }

    async fn client_insert_first_administrator(
        &self,
        client: Client,
        audit: AuditEntry,
    ) -> Result<ClientOutcome> {
        self.count();
        self.inner.client_insert_first_administrator(client, audit).await
    }

    async fn client_update(&self, change: ClientChange) -> Result<ClientOutcome> {
        self.count();
        self.inner.client_update(change).await
    }

    async fn client_delete(&self, deletion: ClientDeletion) -> Result<ClientOutcome> {
        self.count();
        self.inner.client_delete(deletion).await
    }
}

#[async_trait]
impl Keys for FaultyStore {
    async fn key_list(&self) -> Result<Vec<KeyRecord>> {
        self.read(self.inner.key_list()).await
    }

    async fn key_replace(&self, change: KeyChange) -> Result<bool> {
        self.count();
        self.inner.key_replace(change).await
    }
}

#[async_trait]
impl Revocations for FaultyStore {
    async fn revocation_head(&self) -> Result<LogHead> {
        self.read(self.inner.revocation_head()).await
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>> {
        self.read(self.inner.revocation_list(after, limit)).await
    }

    async fn revocation_rule_exists(&self, rule: &Rule) -> Result<bool> {
        self.read(self.inner.revocation_rule_exists(rule)).await
    }

    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen> {
        self.count();
        self.inner.revocation_append(append).await
    }

    /// A read and a write: either's fault hits it.
    async fn revocation_probe(&self, probe: Probe) -> Result<LogPage> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        let write_fault = lock(&self.writes).front().cloned().flatten();
        meet(self.read_fault().or(write_fault), self.inner.revocation_probe(probe)).await
    }

    async fn revocation_merge(&self, merge: Merge) -> Result<MergeOutcome> {
        self.count();
        self.inner.revocation_merge(merge).await
    }

    fn revocation_bell(&self) -> watch::Receiver<u64> {
        self.inner.revocation_bell()
    }

    async fn revocation_catch_up(&self) {
        self.inner.revocation_catch_up().await;
    }

    fn revocation_view(&self) -> Option<LogView> {
        self.inner.revocation_view()
    }
}

#[async_trait]
impl AuditTrail for FaultyStore {
    async fn audit_append(&self, entry: AuditEntry) -> Result<()> {
        self.count();
        self.inner.audit_append(entry).await
    }

    async fn audit_list(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        self.read(self.inner.audit_list(after, limit)).await
    }
}

#[async_trait]
impl Settings for FaultyStore {
    async fn cluster_id(&self) -> Result<ClusterId> {
        self.read(self.inner.cluster_id()).await
    }

    async fn settings_find(&self) -> Result<Observed<Option<StoredSettings>>> {
        self.read(self.inner.settings_find()).await
    }

    async fn settings_replace(&self, change: SettingsChange) -> Result<SettingsOutcome> {
        self.count();
        self.inner.settings_replace(change).await
    }
}

#[async_trait]
impl Nodes for FaultyStore {
    async fn node_register(&self, id: NodeId) -> Result<Node> {
        self.count();
        self.inner.node_register(id).await
    }

    async fn node_list(&self) -> Result<Vec<Node>> {
        self.read(self.inner.node_list()).await
    }
}

#[async_trait]
impl Replication for FaultyStore {
    async fn replication_state(&self) -> Result<Option<ReplicationState>> {
        self.read(self.inner.replication_state()).await
    }
}

#[async_trait]
impl Retention for FaultyStore {
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept> {
        self.count();
        self.inner.retention_sweep(retention, limit).await
    }

    async fn retention_sweep_grants(
        &self,
        after: Option<GrantId>,
        retention: Duration,
        limit: usize,
    ) -> Result<GrantsSwept> {
        self.count();
        self.inner.retention_sweep_grants(after, retention, limit).await
    }
}

#[async_trait]
impl StatusLists for FaultyStore {
    async fn status_index_reserve(&self, count: u32) -> Result<Range<u64>> {
        self.count();
        self.inner.status_index_reserve(count).await
    }

    async fn status_list_ended(&self, list: u64) -> Result<Vec<StatusIndex>> {
        let read = async {
            let _open = self.lists_gate.read().await;
            self.inner.status_list_ended(list).await
        };
        self.read(read).await
    }

    async fn status_lists_in_use(&self) -> Result<Range<u64>> {
        self.read(self.inner.status_lists_in_use()).await
    }
}
