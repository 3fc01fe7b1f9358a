use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use grantry_protocol::{Client, ClientId, LogKind};
use grantry_store::{AuditEntry, ClientChange, ClientDeletion, ClientOutcome, Clients, Observed, Result};

use crate::RedisStore;
use crate::rows::{RowResult, Rows};
use crate::tokens::all;

type Ids = BTreeSet<ClientId>;
/// Origin to the enabled clients that allow it.
type Origins = BTreeMap<String, Ids>;

#[async_trait]
impl Clients for RedisStore {
    async fn client_find(&self, id: &ClientId) -> Result<Observed<Option<Client>>> {
        self.look(|rows| {
            let value = rows.get(rows.names.client(id));
            Ok(Observed { seen: rows.log_head()?.seen(), value: value? })
        })
        .await
    }

    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>> {
        let above = after.map_or_else(|| "-".to_owned(), |id| format!("({id}"));
        let ids: Vec<ClientId> = self.index_page(self.names.clients(), &above, "+", false, limit).await?;
        let row = |rows: &mut Rows, id: &ClientId| rows.get::<Client>(rows.names.client(id));
        Ok(self.look(|rows| all(rows, &ids, row)).await?.into_iter().flatten().collect())
    }

    async fn client_origin_exists(&self, origin: &str) -> Result<bool> {
        let origins: Option<Origins> = self.look(|rows| rows.get(rows.names.origins())).await?;
        Ok(origins.is_some_and(|origins| origins.contains_key(origin)))
    }

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> Result<ClientOutcome> {
        self.transact(|rows| rows.client_insert(&client, &audit)).await
    }

    async fn client_insert_first_administrator(
        &self,
        client: Client,
        audit: AuditEntry,
    ) -> Result<ClientOutcome> {
        self.transact(|rows| {
            if !rows.administrators()?.is_empty() {
                return Ok(ClientOutcome::AdministratorExists);
            }
            rows.client_insert(&client, &audit)
        })
        .await
    }

    async fn client_update(&self, change: ClientChange) -> Result<ClientOutcome> {
        self.transact(|rows| rows.client_update(&change)).await
    }

    async fn client_delete(&self, deletion: ClientDeletion) -> Result<ClientOutcome> {
        self.transact(|rows| rows.client_delete(&deletion)).await
    }
}

impl Rows {
    fn client_insert(&mut self, client: &Client, audit: &AuditEntry) -> RowResult<ClientOutcome> {
        let name = self.names.client(&client.id);
        if self.exists(name.clone())? {
            return Ok(ClientOutcome::AlreadyExists);
        }
        self.put(name, client, None)?;
        self.command("ZADD", self.names.clients(), &[b"0", client.id.as_str().as_bytes()]);
        self.derive(&client.id, None, Some(client))?;
        self.audit_row(audit)?;
        Ok(ClientOutcome::Done)
    }

    fn client_update(&mut self, change: &ClientChange) -> RowResult<ClientOutcome> {
        let client = &change.client;
        let name = self.names.client(&client.id);
        let Some(current) = self.get::<Client>(name.clone())? else { return Ok(ClientOutcome::NotFound) };
        if current.version + 1 != client.version {
            return Ok(ClientOutcome::VersionConflict);
        }
        if !client.is_administrator() && self.is_last_administrator(&client.id)? {
            return Ok(ClientOutcome::LastAdministrator);
        }
        self.put(name, client, None)?;
        self.derive(&client.id, Some(&current), Some(client))?;
        let key = client.id.as_str().as_bytes().to_vec();
        self.log_append(change.announcement.kind, key, change.announcement.keep_until)?;
        self.audit_row(&change.audit)?;
        Ok(ClientOutcome::Done)
    }

    fn client_delete(&mut self, deletion: &ClientDeletion) -> RowResult<ClientOutcome> {
        let name = self.names.client(&deletion.id);
        let Some(current) = self.get::<Client>(name.clone())? else { return Ok(ClientOutcome::NotFound) };
        if self.is_last_administrator(&deletion.id)? {
            return Ok(ClientOutcome::LastAdministrator);
        }
        self.remove(name);
        self.command("ZREM", self.names.clients(), &[deletion.id.as_str().as_bytes()]);
        self.derive(&deletion.id, Some(&current), None)?;
        self.log_append(LogKind::Client, deletion.id.as_str().as_bytes().to_vec(), deletion.keep_until)?;
        self.audit_row(&deletion.audit)?;
        Ok(ClientOutcome::Done)
    }

    fn administrators(&mut self) -> RowResult<Ids> {
        Ok(self.get(self.names.administrators())?.unwrap_or_default())
    }

    fn is_last_administrator(&mut self, id: &ClientId) -> RowResult<bool> {
        let administrators = self.administrators()?;
        Ok(administrators.contains(id) && administrators.len() == 1)
    }

    /// What is known of all clients together.
    fn derive(&mut self, id: &ClientId, from: Option<&Client>, to: Option<&Client>) -> RowResult<()> {
        let mut administrators = self.administrators()?;
        let changed = match to.is_some_and(Client::is_administrator) {
            true => administrators.insert(id.clone()),
            false => administrators.remove(id),
        };
        if changed {
            self.put(self.names.administrators(), &administrators, None)?;
        }
        let (before, after) = (origins_of(from), origins_of(to));
        if before == after {
            return Ok(());
        }
        let mut origins: Origins = self.get(self.names.origins())?.unwrap_or_default();
        for ids in origins.values_mut() {
            ids.remove(id);
        }
        for origin in after {
            origins.entry(origin.clone()).or_default().insert(id.clone());
        }
        origins.retain(|_, ids| !ids.is_empty());
        self.put(self.names.origins(), &origins, None)
    }
}

fn origins_of(client: Option<&Client>) -> &[String] {
    match client {
        Some(client) if client.metadata.enabled => &client.metadata.allowed_cors_origins,
        _ => &[],
    }
}
