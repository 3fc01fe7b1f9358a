use async_trait::async_trait;
use grantry_protocol::{NodeNumber, Seen, Timestamp, TokenId};
use grantry_store::{Node, NodeId, Nodes, Result};
use redis::Pipeline;
use serde::{Deserialize, Serialize};

use crate::RedisStore;
use crate::errors::{Cause, Error};
use crate::names::{hex, unhex};
use crate::rows::{RowResult, Rows};
use crate::tokens::all;

#[derive(Serialize, Deserialize)]
pub struct NodeRow {
    pub number: Option<NodeNumber>,
    pub heartbeat: Timestamp,
    pub drained_below: Option<TokenId>,
}

/// What a probe writes, whatever is there.
#[derive(Serialize, Deserialize)]
pub struct BeatRow {
    pub at: Timestamp,
    pub applied: Seen,
}

#[async_trait]
impl Nodes for RedisStore {
    async fn node_register(&self, id: NodeId) -> Result<Node> {
        self.transact(|rows| {
            let mut row = rows.node_row(id)?;
            let number = match row.number {
                Some(number) => number,
                None => rows.take_number(id)?,
            };
            (row.number, row.heartbeat) = (Some(number), rows.now);
            rows.put_node(id, &row)?;
            rows.node(id)
        })
        .await
    }

    async fn node_list(&self) -> Result<Vec<Node>> {
        let ids = self.node_ids().await?;
        self.look(|rows| all(rows, &ids, |rows, id| rows.node(*id))).await
    }
}

impl RedisStore {
    /// In order.
    pub(crate) async fn node_ids(&self) -> Result<Vec<NodeId>> {
        let mut commands = Pipeline::new();
        commands.cmd("SMEMBERS").arg(self.names.nodes());
        let (texts,): (Vec<String>,) = self.links.read(&self.names.head(), &commands).await?;
        let id = |text: String| unhex(&text).and_then(|bytes| bytes.try_into().ok()).map(NodeId);
        let mut ids: Vec<NodeId> = texts.into_iter().filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

impl Rows {
    /// As it is, or as it begins.
    pub fn node_row(&mut self, id: NodeId) -> RowResult<NodeRow> {
        let now = self.now;
        let row = self.get(self.names.node(id))?;
        Ok(row.unwrap_or(NodeRow { number: None, heartbeat: now, drained_below: None }))
    }

    pub fn put_node(&mut self, id: NodeId, row: &NodeRow) -> RowResult<()> {
        self.put(self.names.node(id), row, None)?;
        self.command("SADD", self.names.nodes(), &[hex(&id.0).as_bytes()]);
        Ok(())
    }

    pub fn node(&mut self, id: NodeId) -> RowResult<Node> {
        let beat = self.get::<BeatRow>(self.names.beat(id));
        let row: Option<NodeRow> = self.get(self.names.node(id))?;
        let beat = beat?;
        let now = self.now;
        let said = beat.as_ref().map(|beat| beat.at);
        Ok(Node {
            id,
            number: row.as_ref().and_then(|row| row.number),
            last_heartbeat: row.as_ref().map(|row| row.heartbeat).max(said).unwrap_or(now),
            drained_below: row.and_then(|row| row.drained_below),
            applied: beat.map(|beat| beat.applied),
        })
    }

    pub fn node_of(&mut self, number: NodeNumber) -> RowResult<Option<NodeId>> {
        let text: Option<String> = self.get(self.names.number(number))?;
        Ok(text.and_then(|text| unhex(&text)).and_then(|bytes| bytes.try_into().ok()).map(NodeId))
    }

    fn take_number(&mut self, id: NodeId) -> RowResult<NodeNumber> {
        let numbers: Vec<NodeNumber> = (1..=u8::MAX).filter_map(NodeNumber::new).collect();
        let taken = all(self, &numbers, |rows, number| rows.exists(rows.names.number(*number)))?;
        let free = numbers.into_iter().zip(taken).find(|(_, taken)| !taken);
        let (number, _) =
            free.ok_or_else(|| Error::new(Cause::Rejected, "all 255 node numbers are taken"))?;
        self.put(self.names.number(number), &hex(&id.0), None)?;
        Ok(number)
    }

    pub fn node_remove(&mut self, id: NodeId) -> RowResult<()> {
        if let Some(number) = self.node_row(id)?.number {
            self.remove(self.names.number(number));
        }
        self.remove(self.names.node(id));
        self.remove(self.names.beat(id));
        self.command("SREM", self.names.nodes(), &[hex(&id.0).as_bytes()]);
        Ok(())
    }
}
