use std::ops::Bound;

use async_trait::async_trait;
use grantry_protocol::{Client, ClientId, LogKind};

use super::{MemoryStore, State};
use crate::{AuditEntry, ClientChange, ClientDeletion, ClientOutcome, Clients, Observed, Result};

impl State {
    fn has_other_administrator(&self, id: &ClientId) -> bool {
        self.clients.values().any(|client| client.id != *id && client.is_administrator())
    }

    fn insert_client(&mut self, client: Client, audit: AuditEntry) -> ClientOutcome {
        if self.clients.contains_key(&client.id) {
            return ClientOutcome::AlreadyExists;
        }
        self.clients.insert(client.id.clone(), client);
        self.record(audit);
        ClientOutcome::Done
    }
}

#[async_trait]
impl Clients for MemoryStore {
    async fn client_find(&self, id: &ClientId) -> Result<Observed<Option<Client>>> {
        let state = self.state();
        Ok(Observed { seen: state.head.0.seen(), value: state.clients.get(id).cloned() })
    }

    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self
            .state()
            .clients
            .range((start, Bound::Unbounded))
            .take(limit)
            .map(|(_, client)| client.clone())
            .collect())
    }

    async fn client_origin_exists(&self, origin: &str) -> Result<bool> {
        let state = self.state();
        let mut enabled =
            state.clients.values().map(|client| &client.metadata).filter(|metadata| metadata.enabled);
        Ok(enabled.any(|metadata| metadata.allowed_cors_origins.iter().any(|own| own == origin)))
    }

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> Result<ClientOutcome> {
        Ok(self.state().insert_client(client, audit))
    }

    async fn client_insert_first_administrator(
        &self,
        client: Client,
        audit: AuditEntry,
    ) -> Result<ClientOutcome> {
        let mut state = self.state();
        if state.clients.values().any(Client::is_administrator) {
            return Ok(ClientOutcome::AdministratorExists);
        }
        Ok(state.insert_client(client, audit))
    }

    async fn client_update(&self, change: ClientChange) -> Result<ClientOutcome> {
        let now = self.clock.now();
        let mut state = self.state();
        let client = change.client;
        let Some(current) = state.clients.get(&client.id) else { return Ok(ClientOutcome::NotFound) };
        if current.version + 1 != client.version {
            return Ok(ClientOutcome::VersionConflict);
        }
        if current.is_administrator()
            && !client.is_administrator()
            && !state.has_other_administrator(&client.id)
        {
            return Ok(ClientOutcome::LastAdministrator);
        }
        let key = client.id.as_str().as_bytes().to_vec();
        state.clients.insert(client.id.clone(), client);
        state.announce(change.announcement.kind, key, change.announcement.keep_until, now);
        state.record(change.audit);
        Ok(ClientOutcome::Done)
    }

    async fn client_delete(&self, deletion: ClientDeletion) -> Result<ClientOutcome> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(current) = state.clients.get(&deletion.id) else { return Ok(ClientOutcome::NotFound) };
        if current.is_administrator() && !state.has_other_administrator(&deletion.id) {
            return Ok(ClientOutcome::LastAdministrator);
        }
        state.clients.remove(&deletion.id);
        state.announce(LogKind::Client, deletion.id.as_str().as_bytes().to_vec(), deletion.keep_until, now);
        state.record(deletion.audit);
        Ok(ClientOutcome::Done)
    }
}
