use async_trait::async_trait;
use grantry_protocol::{NodeNumber, Seen, Timestamp, TokenId};
use grantry_store::{Node, NodeId, Nodes, Result as StoreResult, StoreError};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::PostgresStore;
use crate::columns::{bytes, optional_byte, optional_id, optional_seen, saturating, timestamp, uuid};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::pipeline::pipelined;
use crate::statement::{Statement, now};
use crate::store::{reading, transact};

#[async_trait]
impl Nodes for PostgresStore {
    async fn node_register(&self, id: NodeId) -> StoreResult<Node> {
        let registered = transact!(self, |link| {
            let ((), (), node) = pipelined!(
                link.begin(Begin::Write),
                node_register(link, id, self.time.param()),
                node_number(link, id)
            )?;
            if node.number.is_none() {
                link.rollback().await?;
                return Ok(None);
            }
            link.commit().await?;
            Ok(Some(node))
        })?;
        registered.ok_or_else(|| StoreError::Rejected("all 255 node numbers are taken".to_owned()))
    }

    async fn node_list(&self) -> StoreResult<Vec<Node>> {
        reading!(self, |link| { link.query(&NODES_SELECT, &[]).await?.iter().map(node).collect() })
    }
}

/// What [`node`] reads.
macro_rules! node_columns {
    () => {
        "id, number, last_heartbeat, drained_below, applied_epoch, applied_position"
    };
}

pub const NODES_SELECT: Statement = Statement {
    name: "nodes_select",
    sql: concat!("SELECT ", node_columns!(), " FROM nodes ORDER BY id"),
    types: &[],
};

fn node(row: &Row) -> Result<Node> {
    Ok(Node {
        id: NodeId(bytes(row, 0)?),
        number: optional_byte(row, 1)?.and_then(NodeNumber::new),
        last_heartbeat: timestamp(row, 2)?,
        drained_below: optional_id(row, 3, TokenId::from_bytes)?,
        applied: optional_seen(row, 4)?,
    })
}

/// The number that the node has, else the smallest that is free, if one is. Of two nodes that take the same number one
/// meets the other's row.
pub const NODE_NUMBER: Statement = Statement {
    name: "node_number",
    sql: concat!(
        "UPDATE nodes SET number = coalesce(number, (
              SELECT n::smallint FROM generate_series(1, 255) AS n
              WHERE n NOT IN (SELECT number FROM nodes WHERE number IS NOT NULL) ORDER BY n LIMIT 1))
          WHERE id = $1 RETURNING ",
        node_columns!()
    ),
    types: &[Type::BYTEA],
};

async fn node_number(link: &Link, id: NodeId) -> Result<Node> {
    node(&link.query_one(&NODE_NUMBER, &[&id.0.as_slice()]).await?)
}

pub const NODE_REGISTER: Statement = Statement {
    name: "node_register",
    sql: concat!(
        "INSERT INTO nodes (id, last_heartbeat) VALUES ($1, ",
        now!("$2"),
        ") ON CONFLICT (id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat"
    ),
    types: &[Type::BYTEA, Type::INT8],
};

async fn node_register(link: &Link, id: NodeId, now: Option<i64>) -> Result<()> {
    link.execute(&NODE_REGISTER, &[&id.0.as_slice(), &now]).await.map(drop)
}

/// The mark only rises.
pub const NODES_BEAT: Statement = Statement {
    name: "nodes_beat",
    sql: "INSERT INTO nodes AS o (id, last_heartbeat, drained_below)
          SELECT w.id, $3, w.drained_below FROM unnest($1::bytea[], $2::uuid[]) AS w(id, drained_below) ORDER BY w.id
          ON CONFLICT (id) DO UPDATE SET
              last_heartbeat = excluded.last_heartbeat,
              drained_below = greatest(o.drained_below, excluded.drained_below)",
    types: &[Type::BYTEA_ARRAY, Type::UUID_ARRAY, Type::INT8],
};

