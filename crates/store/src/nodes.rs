use async_trait::async_trait;
use grantry_protocol::{Rng, Timestamp};

use crate::Result;

/// Names one run of one server process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    pub fn random(rng: &dyn Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes);
        Self(bytes)
    }
}

/// A node's own row: the write that proves that the node's path to the store works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    /// On the store's clock.
    pub last_heartbeat: Timestamp,
}

#[async_trait]
pub trait Nodes: Send + Sync {
    async fn node_list(&self) -> Result<Vec<Node>>;
}
