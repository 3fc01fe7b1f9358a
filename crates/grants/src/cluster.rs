//! What the nodes know of the revocation log, as they say so in the store.

use std::time::Duration;

use grantry_protocol::{LogHead, Position, Timestamp};
use grantry_store::{CacheView, DataSpaceView, LogView, Node, NodeId, ReplicationState};
use tokio::time::{Instant, sleep};

use crate::{GrantError, Grants};

/// A node that was heard of longer ago than this, by the store's clock, is taken for gone.
const LIVE_FOR: Duration = Duration::from_secs(10);
/// How often the nodes' rows are looked at while somebody waits for them.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where the log ends.
    pub head: LogHead,
    /// The node that answers.
    pub this: NodeId,
    /// What that node knows by itself; absent where it follows no log.
    pub view: Option<LogView>,
    /// Its near caches.
    pub caches: Vec<CacheView>,
    /// What it shares with the others, as it finds it.
    pub data_space: Option<DataSpaceView>,
    /// By id.
    pub nodes: Vec<ClusterNode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterNode {
    pub node: Node,
    pub is_live: bool,
}

/// Who has applied an entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    pub position: Position,
    pub by: Vec<NodeId>,
    /// Live nodes that have not said so yet.
    pub missing: Vec<NodeId>,
}

impl Confirmation {
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Grants {
    /// How the store is replicated; `None` of one that is a process or a file.
    pub async fn replication(&self) -> Result<Option<ReplicationState>, GrantError> {
        Ok(self.store.replication_state().await?)
    }

    pub async fn cluster(&self) -> Result<Cluster, GrantError> {
        let (head, nodes) = tokio::join!(self.store.revocation_head(), self.store.node_list());
        let (head, nodes) = (head?, nodes?);
        let newest = nodes.iter().map(|node| node.last_heartbeat).max();
        let is_live = |at: Timestamp| newest.is_some_and(|newest| newest.since(at) < LIVE_FOR);
        let nodes = nodes
            .into_iter()
            .map(|node| ClusterNode { node, is_live: is_live(node.last_heartbeat) })
            .collect();
        Ok(Cluster {
            head,
            this: self.persistence.node(),
            view: self.store.revocation_view(),
            caches: self.store.node_caches(),
            data_space: self.store.node_data_space(),
            nodes,
        })
    }

    /// Which live nodes have applied the entry; `None` if the log has not come that far.
    pub async fn revocation_confirmation(
        &self,
        position: Position,
    ) -> Result<Option<Confirmation>, GrantError> {
        let cluster = self.cluster().await?;
        if position > cluster.head.position || position == Position(0) {
            return Ok(None);
        }
        let live = cluster.nodes.iter().filter(|node| node.is_live).map(|node| node.node);
        let has_applied = |node: &Node| {
            node.applied.is_some_and(|seen| seen.epoch == cluster.head.epoch && seen.position >= position)
        };
        let (by, missing): (Vec<Node>, Vec<Node>) = live.partition(has_applied);
        let ids = |nodes: Vec<Node>| nodes.into_iter().map(|node| node.id).collect();
        Ok(Some(Confirmation { position, by: ids(by), missing: ids(missing) }))
    }

    /// Returns once every live node has applied the entry, or after the bound: a node that has not, by then, answers
    /// nothing as active.
    pub async fn revocation_wait(&self, position: Position) -> Result<Option<Confirmation>, GrantError> {
        let bound = self.store.revocation_view().map_or(Duration::ZERO, |view| view.max_staleness);
        let until = Instant::now() + bound;
        loop {
            let confirmation = self.revocation_confirmation(position).await?;
            let is_over = confirmation.as_ref().is_none_or(Confirmation::is_complete);
            if is_over || Instant::now() >= until {
                return Ok(confirmation);
            }
            sleep(LOOK).await;
        }
    }
}
