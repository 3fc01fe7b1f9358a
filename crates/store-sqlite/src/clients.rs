use async_trait::async_trait;
use grantry_protocol::{Client, ClientId, ClientSecretHash, LogKind};
use grantry_store::{AuditEntry, ClientChange, ClientDeletion, ClientOutcome, Clients, Observed, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::audit::audit_insert;
use crate::columns::{checked, from_json, saturating, timestamp, to_json};
use crate::readers::Snapshot;
use crate::writer::WriteTx;

#[async_trait]
impl Clients for SqliteStore {
    async fn client_find(&self, id: &ClientId) -> Result<Observed<Option<Client>>> {
        let id = id.clone();
        let find = move |snapshot: &Snapshot<'_>| {
            Ok(Observed { seen: snapshot.log_head()?.seen(), value: client_select(snapshot, &id)? })
        };
        self.readers.run(find).await
    }

    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>> {
        // No id is empty.
        let after = after.map_or_else(String::new, ToString::to_string);
        self.readers.run(move |snapshot| clients_select(snapshot, &after, saturating(limit))).await
    }

    async fn client_origin_exists(&self, origin: &str) -> Result<bool> {
        let origin = origin.to_owned();
        self.readers.run(move |snapshot| origin_exists(snapshot, &origin)).await
    }

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> Result<ClientOutcome> {
        self.writer.run(move |tx| insert(tx, &client, &audit)).await
    }

    async fn client_insert_first_administrator(
        &self,
        client: Client,
        audit: AuditEntry,
    ) -> Result<ClientOutcome> {
        self.writer
            .run(move |tx| match administrator_exists(tx)? {
                true => Ok(ClientOutcome::AdministratorExists),
                false => insert(tx, &client, &audit),
            })
            .await
    }

    async fn client_update(&self, change: ClientChange) -> Result<ClientOutcome> {
        self.writer.run(move |tx| update(tx, &change)).await
    }

    async fn client_delete(&self, deletion: ClientDeletion) -> Result<ClientOutcome> {
        self.writer.run(move |tx| delete(tx, &deletion)).await
    }
}

fn insert(tx: &WriteTx<'_>, client: &Client, audit: &AuditEntry) -> rusqlite::Result<ClientOutcome> {
    if !client_insert(tx, client)? {
        return Ok(ClientOutcome::AlreadyExists);
    }
    keep_origins(tx, client)?;
    audit_insert(tx, audit)?;
    Ok(ClientOutcome::Done)
}

fn update(tx: &mut WriteTx<'_>, change: &ClientChange) -> rusqlite::Result<ClientOutcome> {
    let client = &change.client;
    if !client_update(tx, client)? {
        return Ok(match client_version(tx, &client.id)? {
            None => ClientOutcome::NotFound,
            Some(version) if version + 1 != client.version => ClientOutcome::VersionConflict,
            Some(_) => ClientOutcome::LastAdministrator,
        });
    }
    keep_origins(tx, client)?;
    tx.announce(change.announcement.kind, client.id.as_str().as_bytes(), change.announcement.keep_until)?;
    audit_insert(tx, &change.audit)?;
    Ok(ClientOutcome::Done)
}

fn delete(tx: &mut WriteTx<'_>, deletion: &ClientDeletion) -> rusqlite::Result<ClientOutcome> {
    if !client_delete(tx, &deletion.id)? {
        return Ok(match client_version(tx, &deletion.id)? {
            None => ClientOutcome::NotFound,
            Some(_) => ClientOutcome::LastAdministrator,
        });
    }
    origins_delete(tx, &deletion.id)?;
    tx.announce(LogKind::Client, deletion.id.as_str().as_bytes(), deletion.keep_until)?;
    audit_insert(tx, &deletion.audit)?;
    Ok(ClientOutcome::Done)
}

/// Those of a disabled client do not count.
fn keep_origins(tx: &WriteTx<'_>, client: &Client) -> rusqlite::Result<()> {
    origins_delete(tx, &client.id)?;
    let origins = client.metadata.enabled.then_some(&client.metadata.allowed_cors_origins);
    origins.into_iter().flatten().try_for_each(|origin| origin_insert(tx, origin, &client.id))
}

const CLIENT_SELECT: &str = "
    SELECT client_id, metadata, secret_key_version, secret_hash, created_at, updated_at, version
    FROM clients WHERE client_id = ?1";

fn client_select(connection: &Connection, id: &ClientId) -> rusqlite::Result<Option<Client>> {
    connection.prepare_cached(CLIENT_SELECT)?.query_row([id.as_str()], client_of).optional()
}

const CLIENTS_SELECT: &str = "
    SELECT client_id, metadata, secret_key_version, secret_hash, created_at, updated_at, version
    FROM clients WHERE client_id > ?1 ORDER BY client_id LIMIT ?2";

