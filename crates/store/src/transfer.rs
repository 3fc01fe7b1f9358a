//! Moving a store to another kind of store while servers run on it; docs/adr/0013.
//!
//! The rows are moved as they are, by what they are called and not by what they mean: every table of [`TABLES`], with
//! the columns that every back end has. What only one of them has (indexes, partitions, derived tables) is its own
//! business.

use async_trait::async_trait;

use crate::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// 64 bits, signed.
    Integer,
    /// Fits into 16 bits.
    Small,
    Flag,
    Text,
    Bytes,
    /// 16 bytes.
    Uuid,
}

/// A table as both sides know it.
#[derive(Debug, PartialEq, Eq)]
pub struct TransferTable {
    pub name: &'static str,
    pub columns: &'static [(&'static str, ColumnKind)],
    /// The first so many columns are the primary key.
    pub key: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The cells of a row in the order of the table's columns, or those of its key.
pub type Cells = Vec<Cell>;

use ColumnKind::{Bytes, Flag, Integer, Small, Text, Uuid};

/// In the order in which they are copied. The log's head comes last, as it does in every transaction.
pub const TABLES: &[TransferTable] = &[
    TransferTable {
        name: "keys",
        key: 2,
        columns: &[
            ("purpose", Text),
            ("version", Small),
            ("sealed", Bytes),
            ("created_at", Integer),
            ("active_from", Integer),
            ("needed_until", Integer),
            ("revoked_at", Integer),
        ],
    },
    TransferTable {
        name: "clients",
        key: 1,
        columns: &[
            ("client_id", Text),
            ("metadata", Text),
            ("secret_key_version", Small),
            ("secret_hash", Bytes),
            ("created_at", Integer),
            ("updated_at", Integer),
            ("version", Integer),
            ("is_administrator", Flag),
        ],
    },
    TransferTable { name: "client_origins", key: 2, columns: &[("origin", Text), ("client_id", Text)] },
    TransferTable {
        name: "grants",
        key: 1,
        columns: &[
            ("id", Uuid),
            ("slot", Bytes),
            ("is_last_of_slot", Flag),
            ("client_id", Text),
            ("subject", Text),
            ("subject_kind", Small),
            ("scope", Text),
            ("audience", Text),
            ("session_id", Uuid),
            ("seen_epoch", Integer),
            ("seen_position", Integer),
            ("created_at", Integer),
            ("expires_at", Integer),
            ("idle_expires_at", Integer),
            ("counter", Integer),
            ("rotated_at", Integer),
            ("access_token", Uuid),
            ("ended_at", Integer),
            ("status_index", Integer),
        ],
    },
    TransferTable {
        name: "tokens",
        key: 1,
        columns: &[
            ("id", Uuid),
            ("slot", Bytes),
            ("client_id", Text),
            ("subject", Text),
            ("subject_kind", Small),
            ("scope", Text),
            ("audience", Text),
            ("format", Small),
            ("issued_at", Integer),
            ("expires_at", Integer),
            ("seen_epoch", Integer),
            ("seen_position", Integer),
            ("grant_id", Uuid),
            ("session_id", Uuid),
            ("deferred_by", Small),
            ("ended", Small),
            ("status_index", Integer),
        ],
    },
    TransferTable {
        name: "slots",
        key: 1,
        columns: &[("slot", Bytes), ("holder", Uuid), ("expires_at", Integer), ("displaced", Uuid)],
    },
    TransferTable { name: "early_ends", key: 1, columns: &[("id", Uuid), ("expires_by", Integer)] },
    TransferTable { name: "assertions", key: 1, columns: &[("key", Bytes), ("expires_at", Integer)] },
    TransferTable {
        name: "nodes",
        key: 1,
        columns: &[
            ("id", Bytes),
            ("number", Small),
            ("last_heartbeat", Integer),
            ("drained_below", Uuid),
            ("applied_epoch", Integer),
            ("applied_position", Integer),
        ],
    },
    TransferTable {
        name: "audit",
        key: 1,
        columns: &[
            ("number", Integer),
            ("at", Integer),
            ("actor", Text),
            ("action", Text),
            ("target", Text),
            ("detail", Text),
            ("request_id", Text),
        ],
    },
    TransferTable { name: "cluster", key: 1, columns: &[("one", Flag), ("id", Uuid)] },
    TransferTable {
        name: "settings",
        key: 1,
        columns: &[("one", Flag), ("version", Integer), ("document", Text), ("updated_at", Integer)],
    },
    TransferTable {
        name: "status_head",
        key: 1,
        columns: &[("one", Flag), ("next_index", Integer), ("first_index", Integer)],
    },
    TransferTable {
        name: "revocation_log",
        key: 1,
        columns: &[
            ("position", Integer),
            ("epoch", Integer),
            ("kind", Small),
            ("key", Bytes),
            ("keep_until", Integer),
            ("logged_at", Integer),
        ],
    },
    TransferTable {
        name: "log_head",
        key: 1,
        columns: &[("one", Flag), ("epoch", Integer), ("position", Integer), ("chain", Bytes)],
    },
];

/// A change of the source since the transfer began: the row that the key names is to be copied again, or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Rises with every change.
    pub number: i64,
    /// Its place in [`TABLES`].
    pub table: usize,
    pub key: Cells,
}

/// How far a transfer is, as its source knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferState {
    /// Servers work on the source, and each change is noted.
    Copying { id: String },
    /// Nothing can be changed in the source.
    Fenced { id: String },
    /// All is in the target, and the source can be neither changed nor read.
    Moved { id: String, target: String },
}

impl TransferState {
    /// Names the transfer, at the source and at the target.
    pub fn id(&self) -> &str {
        match self {
            Self::Copying { id } | Self::Fenced { id } | Self::Moved { id, .. } => id,
        }
    }
}

/// The store that is left. Everything is remembered in it, so that a transfer goes on after an interruption.
#[async_trait]
pub trait TransferSource: Send + Sync {
    async fn state(&self) -> Result<Option<TransferState>>;

    /// From here on every change is noted, whichever server makes it.
    async fn begin(&self, id: &str) -> Result<()>;

    /// At most `limit` rows with a key above `after`, in the order of their keys.
    async fn page(&self, table: usize, after: Option<Cells>, limit: usize) -> Result<Vec<Cells>>;

    /// At most `limit` changes numbered above `after`, in order.
    async fn changes(&self, after: i64, limit: usize) -> Result<Vec<Change>>;

    /// Those that are there.
    async fn rows(&self, table: usize, keys: Vec<Cells>) -> Result<Vec<Cells>>;

    /// From here on no server can change anything: each gets an outage.
    async fn fence(&self) -> Result<()>;

    /// From here on no server can read tokens, grants and clients either.
    async fn close(&self, target: &str) -> Result<()>;

    /// Gives the store back to its servers.
    async fn abort(&self) -> Result<()>;

    async fn count(&self, table: usize) -> Result<u64>;
}

/// The store that is filled. No server can use it before the transfer has ended.
#[async_trait]
pub trait TransferTarget: Send + Sync {
    /// Takes the store for the transfer, or goes on with it.
    ///
    /// # Errors
    /// `Rejected` if the store is in use, or taken by another transfer.
    async fn begin(&self, id: &str) -> Result<()>;

    /// Writes rows over those with the same keys.
    async fn put(&self, table: usize, rows: Vec<Cells>) -> Result<()>;

    async fn remove(&self, table: usize, keys: Vec<Cells>) -> Result<()>;

    async fn count(&self, table: usize) -> Result<u64>;

    /// Derives what only this back end has, and gives the store to its servers.
    async fn finish(&self) -> Result<()>;
}
