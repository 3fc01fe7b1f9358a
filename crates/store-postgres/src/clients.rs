use async_trait::async_trait;
use grantry_protocol::{Client, ClientId, ClientSecretHash, LogKind};
use grantry_store::{
    AuditEntry, ClientChange, ClientDeletion, ClientOutcome, Clients, Observed, Result as StoreResult,
};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::PostgresStore;
use crate::audit::audit_insert;
use crate::columns::{
    checked, from_json, get, optional_byte, optional_bytes, saturating, seen, timestamp, to_json, unsigned,
};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::pipeline::pipelined;
use crate::readers::Ask;
use crate::revocations::{Announced, log_append};
use crate::statement::Statement;
use crate::store::{reading, transact};
use crate::turns::{Turn, turn_take};

#[async_trait]
impl Clients for PostgresStore {
    async fn client_find(&self, id: &ClientId) -> StoreResult<Observed<Option<Client>>> {
        self.readers.ask(|answer| Ask::Client(id.clone(), answer)).await
    }

    async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> StoreResult<Vec<Client>> {
        // No id is empty.
        let (after, limit) = (after.map_or("", ClientId::as_str), saturating(limit));
        reading!(self, |link| { clients_select(link, after, limit).await })
    }

    async fn client_origin_exists(&self, origin: &str) -> StoreResult<bool> {
        reading!(self, |link| { Ok(link.query_opt(&ORIGIN_EXISTS, &[&origin]).await?.is_some()) })
    }

    async fn client_insert(&self, client: Client, audit: AuditEntry) -> StoreResult<ClientOutcome> {
        let audit = [audit];
        transact!(self, |link| {
            let ((), inserted) =
                pipelined!(link.begin(Begin::Write), client_write(link, &CLIENT_INSERT, &client))?;
            if !inserted {
                link.rollback().await?;
                return Ok(ClientOutcome::AlreadyExists);
            }
            pipelined!(origins_keep(link, &client), audit_insert(link, &audit), link.commit())?;
            Ok(ClientOutcome::Done)
        })
    }

    async fn client_insert_first_administrator(
        &self,
        client: Client,
        audit: AuditEntry,
    ) -> StoreResult<ClientOutcome> {
        let audit = [audit];
        transact!(self, |link| {
            let ((), (), exists) = pipelined!(
                link.begin(Begin::Write),
                turn_take(link, Turn::Administrators),
                administrator_exists(link)
            )?;
            let refusal = match exists {
                true => Some(ClientOutcome::AdministratorExists),
                false if client_write(link, &CLIENT_INSERT, &client).await? => None,
                false => Some(ClientOutcome::AlreadyExists),
            };
            if let Some(refusal) = refusal {
                link.rollback().await?;
                return Ok(refusal);
            }
            pipelined!(origins_keep(link, &client), audit_insert(link, &audit), link.commit())?;
            Ok(ClientOutcome::Done)
        })
    }

    async fn client_update(&self, change: ClientChange) -> StoreResult<ClientOutcome> {
        let ClientChange { client, announcement, audit } = change;
        let (entry, audit) = (announced(announcement.kind, &client.id, announcement.keep_until), [audit]);
        transact!(self, |link| {
            self.partitions.cover_log(link, &[announcement.keep_until]).await?;
            let ((), (), updated, present) = pipelined!(
                link.begin(Begin::Write),
                turn_take(link, Turn::Administrators),
                client_write(link, &CLIENT_UPDATE, &client),
                client_version(link, &client.id)
            )?;
            if !updated {
                link.rollback().await?;
                return Ok(match present {
                    None => ClientOutcome::NotFound,
                    Some(version) if version + 1 != client.version => ClientOutcome::VersionConflict,
                    Some(_) => ClientOutcome::LastAdministrator,
                });
            }
            pipelined!(
                origins_keep(link, &client),
                audit_insert(link, &audit),
                log_append(link, &entry, self.time.param()),
                link.commit()
            )?;
            Ok(ClientOutcome::Done)
        })
    }

