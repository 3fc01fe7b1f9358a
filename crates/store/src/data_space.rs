use std::time::Duration;

use async_trait::async_trait;

use crate::Result;

/// What there are copies of. Their keys are independent of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CopyKind {
    Token,
    TokenOwner,
    Client,
}

impl CopyKind {
    /// As the near cache of the same copies is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "tokens",
            Self::TokenOwner => "token_owners",
            Self::Client => "clients",
        }
    }
}

/// Which of two copies of one key stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precedence {
    /// The one that came last.
    Last,
    /// The one whose value is greater, byte by byte: for values that are only ever succeeded by greater ones, where writers
    /// may overtake each other.
    Greatest,
}

/// Something for other nodes to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedCopy {
    pub kind: CopyKind,
    pub key: String,
    pub value: Vec<u8>,
    /// After it the copy is gone. At least a millisecond.
    pub ttl: Duration,
    pub precedence: Precedence,
}

/// Memory that the nodes share, for copies of what the store has. It may lose or forget any of them at any time, and give
/// one that is out of date: whoever asks has to know which copies are good.
#[async_trait]
pub trait DataSpace: Send + Sync {
    async fn copy_find(&self, kind: CopyKind, key: &str) -> Result<Option<Vec<u8>>>;

    /// Some may be there after an error.
    async fn copy_put(&self, copies: &[SharedCopy]) -> Result<()>;

    /// Whether it can be read and written again, asked anew of every server that has copies.
    async fn probe(&self) -> Result<()>;

    /// How many servers have a copy by the time that it is put, as far as this node knows; `None` where nobody looked yet.
    fn replicas(&self) -> Option<Replicas>;
}

/// On how many servers besides its own a copy ought to be, and on how many it was when this was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    pub wanted: u32,
    pub achieved: u32,
}

impl Replicas {
    pub const fn is_short(self) -> bool {
        self.achieved < self.wanted
    }
}

/// The data space as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSpaceView {
    /// Why it is left out at the moment; requests go to the store meanwhile.
    pub failure: Option<String>,
    /// Absent where nobody looks after them.
    pub replicas: Option<Replicas>,
}
