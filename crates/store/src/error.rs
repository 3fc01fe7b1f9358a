/// Why a store did not do what it was asked. Absence is not among it: a read answers `None`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot work at the moment; the same call may succeed later. The message is for the log only.
    #[error("the store is not available ({outage}): {message}")]
    Unavailable { outage: Outage, message: String },
    /// This write can never succeed, however often it is tried; others may.
    #[error("the store refuses this write: {0}")]
    Rejected(String),
    /// What the store holds cannot be understood.
    #[error("the store holds something that this version cannot read: {0}")]
    Corrupt(String),
}

/// Kinds of outage, for the metric's label and for telling an operator what to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outage {
    /// Somebody else holds the lock.
    Busy,
    /// No room is left.
    Full,
    ReadOnly,
    /// The device or the file system failed.
    Io,
    /// The queue in front of the store is full.
    Overloaded,
    /// What was asked for was answered by a node that has not written it yet.
    Unwritten,
    /// This node cannot prove that it knows all that was revoked, so it says nothing about what is valid.
    Stale,
    /// The store was closed, or the thread that worked for it is gone.
    Closed,
}

impl Outage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Io => "io",
            Self::Overloaded => "overloaded",
            Self::Unwritten => "unwritten",
            Self::Stale => "stale",
            Self::Closed => "closed",
        }
    }
}

impl std::fmt::Display for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StoreError {
    pub fn unavailable(outage: Outage, message: impl Into<String>) -> Self {
        Self::Unavailable { outage, message: message.into() }
    }

    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
