//! What is neither cached nor has to be fresh: it goes to the store.

use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{GrantId, LogEntry, LogHead, LogPage, Position, Rule, Seen};
use grantry_store::{
    AuditEntry, AuditRecord, AuditTrail, CacheView, ClusterId, DataSpaceView, GrantsSwept, KeyChange,
    KeyRecord, Keys, LogView, Merge, MergeOutcome, Node, NodeId, Nodes, Observed, Probe, Replication,
    ReplicationState, Result, Retention, Revocations, RuleAppend, Settings, SettingsChange, SettingsOutcome,
    StoredSettings, Swept,
};
use tokio::sync::watch;

use super::CachedStore;
use crate::data_space::SharedCopies;

#[async_trait]
impl Revocations for CachedStore {
    async fn revocation_head(&self) -> Result<LogHead> {
        self.inner.revocation_head().await
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>> {
        self.inner.revocation_list(after, limit).await
    }

    async fn revocation_rule_exists(&self, rule: &Rule) -> Result<bool> {
        self.inner.revocation_rule_exists(rule).await
    }

    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen> {
        let seen = self.inner.revocation_append(append).await?;
        self.tail.catch_up().await;
        Ok(seen)
    }

    async fn revocation_probe(&self, probe: Probe) -> Result<LogPage> {
        self.inner.revocation_probe(probe).await
    }

    async fn revocation_merge(&self, merge: Merge) -> Result<MergeOutcome> {
        self.inner.revocation_merge(merge).await
    }

    fn revocation_bell(&self) -> watch::Receiver<u64> {
        self.inner.revocation_bell()
    }

    async fn revocation_catch_up(&self) {
        self.tail.catch_up().await;
    }

    fn revocation_view(&self) -> Option<LogView> {
        self.tail.view()
    }
}

#[async_trait]
impl Keys for CachedStore {
    async fn key_list(&self) -> Result<Vec<KeyRecord>> {
        self.inner.key_list().await
    }

    async fn key_replace(&self, change: KeyChange) -> Result<bool> {
        self.inner.key_replace(change).await
    }
}

#[async_trait]
impl Settings for CachedStore {
    async fn cluster_id(&self) -> Result<ClusterId> {
        self.inner.cluster_id().await
    }

    async fn settings_find(&self) -> Result<Observed<Option<StoredSettings>>> {
        self.inner.settings_find().await
    }

    async fn settings_replace(&self, change: SettingsChange) -> Result<SettingsOutcome> {
        self.inner.settings_replace(change).await
    }
}

#[async_trait]
impl AuditTrail for CachedStore {
    async fn audit_append(&self, entry: AuditEntry) -> Result<()> {
        self.inner.audit_append(entry).await
    }

    async fn audit_list(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        self.inner.audit_list(after, limit).await
    }
}

#[async_trait]
impl Nodes for CachedStore {
    async fn node_register(&self, id: NodeId) -> Result<Node> {
        self.inner.node_register(id).await
    }

    async fn node_list(&self) -> Result<Vec<Node>> {
        self.inner.node_list().await
    }

    fn node_caches(&self) -> Vec<CacheView> {
        let Some(near) = &self.near else { return Vec::new() };
        vec![near.tokens.view(), near.token_owners.view(), near.clients.view()]
    }

    fn node_data_space(&self) -> Option<DataSpaceView> {
        self.shared.as_ref().map(SharedCopies::view)
    }
}

#[async_trait]
impl Replication for CachedStore {
    async fn replication_state(&self) -> Result<Option<ReplicationState>> {
        self.inner.replication_state().await
    }
}

#[async_trait]
impl Retention for CachedStore {
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept> {
        self.inner.retention_sweep(retention, limit).await
    }

    async fn retention_sweep_grants(
        &self,
        after: Option<GrantId>,
        retention: Duration,
        limit: usize,
    ) -> Result<GrantsSwept> {
        self.inner.retention_sweep_grants(after, retention, limit).await
    }
}