fn clients_select(connection: &Connection, after: &str, limit: i64) -> rusqlite::Result<Vec<Client>> {
    let mut statement = connection.prepare_cached(CLIENTS_SELECT)?;
    statement.query_map(params![after, limit], client_of)?.collect()
}

fn client_of(row: &Row<'_>) -> rusqlite::Result<Client> {
    let key_version: Option<u8> = row.get(2)?;
    let hash: Option<[u8; 32]> = row.get(3)?;
    Ok(Client {
        id: checked(row, 0)?,
        metadata: from_json(row, 1)?,
        secret: key_version.zip(hash).map(|(key_version, hash)| ClientSecretHash { key_version, hash }),
        created_at: timestamp(row, 4)?,
        updated_at: timestamp(row, 5)?,
        version: row.get(6)?,
    })
}

const CLIENT_INSERT: &str = "
    INSERT INTO clients (client_id, metadata, secret_key_version, secret_hash, created_at, updated_at, version,
                         is_administrator)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT (client_id) DO NOTHING";

fn client_insert(connection: &Connection, client: &Client) -> rusqlite::Result<bool> {
    client_write(connection, CLIENT_INSERT, client)
}

const ADMINISTRATOR_EXISTS: &str = "SELECT 1 FROM clients WHERE is_administrator = 1 LIMIT 1";

fn administrator_exists(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached(ADMINISTRATOR_EXISTS)?.exists([])
}

/// Only over the version before, and never so that no administrator is left.
const CLIENT_UPDATE: &str = "
    UPDATE clients SET metadata = ?2, secret_key_version = ?3, secret_hash = ?4, created_at = ?5, updated_at = ?6,
                       version = ?7, is_administrator = ?8
    WHERE client_id = ?1 AND version = ?7 - 1
      AND (?8 = 1 OR is_administrator = 0
           OR EXISTS (SELECT 1 FROM clients WHERE is_administrator = 1 AND client_id <> ?1))";

fn client_update(connection: &Connection, client: &Client) -> rusqlite::Result<bool> {
    client_write(connection, CLIENT_UPDATE, client)
}

/// Inserting and updating bind the same.
fn client_write(connection: &Connection, statement: &str, client: &Client) -> rusqlite::Result<bool> {
    let written = connection.prepare_cached(statement)?.execute(params![
        client.id.as_str(),
        to_json(&client.metadata)?,
        client.secret.map(|secret| secret.key_version),
        client.secret.map(|secret| secret.hash),
        client.created_at.as_millis(),
        client.updated_at.as_millis(),
        client.version,
        client.is_administrator(),
    ])?;
    Ok(written == 1)
}

/// Never the last administrator.
const CLIENT_DELETE: &str = "
    DELETE FROM clients WHERE client_id = ?1
      AND (is_administrator = 0
           OR EXISTS (SELECT 1 FROM clients WHERE is_administrator = 1 AND client_id <> ?1))";

fn client_delete(connection: &Connection, id: &ClientId) -> rusqlite::Result<bool> {
    Ok(connection.prepare_cached(CLIENT_DELETE)?.execute([id.as_str()])? == 1)
}

const CLIENT_VERSION: &str = "SELECT version FROM clients WHERE client_id = ?1";

/// Tells afterwards why a guard refused, under the same lock.
fn client_version(connection: &Connection, id: &ClientId) -> rusqlite::Result<Option<u64>> {
    connection.prepare_cached(CLIENT_VERSION)?.query_row([id.as_str()], |row| row.get(0)).optional()
}

const ORIGIN_EXISTS: &str = "SELECT 1 FROM client_origins WHERE origin = ?1 LIMIT 1";

fn origin_exists(connection: &Connection, origin: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached(ORIGIN_EXISTS)?.exists([origin])
}

const ORIGINS_DELETE: &str = "DELETE FROM client_origins WHERE client_id = ?1";

fn origins_delete(connection: &Connection, id: &ClientId) -> rusqlite::Result<()> {
    connection.prepare_cached(ORIGINS_DELETE)?.execute([id.as_str()])?;
    Ok(())
}

/// A client may name one twice.
const ORIGIN_INSERT: &str = "
    INSERT INTO client_origins (origin, client_id) VALUES (?1, ?2) ON CONFLICT (origin, client_id) DO NOTHING";

fn origin_insert(connection: &Connection, origin: &str, id: &ClientId) -> rusqlite::Result<()> {
    connection.prepare_cached(ORIGIN_INSERT)?.execute([origin, id.as_str()])?;
    Ok(())
}

#[cfg(test)]
pub const HOT: [&str; 10] = [
    ADMINISTRATOR_EXISTS,
    CLIENT_SELECT,
    CLIENTS_SELECT,
    CLIENT_INSERT,
    CLIENT_UPDATE,
    CLIENT_DELETE,
    CLIENT_VERSION,
    ORIGIN_EXISTS,
    ORIGINS_DELETE,
    ORIGIN_INSERT,
];