    async fn client_delete(&self, deletion: ClientDeletion) -> StoreResult<ClientOutcome> {
        let ClientDeletion { id, keep_until, audit } = deletion;
        let (entry, audit) = (announced(LogKind::Client, &id, keep_until), [audit]);
        transact!(self, |link| {
            self.partitions.cover_log(link, &[keep_until]).await?;
            let ((), (), deleted, present) = pipelined!(
                link.begin(Begin::Write),
                turn_take(link, Turn::Administrators),
                client_delete(link, &id),
                client_version(link, &id)
            )?;
            if !deleted {
                link.rollback().await?;
                let last = ClientOutcome::LastAdministrator;
                return Ok(present.map_or(ClientOutcome::NotFound, |_| last));
            }
            pipelined!(
                origins_delete(link, &id),
                audit_insert(link, &audit),
                log_append(link, &entry, self.time.param()),
                link.commit()
            )?;
            Ok(ClientOutcome::Done)
        })
    }
}

fn announced(kind: LogKind, id: &ClientId, keep_until: grantry_protocol::Timestamp) -> [Announced; 1] {
    [Announced { kind, key: id.as_str().as_bytes().to_vec(), keep_until }]
}

/// Those of a disabled client do not count.
async fn origins_keep(link: &Link, client: &Client) -> Result<()> {
    let origins = client.metadata.enabled.then_some(&client.metadata.allowed_cors_origins);
    let origins: Vec<&str> = origins.into_iter().flatten().map(String::as_str).collect();
    pipelined!(origins_delete(link, &client.id), origins_insert(link, &origins, &client.id)).map(drop)
}

macro_rules! client_columns {
    () => {
        "c.client_id, c.metadata, c.secret_key_version, c.secret_hash, c.created_at, c.updated_at, c.version"
    };
}

/// With where the log ended in the same snapshot.
pub const CLIENTS_FIND: Statement = Statement {
    name: "clients_find",
    sql: concat!(
        "SELECT w.n, h.epoch, h.position, ",
        client_columns!(),
        " FROM unnest($1::text[]) WITH ORDINALITY AS w(id, n)
          CROSS JOIN log_head h
          LEFT JOIN LATERAL (SELECT * FROM clients c WHERE c.client_id = w.id LIMIT 1) c ON true"
    ),
    types: &[Type::TEXT_ARRAY],
};

/// By their place among the ids.
pub async fn clients_find(link: &Link, ids: &[&str]) -> Result<Vec<(usize, Observed<Option<Client>>)>> {
    let rows = link.query(&CLIENTS_FIND, &[&ids]).await?;
    let found = |row: &Row| {
        let value = get::<Option<&str>>(row, 3)?.map(|_| client_of(row, 3)).transpose()?;
        Ok((unsigned::<usize>(row, 0)? - 1, Observed { seen: seen(row, 1)?, value }))
    };
    rows.iter().map(found).collect()
}

pub const CLIENTS_SELECT: Statement = Statement {
    name: "clients_select",
    sql: concat!(
        "SELECT ",
        client_columns!(),
        " FROM clients c WHERE c.client_id > $1 ORDER BY c.client_id LIMIT $2"
    ),
    types: &[Type::TEXT, Type::INT8],
};

async fn clients_select(link: &Link, after: &str, limit: i64) -> Result<Vec<Client>> {
    let rows = link.query(&CLIENTS_SELECT, &[&after, &limit]).await?;
    rows.iter().map(|row| client_of(row, 0)).collect()
}

fn client_of(row: &Row, first: usize) -> Result<Client> {
    let key_version = optional_byte(row, first + 2)?;
    let hash = optional_bytes(row, first + 3)?;
    Ok(Client {
        id: checked(row, first)?,
        metadata: from_json(row, first + 1)?,
        secret: key_version.zip(hash).map(|(key_version, hash)| ClientSecretHash { key_version, hash }),
        created_at: timestamp(row, first + 4)?,
        updated_at: timestamp(row, first + 5)?,
        version: unsigned(row, first + 6)?,
    })
}

const CLIENT_WRITE: &[Type] =
    &[Type::TEXT, Type::TEXT, Type::INT2, Type::BYTEA, Type::INT8, Type::INT8, Type::INT8, Type::BOOL];

