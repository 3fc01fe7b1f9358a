use async_trait::async_trait;
use grantry_protocol::{Client, ClientId, Seen};
use grantry_store::{
    AuditEntry, ClientChange, ClientDeletion, ClientOutcome, Clients, Observed, Result, StoreError,
};

use serde::{Deserialize, Serialize};

use super::{ATTEMPTS, CachedStore, Near, too_slow};

/// A client, and how much of the log was in the snapshot that it was read from.
#[derive(Serialize, Deserialize)]
pub struct ClientCopy {
    client: Client,
    seen: Seen,
}

impl ClientCopy {
    pub fn of(Observed { seen, value: client }: Observed<Client>) -> Self {
        Self { client, seen }
    }
}

impl CachedStore {
    fn is_current(&self, copy: &ClientCopy) -> bool {
        self.tail.ask(|index| !index.client_changed_since(&copy.client.id, copy.seen)).unwrap_or(false)
    }

    async fn find_client(&self, near: &Near, id: &ClientId) -> Result<Observed<Option<Client>>> {
        // First: whatever is in the copy came no later.
        let seen = self.tail.seen();
        if let Some(copy) = near.clients.get(id).filter(|copy| self.is_current(copy)) {
            return Ok(Observed { seen, value: Some(copy.client.clone()) });
        }
        for _ in 0..ATTEMPTS {
            let read = async {
                let Observed { seen, value } = self.inner.client_find(id).await?;
                Ok::<_, StoreError>(value.map(|value| ClientCopy::of(Observed { seen, value })))
            };
            let found = near.clients.get_or_fill(id, |copy| self.is_current(copy), read).await?;
            // A row that lacks what this node knows was changed just now, or comes from a server that was deposed.
            if found.as_ref().is_none_or(|copy| self.is_current(copy)) {
                return Ok(Observed { seen, value: found.map(|copy| copy.client.clone()) });
            }
        }
        Err(too_slow())
    }

    /// Whoever was told that it is done, or that somebody else was faster, sees it at this node.
    async fn changed(&self, outcome: ClientOutcome) -> ClientOutcome {
        if matches!(outcome, ClientOutcome::Done | ClientOutcome::VersionConflict) {
            self.tail.catch_up().await;
        }
        outcome
    }
}

#[async_trait]
impl Clients for CachedStore {
    async fn client_find(&self, id: &ClientId) -> Result<Observed<Option<Client>>> {
        fresh!(
            self,
            match &self.near {
                Some(near) => self.find_client(near, id).await?,
                None => self.inner.client_find(id).await?,
            }
        )
    }

    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>> {
        self.inner.client_list(after, limit).await
    }

    async fn client_origin_exists(&self, origin: &str) -> Result<bool> {
        self.inner.client_origin_exists(origin).await
    }

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> Result<ClientOutcome> {
        self.inner.client_insert(client, audit).await
    }

    async fn client_insert_first_administrator(
        &self,
        client: Client,
        audit: AuditEntry,
    ) -> Result<ClientOutcome> {
        self.inner.client_insert_first_administrator(client, audit).await
    }

    async fn client_update(&self, change: ClientChange) -> Result<ClientOutcome> {
        Ok(self.changed(self.inner.client_update(change).await?).await)
    }

    async fn client_delete(&self, deletion: ClientDeletion) -> Result<ClientOutcome> {
        Ok(self.changed(self.inner.client_delete(deletion).await?).await)
    }
}