/// Each node once.
pub async fn nodes_beat(link: &Link, beats: &[(NodeId, Option<TokenId>)], now: Timestamp) -> Result<()> {
    if beats.is_empty() {
        return Ok(());
    }
    let (ids, marks): (Vec<&[u8]>, Vec<Option<Uuid>>) =
        beats.iter().map(|(id, mark)| (id.0.as_slice(), mark.map(|mark| uuid(mark.as_bytes())))).unzip();
    link.execute(&NODES_BEAT, &[&ids, &marks, &now.as_millis()]).await.map(drop)
}

/// Leaves the number and the mark alone.
pub const NODE_APPLIED_UPSERT: Statement = Statement {
    name: "node_applied_upsert",
    sql: concat!(
        "INSERT INTO nodes (id, applied_epoch, applied_position, last_heartbeat) VALUES ($1, $2, $3, ",
        now!("$4"),
        ") ON CONFLICT (id) DO UPDATE SET
              applied_epoch = excluded.applied_epoch, applied_position = excluded.applied_position,
              last_heartbeat = excluded.last_heartbeat"
    ),
    types: &[Type::BYTEA, Type::INT8, Type::INT8, Type::INT8],
};

pub async fn node_applied_upsert(link: &Link, id: NodeId, applied: Seen, now: Option<i64>) -> Result<()> {
    let (epoch, position) = (saturating(applied.epoch.0), saturating(applied.position.0));
    let params: [&(dyn ToSql + Sync); 4] = [&id.0.as_slice(), &epoch, &position, &now];
    link.execute(&NODE_APPLIED_UPSERT, &params).await.map(drop)
}

/// Nodes whose rows a transaction holds before it touches anything else, in the order of their ids.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NodesNamed {
    /// Their unwritten tokens may be ended: no settlement of theirs is under way meanwhile.
    pub ended_early: Vec<i16>,
    /// They have a heartbeat in the batch.
    pub beating: Vec<NodeId>,
    /// Their tokens are settled.
    pub settled: Vec<i16>,
}

macro_rules! lock_nodes {
    ($name:literal, $how:literal) => {
        Statement {
            name: $name,
            sql: concat!("SELECT FROM nodes WHERE number = ANY ($1) OR id = ANY ($2) ORDER BY id FOR ", $how),
            types: &[Type::INT2_ARRAY, Type::BYTEA_ARRAY],
        }
    };
}

/// Waits for whoever settles, and lets nobody settle.
pub const NODES_LOCK: Statement = lock_nodes!("nodes_lock", "UPDATE");
/// Lets others settle.
pub const NODES_LOCK_TO_BEAT: Statement = lock_nodes!("nodes_lock_to_beat", "NO KEY UPDATE");
/// Lets others settle and hearts beat.
pub const NODES_LOCK_TO_SETTLE: Statement = lock_nodes!("nodes_lock_to_settle", "KEY SHARE");

pub async fn nodes_lock(link: &Link, named: &NodesNamed) -> Result<()> {
    let ids: Vec<&[u8]> = named.beating.iter().map(|id| id.0.as_slice()).collect();
    let numbers: Vec<i16> = named.ended_early.iter().chain(&named.settled).copied().collect();
    let lock = match () {
        () if !named.ended_early.is_empty() => &NODES_LOCK,
        () if !ids.is_empty() => &NODES_LOCK_TO_BEAT,
        () if !numbers.is_empty() => &NODES_LOCK_TO_SETTLE,
        () => return Ok(()),
    };
    link.execute(lock, &[&numbers, &ids]).await.map(drop)
}

pub const NODES_SWEEP: Statement = Statement {
    name: "nodes_sweep",
    sql: "DELETE FROM nodes WHERE id IN (
              SELECT id FROM nodes WHERE last_heartbeat <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    types: &[Type::INT8, Type::INT8],
};