pub const CLIENT_INSERT: Statement = Statement {
    name: "client_insert",
    sql: "INSERT INTO clients (client_id, metadata, secret_key_version, secret_hash, created_at, updated_at, version,
                               is_administrator)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
          ON CONFLICT (client_id) DO NOTHING",
    types: CLIENT_WRITE,
};

/// Asked before the first client is made, once in the life of a store.
pub const ADMINISTRATOR_EXISTS: Statement = Statement {
    name: "administrator_exists",
    sql: "SELECT FROM clients WHERE is_administrator LIMIT 1",
    types: &[],
};

async fn administrator_exists(link: &Link) -> Result<bool> {
    Ok(link.query_opt(&ADMINISTRATOR_EXISTS, &[]).await?.is_some())
}

/// Only over the version before, and never so that no administrator is left; the turn is taken.
pub const CLIENT_UPDATE: Statement = Statement {
    name: "client_update",
    sql: "UPDATE clients SET metadata = $2, secret_key_version = $3, secret_hash = $4, created_at = $5, updated_at = $6,
                             version = $7, is_administrator = $8
          WHERE client_id = $1 AND version = $7 - 1
            AND ($8 OR NOT is_administrator
                 OR EXISTS (SELECT FROM clients o WHERE o.is_administrator AND o.client_id <> $1))",
    types: CLIENT_WRITE,
};

/// Inserting and updating bind the same.
async fn client_write(link: &Link, statement: &Statement, client: &Client) -> Result<bool> {
    let row: [&(dyn ToSql + Sync); 8] = [
        &client.id.as_str(),
        &to_json(&client.metadata)?,
        &client.secret.map(|secret| i16::from(secret.key_version)),
        &client.secret.map(|secret| secret.hash.to_vec()),
        &client.created_at.as_millis(),
        &client.updated_at.as_millis(),
        &saturating(client.version),
        &client.is_administrator(),
    ];
    Ok(link.execute(statement, &row).await? == 1)
}

/// Never the last administrator; the turn is taken.
pub const CLIENT_DELETE: Statement = Statement {
    name: "client_delete",
    sql: "DELETE FROM clients WHERE client_id = $1
            AND (NOT is_administrator
                 OR EXISTS (SELECT FROM clients o WHERE o.is_administrator AND o.client_id <> $1))",
    types: &[Type::TEXT],
};

async fn client_delete(link: &Link, id: &ClientId) -> Result<bool> {
    Ok(link.execute(&CLIENT_DELETE, &[&id.as_str()]).await? == 1)
}

pub const CLIENT_VERSION: Statement = Statement {
    name: "client_version",
    sql: "SELECT version FROM clients WHERE client_id = $1",
    types: &[Type::TEXT],
};

/// Tells why a guard refused, under the same turn.
async fn client_version(link: &Link, id: &ClientId) -> Result<Option<u64>> {
    let row = link.query_opt(&CLIENT_VERSION, &[&id.as_str()]).await?;
    row.map(|row| unsigned(&row, 0)).transpose()
}

pub const ORIGIN_EXISTS: Statement = Statement {
    name: "origin_exists",
    sql: "SELECT FROM client_origins WHERE origin = $1 LIMIT 1",
    types: &[Type::TEXT],
};

pub const ORIGINS_DELETE: Statement = Statement {
    name: "origins_delete",
    sql: "DELETE FROM client_origins WHERE client_id = $1",
    types: &[Type::TEXT],
};

async fn origins_delete(link: &Link, id: &ClientId) -> Result<()> {
    link.execute(&ORIGINS_DELETE, &[&id.as_str()]).await.map(drop)
}

/// A client may name one twice.
pub const ORIGINS_INSERT: Statement = Statement {
    name: "origins_insert",
    sql: "INSERT INTO client_origins (origin, client_id) SELECT DISTINCT origin, $2 FROM unnest($1::text[]) AS w(origin)",
    types: &[Type::TEXT_ARRAY, Type::TEXT],
};

async fn origins_insert(link: &Link, origins: &[&str], id: &ClientId) -> Result<()> {
    if origins.is_empty() {
        return Ok(());
    }
    link.execute(&ORIGINS_INSERT, &[&origins, &id.as_str()]).await.map(drop)
}
