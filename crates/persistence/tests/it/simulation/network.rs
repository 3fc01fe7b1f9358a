//! The store as one process sees it through the network.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, Client, ClientId, Grant, GrantId, LogEntry, LogHead, LogPage, NodeNumber, Position, Rule,
    Seen, SlotKey, StatusIndex, Subject, Timestamp, TokenId,
};
use grantry_store::{
    AuditEntry, AuditRecord, AuditTrail, ClientChange, ClientDeletion, ClientOutcome, Clients, ClusterId,
    DeferredToken, Grants, GrantsSwept, Issue, KeyChange, KeyRecord, Keys, Merge, MergeOutcome, Node, NodeId,
    Nodes, Observed, Outage, Probe, Replication, Result, Retention, Revocations, RuleAppend, Settings,
    SettingsChange, SettingsOutcome, StatusLists, Store, StoreError, StoredGrant, StoredSettings,
    StoredToken, Swept, TokenPage, TokenWrite, Tokens, WriteOutcome,
};
use tokio::sync::watch;

use super::clock::pass;
use super::disk::Pulse;
use super::far_end::FarEnd;
use super::weather::{Fate, FateKind};

pub struct Link {
    pub far_end: Arc<FarEnd>,
    pub node: usize,
    pub pulse: Pulse,
}

impl Link {
    /// Never comes back once the process has ended.
    async fn call<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.alive().await;
        let Fate { there, back, kind } = self.far_end.weather.fate(self.node, writes, &self.far_end.random);
        self.travel(there).await;
        let answer = match kind {
            FateKind::Arrives => work.await,
            FateKind::RequestLost => Err(unavailable("the request was lost")),
            FateKind::AnswerLost => work.await.and(Err(unavailable("the answer was lost"))),
            FateKind::Late(delay) => {
                tokio::spawn(async move {
                    pass(delay).await;
                    // Nobody waits for it.
                    drop(work.await);
                });
                Err(unavailable("the caller gave up"))
            }
        };
        self.travel(back).await;
        answer
    }

    async fn travel(&self, span: Duration) {
        if !span.is_zero() {
            pass(span).await;
        }
        self.alive().await;
    }

    async fn alive(&self) {
        if !self.pulse.beats() {
            std::future::pending::<()>().await;
        }
    }

    async fn read<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        read: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T> {
        self.call(false, read(Arc::clone(&self.far_end.store))).await
    }
}

fn unavailable(message: &str) -> StoreError {
    StoreError::unavailable(Outage::Io, message)
}

#[async_trait]
impl Tokens for Link {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        let far_end = Arc::clone(&self.far_end);
        self.call(true, async move { far_end.write(batch).await }).await
    }

    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        self.read(|store| async move { store.token_find(id).await }).await
    }

    async fn token_find_deferred(&self, id: TokenId, by: NodeNumber) -> Result<DeferredToken> {
        self.read(|store| async move { store.token_find_deferred(id, by).await }).await
    }

    async fn token_judge(&self, issue: Arc<Issue>) -> Result<StoredToken> {
        self.read(|store| async move { store.token_judge(issue).await }).await
    }

    async fn token_judge_unstored(&self, token: AccessToken) -> Result<StoredToken> {
        self.read(|store| async move { store.token_judge_unstored(token).await }).await
    }

    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        self.read(move |store| async move { store.token_find_holder(slot).await }).await
    }

    async fn token_list(
        &self,
        subject: &Subject,
        before: Option<TokenId>,
        limit: usize,
        among: usize,
    ) -> Result<TokenPage> {
        self.far_end.store.token_list(subject, before, limit, among).await
    }

    async fn token_newest(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<StoredToken>> {
        self.far_end.store.token_newest(before, limit).await
    }

    async fn token_last_expiry(&self) -> Result<Option<Timestamp>> {
        self.far_end.store.token_last_expiry().await
    }

    async fn token_count(&self) -> Result<u64> {
        self.far_end.store.token_count().await
    }
}

#[async_trait]
impl Grants for Link {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        self.read(move |store| async move { store.grant_find(id).await }).await
    }

    async fn grant_judge_unstored(&self, grant: Grant) -> Result<StoredGrant> {
        self.read(|store| async move { store.grant_judge_unstored(grant).await }).await
    }

    async fn grant_find_by_slot(&self, slot: SlotKey) -> Result<Option<StoredGrant>> {
        self.read(move |store| async move { store.grant_find_by_slot(slot).await }).await
    }

    async fn grant_list(
        &self,
        subject: &Subject,
        before: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<StoredGrant>> {
        self.far_end.store.grant_list(subject, before, limit).await
    }

    async fn grant_count(&self) -> Result<u64> {
        self.far_end.store.grant_count().await
    }

    async fn grant_last_expiry(&self) -> Result<Option<Timestamp>> {
        self.far_end.store.grant_last_expiry().await
    }
}

