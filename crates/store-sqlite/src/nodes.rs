use async_trait::async_trait;
use grantry_protocol::Timestamp;
use grantry_store::{Node, NodeId, Nodes, Result};
use rusqlite::{Connection, params};

use crate::SqliteStore;
use crate::columns::timestamp;

#[async_trait]
impl Nodes for SqliteStore {
    async fn node_list(&self) -> Result<Vec<Node>> {
        self.readers.run(|snapshot| nodes_select(snapshot)).await
    }
}

const NODES_SELECT: &str = "SELECT id, last_heartbeat FROM nodes ORDER BY id";

fn nodes_select(connection: &Connection) -> rusqlite::Result<Vec<Node>> {
    let mut statement = connection.prepare_cached(NODES_SELECT)?;
    let nodes = statement
        .query_map([], |row| Ok(Node { id: NodeId(row.get(0)?), last_heartbeat: timestamp(row, 1)? }))?;
    nodes.collect()
}

const NODE_UPSERT: &str = "
    INSERT INTO nodes (id, last_heartbeat) VALUES (?1, ?2)
    ON CONFLICT (id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat";

pub fn node_upsert(connection: &Connection, node: NodeId, now: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached(NODE_UPSERT)?.execute(params![node.0, now.as_millis()])?;
    Ok(())
}

const NODES_SWEEP: &str = "
    DELETE FROM nodes WHERE id IN (SELECT id FROM nodes WHERE last_heartbeat <= ?1 LIMIT ?2)";

pub fn nodes_sweep(connection: &Connection, silent_since: Timestamp, limit: i64) -> rusqlite::Result<usize> {
    connection.prepare_cached(NODES_SWEEP)?.execute(params![silent_since.as_millis(), limit])
}

#[cfg(test)]
pub const HOT: [&str; 1] = [NODE_UPSERT];
