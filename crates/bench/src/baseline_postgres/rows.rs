//! What is written, and the statements that write it. Everything that differs between tokens goes over the wire, as it
//! must for a real server.

use sha2::{Digest as _, Sha256};
use tokio_postgres::{
    Client, Error, Statement,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::clock;

const LIFETIME_MILLIS: i64 = 3_600_000;
const CLIENT: &str = "bench";
const SCOPE: &str = "read write";

const INSERT_BATCH: &str = "WITH issued AS (
    INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at, expires_at,
                        seen_epoch, seen_position)
    SELECT id, slot, client_id, subject, 1, scope, audience, 1, issued_at, expires_at, 1, 0
    FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[])
         AS row (id, slot, client_id, subject, scope, audience, issued_at, expires_at))
    INSERT INTO slots (slot, holder, expires_at)
    SELECT slot, id, expires_at FROM unnest($1::uuid[], $2::bytea[], $8::bigint[]) AS row (id, slot, expires_at)";

const INSERT_ONE: &str = "WITH issued AS (
    INSERT INTO tokens (id, slot, client_id, subject, subject_kind, scope, audience, format, issued_at, expires_at,
                        seen_epoch, seen_position)
    VALUES ($1, $2, $3, $4, 1, $5, $6, 1, $7, $8, 1, 0))
    INSERT INTO slots (slot, holder, expires_at) VALUES ($2, $1, $8)";

const BATCH_TYPES: [Type; 8] = [
    Type::UUID_ARRAY,
    Type::BYTEA_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
];
const ONE_TYPES: [Type; 8] =
    [Type::UUID, Type::BYTEA, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];

pub struct Row {
    id: Uuid,
    slot: [u8; 32],
    audience: String,
    issued_at: i64,
}

impl Row {
    /// A time-ordered id, and a slot that is a hash of the request, as the server makes them.
    pub fn of_request(request: &[u8]) -> Self {
        let slot: [u8; 32] = Sha256::digest(request).into();
        let millis = clock::since_epoch().as_millis() as u64;
        let mut random = [0; 10];
        random.copy_from_slice(&slot[..10]);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        let number = u64::from_be_bytes([0, slot[1], slot[2], slot[3], slot[4], slot[5], slot[6], slot[7]]);
        let audience = format!("[\"https://bench.example/{number:017}\"]");
        Self { id, slot, audience, issued_at: millis as i64 }
    }

    fn expires_at(&self) -> i64 {
        self.issued_at + LIFETIME_MILLIS
    }
}

/// Both statements, prepared once for a connection.
pub struct Inserts {
    batch: Statement,
    one: Statement,
}

impl Inserts {
    pub async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            batch: client.prepare_typed(INSERT_BATCH, &BATCH_TYPES).await?,
            one: client.prepare_typed(INSERT_ONE, &ONE_TYPES).await?,
        })
    }

    /// One statement, hence one transaction and one round trip, however many rows there are.
    pub async fn write(&self, client: &Client, rows: &[Row]) -> Result<(), Error> {
        match rows {
            [] => Ok(()),
            [row] => self.write_one(client, row).await,
            rows => self.write_batch(client, rows).await,
        }
    }

    async fn write_one(&self, client: &Client, row: &Row) -> Result<(), Error> {
        let slot = &row.slot[..];
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&row.id, &slot, &CLIENT, &CLIENT, &SCOPE, &row.audience, &row.issued_at, &row.expires_at()];
        client.execute(&self.one, &parameters).await.map(drop)
    }

    async fn write_batch(&self, client: &Client, rows: &[Row]) -> Result<(), Error> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let slots: Vec<_> = rows.iter().map(|row| &row.slot[..]).collect();
        let (clients, scopes) = (vec![CLIENT; rows.len()], vec![SCOPE; rows.len()]);
        let audiences: Vec<_> = rows.iter().map(|row| row.audience.as_str()).collect();
        let issued_at: Vec<_> = rows.iter().map(|row| row.issued_at).collect();
        let expires_at: Vec<_> = rows.iter().map(Row::expires_at).collect();
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&ids, &slots, &clients, &clients, &scopes, &audiences, &issued_at, &expires_at];
        client.execute(&self.batch, &parameters).await.map(drop)
    }
}
