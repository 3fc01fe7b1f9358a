use async_trait::async_trait;
use grantry_protocol::{NodeNumber, Seen, Timestamp, TokenId};

use super::MemoryStore;
use crate::{Node, NodeId, Nodes, Replication, Result, StoreError};

#[derive(Debug, Clone, Copy)]
pub struct NodeRow {
    pub number: Option<NodeNumber>,
    pub last_heartbeat: Timestamp,
    pub drained_below: Option<TokenId>,
    pub applied: Option<Seen>,
}

impl NodeRow {
    pub const fn new(now: Timestamp) -> Self {
        Self { number: None, last_heartbeat: now, drained_below: None, applied: None }
    }

    const fn of(self, id: NodeId) -> Node {
        Node {
            id,
            number: self.number,
            last_heartbeat: self.last_heartbeat,
            drained_below: self.drained_below,
            applied: self.applied,
        }
    }
}

impl Replication for MemoryStore {}

#[async_trait]
impl Nodes for MemoryStore {
    async fn node_register(&self, id: NodeId) -> Result<Node> {
        let now = self.clock.now();
        let mut state = self.state();
        let is_free = |number: &NodeNumber| state.nodes.values().all(|row| row.number != Some(*number));
        let present = state.nodes.get(&id).and_then(|row| row.number);
        let Some(number) = present.or_else(|| (1..=u8::MAX).filter_map(NodeNumber::new).find(is_free)) else {
            return Err(StoreError::Rejected("all 255 node numbers are taken".to_owned()));
        };
        let row = state.nodes.entry(id).or_insert(NodeRow::new(now));
        (row.number, row.last_heartbeat) = (Some(number), now);
        Ok(row.of(id))
    }

    async fn node_list(&self) -> Result<Vec<Node>> {
        Ok(self.state().nodes.iter().map(|(id, row)| row.of(*id)).collect())
    }
}
