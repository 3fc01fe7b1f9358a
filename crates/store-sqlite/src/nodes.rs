use async_trait::async_trait;
use grantry_protocol::{NodeNumber, Seen, Timestamp, TokenId};
use grantry_store::{Node, NodeId, Nodes, Replication, Result, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::columns::{optional_seen, timestamp};
use crate::writer::WriteTx;

impl Replication for SqliteStore {}

#[async_trait]
impl Nodes for SqliteStore {
    async fn node_register(&self, id: NodeId) -> Result<Node> {
        let registered = self.writer.run(move |tx| register(tx, id)).await?;
        registered.ok_or_else(|| StoreError::Rejected("all 255 node numbers are taken".to_owned()))
    }

    async fn node_list(&self) -> Result<Vec<Node>> {
        self.readers.run(|snapshot| nodes_select(snapshot)).await
    }
}

/// `None` if there is no number left; then nothing was written.
fn register(tx: &WriteTx<'_>, id: NodeId) -> rusqlite::Result<Option<Node>> {
    let present = node_select(tx, id)?.and_then(|node| node.number);
    let Some(number) = present.map_or_else(|| free_number_select(tx), |number| Ok(Some(number)))? else {
        return Ok(None);
    };
    node_upsert(tx, id, None, tx.now)?;
    node_number(tx, id, number)?;
    node_select(tx, id)
}

macro_rules! select_node {
    ($rest:literal) => {
        concat!(
            "SELECT id, number, last_heartbeat, drained_below, applied_epoch, applied_position FROM nodes ",
            $rest
        )
    };
}

const NODES_SELECT: &str = select_node!("ORDER BY id");

fn nodes_select(connection: &Connection) -> rusqlite::Result<Vec<Node>> {
    let mut statement = connection.prepare_cached(NODES_SELECT)?;
    statement.query_map([], node)?.collect()
}

const NODE_SELECT: &str = select_node!("WHERE id = ?1");

pub fn node_select(connection: &Connection, id: NodeId) -> rusqlite::Result<Option<Node>> {
    connection.prepare_cached(NODE_SELECT)?.query_row([id.0], node).optional()
}

fn node(row: &Row<'_>) -> rusqlite::Result<Node> {
    Ok(Node {
        id: NodeId(row.get(0)?),
        number: row.get::<_, Option<u8>>(1)?.and_then(NodeNumber::new),
        last_heartbeat: timestamp(row, 2)?,
        drained_below: row.get::<_, Option<_>>(3)?.map(TokenId::from_bytes),
        applied: optional_seen(row, 4)?,
    })
}

const NODE_OF_NUMBER_SELECT: &str = select_node!("WHERE number = ?1");

pub fn node_of_number(connection: &Connection, number: NodeNumber) -> rusqlite::Result<Option<Node>> {
    connection.prepare_cached(NODE_OF_NUMBER_SELECT)?.query_row([number.get()], node).optional()
}

/// The smallest, if there is one.
const FREE_NUMBER_SELECT: &str = "
    WITH RECURSIVE candidate(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM candidate WHERE n < 255)
    SELECT n FROM candidate WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE number = n) ORDER BY n LIMIT 1";

fn free_number_select(connection: &Connection) -> rusqlite::Result<Option<NodeNumber>> {
    let number = connection.prepare_cached(FREE_NUMBER_SELECT)?.query_row([], |row| row.get(0)).optional()?;
    Ok(number.and_then(NodeNumber::new))
}

const NODE_NUMBER: &str = "UPDATE nodes SET number = ?2 WHERE id = ?1";

fn node_number(connection: &Connection, id: NodeId, number: NodeNumber) -> rusqlite::Result<()> {
    connection.prepare_cached(NODE_NUMBER)?.execute(params![id.0, number.get()])?;
    Ok(())
}

/// The mark only rises.
const NODE_UPSERT: &str = "
    INSERT INTO nodes (id, last_heartbeat, drained_below) VALUES (?1, ?2, ?3)
    ON CONFLICT (id) DO UPDATE SET
        last_heartbeat = excluded.last_heartbeat,
        drained_below = CASE
            WHEN excluded.drained_below > coalesce(drained_below, x'') THEN excluded.drained_below
            ELSE drained_below END";

pub fn node_upsert(
    connection: &Connection,
    node: NodeId,
    drained_below: Option<TokenId>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let row = params![node.0, now.as_millis(), drained_below.as_ref().map(TokenId::as_bytes)];
    connection.prepare_cached(NODE_UPSERT)?.execute(row)?;
    Ok(())
}

/// Leaves the number and the mark alone.
const NODE_APPLIED_UPSERT: &str = "
    INSERT INTO nodes (id, last_heartbeat, applied_epoch, applied_position) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (id) DO UPDATE SET
        last_heartbeat = excluded.last_heartbeat,
        applied_epoch = excluded.applied_epoch,
        applied_position = excluded.applied_position";

pub fn node_applied_upsert(
    connection: &Connection,
    node: NodeId,
    applied: Seen,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let row = params![node.0, now.as_millis(), applied.epoch.0, applied.position.0];
    connection.prepare_cached(NODE_APPLIED_UPSERT)?.execute(row)?;
    Ok(())
}

const NODES_SWEEP: &str = "
    DELETE FROM nodes WHERE id IN (SELECT id FROM nodes WHERE last_heartbeat <= ?1 LIMIT ?2)";

pub fn nodes_sweep(connection: &Connection, silent_since: Timestamp, limit: i64) -> rusqlite::Result<usize> {
    connection.prepare_cached(NODES_SWEEP)?.execute(params![silent_since.as_millis(), limit])
}

#[cfg(test)]
pub const HOT: [&str; 4] = [NODE_UPSERT, NODE_APPLIED_UPSERT, NODE_SELECT, NODE_OF_NUMBER_SELECT];
