use std::sync::Arc;

use async_trait::async_trait;
use grantry_protocol::{Client, ClientId, Seen};
use grantry_revocation::Index;
use grantry_store::{AuditEntry, ClientChange, ClientDeletion, ClientOutcome, Clients, Observed, Result};

use serde::{Deserialize, Serialize};

use super::{ATTEMPTS, CachedStore, too_slow};

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

    pub fn is_of(&self, id: &ClientId) -> bool {
        self.client.id == *id
    }

    fn is_current(&self, index: &Index) -> bool {
        // A log that was restored, or has lost entries, does not tell what has become of rows that were read before that.
        let goes_on = self.seen.epoch >= index.seen().epoch;
        goes_on && !index.client_changed_since(&self.client.id, self.seen)
    }
}

impl CachedStore {
    pub(super) fn is_current(&self, copy: &ClientCopy) -> bool {
        self.tail.ask(|index| copy.is_current(index)).unwrap_or(false)
    }

    /// A copy in memory, where the last proof still holds once it has been found.
    fn find_near_client(&self, id: &ClientId) -> Option<Observed<Option<Client>>> {
        let pass = self.tail.last_pass()?;
        let copy = self.near.as_ref()?.clients.get(id)?;
        // It says what the client is as of all that is in the index at this moment.
        let seen = self.tail.ask(|index| copy.is_current(index).then(|| index.seen()))??;
        self.tail.is_good(pass).then(|| Observed { seen, value: Some(copy.client.clone()) })
    }

    async fn find_client(&self, id: &ClientId) -> Result<Observed<Option<Client>>> {
        // First: whatever is in the copy came no later.
        let seen = self.tail.seen();
        let near = self.near.as_ref().map(|near| &near.clients);
        for _ in 0..ATTEMPTS {
            let beyond = self.find_client_beyond(id);
            let found = match near {
                Some(clients) => clients.get_or_fill(id, |copy| self.is_current(copy), beyond).await?,
                None => beyond.await?.map(Arc::new),
            };
            // A row that lacks what this node knows was changed just now, or comes from a server that was deposed.
            if found.as_ref().is_none_or(|copy| self.is_current(copy)) {
                return Ok(Observed { seen, value: found.map(|copy| copy.client.clone()) });
            }
        }
        Err(too_slow())
    }

    /// In the data space, else in the store.
    async fn find_client_beyond(&self, id: &ClientId) -> Result<Option<ClientCopy>> {
        if let Some(copy) = self.find_shared_client(id).await {
            return Ok(Some(copy));
        }
        let Observed { seen, value } = self.inner.client_find(id).await?;
        let found = value.map(|value| ClientCopy::of(Observed { seen, value }));
        if let Some(copy) = &found {
            self.share_client(id, copy);
        }
        Ok(found)
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
        if let Some(found) = self.find_near_client(id) {
            return Ok(found);
        }
        let find = async {
            fresh!(
                self,
                match (&self.near, &self.shared) {
                    (None, None) => self.inner.client_find(id).await?,
                    _ => self.find_client(id).await?,
                }
            )
        };
        Box::pin(find).await
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
