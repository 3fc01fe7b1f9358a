//! What operators see of the tokens that were answered and not yet written, and what they can do about parked ones.

use grantry_protocol::{NodeNumber, TokenId};
use grantry_store::{AuditEntry, NodeId};
use serde_json::json;

use crate::{Actor, GrantError, Grants};

/// The queue of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistenceState {
    pub node: NodeId,
    /// Absent for a node that defers nothing.
    pub number: Option<NodeNumber>,
    /// What other nodes were told: every token below that this node deferred has its row.
    pub drained_below: Option<TokenId>,
    pub queue: grantry_persistence::QueueState,
}

impl Grants {
    pub async fn persistence_state(&self) -> Result<PersistenceState, GrantError> {
        let node = self.persistence.node();
        let row = self.store.node_list().await?.into_iter().find(|row| row.id == node);
        Ok(PersistenceState {
            node,
            number: row.and_then(|row| row.number),
            drained_below: row.and_then(|row| row.drained_below),
            queue: self.persistence.queue_state(),
        })
    }

    /// Lets the writers try again what the store has refused; answers how many tokens that are. The audit row comes
    /// first: what follows it are writes that were answered long ago.
    pub async fn persistence_redrive(&self, actor: &Actor) -> Result<usize, GrantError> {
        let parked = self.persistence.queue_state().parked;
        let entry = AuditEntry {
            at: self.clock.now(),
            actor: actor.name.clone(),
            action: "persistence.redrive",
            target: node_text(self.persistence.node()),
            detail: json!({ "parked": parked }),
            request_id: actor.request_id.clone(),
        };
        self.store.audit_append(entry).await?;
        Ok(self.persistence.redrive())
    }
}

/// As the journal's directory has it.
pub fn node_text(node: NodeId) -> String {
    format!("{:032x}", u128::from_be_bytes(node.0))
}