#[async_trait]
impl Clients for Link {
    async fn client_find(&self, id: &ClientId) -> Result<Observed<Option<Client>>> {
        let id = id.clone();
        self.read(|store| async move { store.client_find(&id).await }).await
    }

    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>> {
        self.far_end.store.client_list(after, limit).await
    }

    async fn client_origin_exists(&self, origin: &str) -> Result<bool> {
        self.far_end.store.client_origin_exists(origin).await
    }

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> Result<ClientOutcome> {
        self.far_end.store.client_insert(client, audit).await
    }

    async fn client_insert_first_administrator(
        &self,
        client: Client,
        audit: AuditEntry,
    ) -> Result<ClientOutcome> {
        self.far_end.store.client_insert_first_administrator(client, audit).await
    }

    async fn client_update(&self, change: ClientChange) -> Result<ClientOutcome> {
        self.far_end.store.client_update(change).await
    }

    async fn client_delete(&self, deletion: ClientDeletion) -> Result<ClientOutcome> {
        self.far_end.store.client_delete(deletion).await
    }
}

#[async_trait]
impl Keys for Link {
    async fn key_list(&self) -> Result<Vec<KeyRecord>> {
        self.far_end.store.key_list().await
    }

    async fn key_replace(&self, change: KeyChange) -> Result<bool> {
        self.far_end.store.key_replace(change).await
    }
}

#[async_trait]
impl Revocations for Link {
    async fn revocation_head(&self) -> Result<LogHead> {
        self.read(|store| async move { store.revocation_head().await }).await
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>> {
        self.read(move |store| async move { store.revocation_list(after, limit).await }).await
    }

    async fn revocation_rule_exists(&self, rule: &Rule) -> Result<bool> {
        let rule = rule.clone();
        self.read(move |store| async move { store.revocation_rule_exists(&rule).await }).await
    }

    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen> {
        let far_end = Arc::clone(&self.far_end);
        self.call(true, async move { far_end.append(append).await }).await
    }

    async fn revocation_probe(&self, probe: Probe) -> Result<LogPage> {
        let store = Arc::clone(&self.far_end.store);
        self.call(true, async move { store.revocation_probe(probe).await }).await
    }

    async fn revocation_merge(&self, merge: Merge) -> Result<MergeOutcome> {
        let store = Arc::clone(&self.far_end.store);
        self.call(true, async move { store.revocation_merge(merge).await }).await
    }

    fn revocation_bell(&self) -> watch::Receiver<u64> {
        self.far_end.store.revocation_bell()
    }
}

#[async_trait]
impl AuditTrail for Link {
    async fn audit_append(&self, entry: AuditEntry) -> Result<()> {
        self.far_end.store.audit_append(entry).await
    }

    async fn audit_list(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        self.far_end.store.audit_list(after, limit).await
    }
}

#[async_trait]
impl Settings for Link {
    async fn cluster_id(&self) -> Result<ClusterId> {
        self.far_end.store.cluster_id().await
    }

    async fn settings_find(&self) -> Result<Observed<Option<StoredSettings>>> {
        self.far_end.store.settings_find().await
    }

    async fn settings_replace(&self, change: SettingsChange) -> Result<SettingsOutcome> {
        self.far_end.store.settings_replace(change).await
    }
}

#[async_trait]
impl Nodes for Link {
    async fn node_register(&self, id: NodeId) -> Result<Node> {
        let far_end = Arc::clone(&self.far_end);
        self.call(true, async move { far_end.register(id).await }).await
    }

    async fn node_list(&self) -> Result<Vec<Node>> {
        self.read(|store| async move { store.node_list().await }).await
    }
}

impl Replication for Link {}

#[async_trait]
impl Retention for Link {
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept> {
        self.far_end.store.retention_sweep(retention, limit).await
    }

    async fn retention_sweep_grants(
        &self,
        after: Option<GrantId>,
        retention: Duration,
        limit: usize,
    ) -> Result<GrantsSwept> {
        self.far_end.store.retention_sweep_grants(after, retention, limit).await
    }
}

#[async_trait]
impl StatusLists for Link {
    async fn status_index_reserve(&self, count: u32) -> Result<Range<u64>> {
        self.far_end.store.status_index_reserve(count).await
    }

    async fn status_list_ended(&self, list: u64) -> Result<Vec<StatusIndex>> {
        self.far_end.store.status_list_ended(list).await
    }

    async fn status_lists_in_use(&self) -> Result<Range<u64>> {
        self.far_end.store.status_lists_in_use().await
    }
}
