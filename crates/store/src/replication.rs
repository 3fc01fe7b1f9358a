use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::Result;

/// Who has a commit by the time that it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationMode {
    /// One server, which nobody follows.
    Single,
    /// So many standbys besides.
    Synchronous { required: u32 },
    /// One server; others follow, and may lack what was committed last.
    Asynchronous,
}

/// A server that follows the one that takes the writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// As it calls itself. This and the rest is absent where the store does not tell us.
    pub name: Option<String>,
    /// What it does at the moment, in the store's own word.
    pub state: Option<String>,
    /// Whether commits wait for it, or for enough of its kind.
    pub is_synchronous: Option<bool>,
    /// How long ago that was committed which it has applied last; absent also where nothing was committed of late.
    pub replay_lag: Option<Duration>,
}

/// What the store does with a commit besides keeping it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationState {
    pub mode: ReplicationMode,
    /// Those that are connected.
    pub standbys: Vec<Standby>,
    /// What can be lost of what was acknowledged, or keeps commits waiting, and why: sentences for operators, without a
    /// full stop.
    pub warnings: Vec<String>,
}

impl ReplicationState {
    /// How many standbys commits wait for, if the store tells us.
    pub fn synchronous(&self) -> Option<u32> {
        self.standbys.iter().map(|standby| standby.is_synchronous.map(u32::from)).sum()
    }
}

/// In a few words, for operators.
impl fmt::Display for ReplicationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = self.standbys.len();
        match (self.mode, self.synchronous()) {
            (ReplicationMode::Single, _) => f.write_str("one server, which nobody follows"),
            (ReplicationMode::Asynchronous, _) => {
                write!(f, "asynchronous: no commit waits for standbys ({connected} connected)")
            }
            (ReplicationMode::Synchronous { required }, Some(synchronous)) => write!(
                f,
                "synchronous: commits wait for standbys ({required} required, {synchronous} of {connected} connected \
                 ones synchronous)"
            ),
            (ReplicationMode::Synchronous { required }, None) => {
                write!(
                    f,
                    "synchronous: commits wait for standbys ({required} required, {connected} connected)"
                )
            }
        }
    }
}

#[async_trait]
pub trait Replication: Send + Sync {
    /// How it is at the moment; `None` of a store that is one process or one file.
    async fn replication_state(&self) -> Result<Option<ReplicationState>> {
        Ok(None)
    }
}
