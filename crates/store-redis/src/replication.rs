use async_trait::async_trait;
use grantry_store::{Replication, ReplicationMode, ReplicationState, Result, Standby};

use crate::options::ReplicationPolicy;
use crate::{RedisStore, link};

#[async_trait]
impl Replication for RedisStore {
    async fn replication_state(&self) -> Result<Option<ReplicationState>> {
        Ok(Some(described(self.links.replication())))
    }
}

/// Whatever the policy, a failover may lose what was written last: Redis promotes a replica without asking what it has.
fn described(state: link::ReplicationState) -> ReplicationState {
    let is_synchronous = state.policy == ReplicationPolicy::Sync;
    let standby = Standby { name: None, state: None, is_synchronous: Some(is_synchronous), replay_lag: None };
    let mode = match state.wanted {
        0 => ReplicationMode::Single,
        required if is_synchronous => ReplicationMode::Synchronous { required },
        _ => ReplicationMode::Asynchronous,
    };
    let mut warnings =
        vec!["With Redis as the store, what was written last can be lost when one of its servers is, revocations among it".to_owned()];
    if state.is_degraded() {
        warnings.push(format!("{} of {} replicas have what is written", state.achieved, state.wanted));
    }
    let standbys = (0..state.achieved).map(|_| standby.clone()).collect();
    ReplicationState { mode, standbys, warnings }
}
