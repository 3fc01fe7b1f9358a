use async_trait::async_trait;
use grantry_protocol::{NodeNumber, Rng, Seen, Timestamp, TokenId};

use crate::{DataSpaceView, Result};

/// Names a server process; one that has a journal keeps the name across restarts.
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
    /// Given to nodes that defer writes, so that their tokens can name them.
    pub number: Option<NodeNumber>,
    /// On the store's clock.
    pub last_heartbeat: Timestamp,
    /// The drain mark: every token that the node deferred with an id below has its row by now, or will never get one.
    /// It only ever rises.
    pub drained_below: Option<TokenId>,
    /// How much of the revocation log the node had applied when it last said so; nothing if it does not follow the log.
    pub applied: Option<Seen>,
}

/// A near cache of the node that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheView {
    pub name: &'static str,
    /// Copies in memory.
    pub size: usize,
    pub capacity: usize,
}

#[async_trait]
pub trait Nodes: Send + Sync {
    /// Gives the node a number that no other node has, or the one that it was given before. A number is free again when
    /// the clean-up has removed its node, and by then every token that names it has expired.
    ///
    /// # Errors
    /// `Rejected` if all 255 numbers are taken.
    async fn node_register(&self, id: NodeId) -> Result<Node>;

    /// By id.
    async fn node_list(&self) -> Result<Vec<Node>>;

    /// What this node has copies of; none without near caches.
    fn node_caches(&self) -> Vec<CacheView> {
        Vec::new()
    }

    /// How this node finds the memory that it shares with the others; `None` if there is none.
    fn node_data_space(&self) -> Option<DataSpaceView> {
        None
    }
}
