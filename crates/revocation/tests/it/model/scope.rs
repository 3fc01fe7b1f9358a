//! What one run of the checker looks at, and what is deliberately wrong in it.

use super::tokens::Origin;

/// What an entry of the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Token(usize),
    /// Everything from before it.
    Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standby {
    None,
    /// A commit is visible and acknowledged once the standby has it.
    Synchronous,
    /// A commit is acknowledged at once; a promotion may lose what the standby had not received.
    Asynchronous,
}

/// Where a request reads what it goes by (the client, the session).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    Primary,
    /// Also from a primary that was deposed and does not know it.
    Any,
    /// Likewise, and it reads the head of the log along: what it makes carries no more than that as seen.
    AnyWithItsHead,
}

#[derive(Debug, Clone)]
pub struct Scope {
    /// One or two.
    pub nodes: usize,
    pub tokens: Vec<Origin>,
    /// Each is made at most once.
    pub ends: Vec<End>,
    pub standby: Standby,
    pub reads: Reads,
    pub restarts: bool,
    /// Whether a rule counts that was committed after a promotion had lost entries and before a node found that out.
    pub counts_before_repair: bool,
}

impl Scope {
    pub fn new(tokens: &[Origin], ends: &[End]) -> Self {
        Self {
            nodes: 2,
            tokens: tokens.to_vec(),
            ends: ends.to_vec(),
            standby: Standby::None,
            reads: Reads::Primary,
            restarts: false,
            counts_before_repair: false,
        }
    }

    pub fn with(self, standby: Standby) -> Self {
        Self { standby, ..self }
    }

    pub fn with_one_node(self) -> Self {
        Self { nodes: 1, ..self }
    }

    pub fn with_restarts(self) -> Self {
        Self { restarts: true, ..self }
    }
}

/// What a mutant of the protocol does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Positions come from a database sequence, before the commit, and the tail asks for higher numbers than its last.
    SequencePositions,
    /// Whether a log goes on from where a node is, is told by the position alone.
    NoChain,
    /// A proof dates from when the answer arrived.
    DatedAtReceipt,
    /// A node that finds entries lost remembers them and goes on in the same epoch.
    NoEpochRaised,
    /// A node that finds entries lost takes the log as it is.
    LostIsForgotten,
    /// A node reads the log from its beginning without a probe: first where it ends, then what is in it, each wherever
    /// its connection leads. The probes go on from there.
    FirstReadPlainly,
    /// A probe reads and commits nothing.
    ReadOnlyProbe,
    /// A probe that was cancelled while its commit waited for the standby counts as done.
    CancelledProbeCounts,
    /// A node that is not fresh reads the log at the server and answers by that.
    PlainReadFallback,
    /// A request looks in the index, waits until the node is fresh, and answers by what it has looked up.
    LookUpBeforeTheWait,
    /// A token carries what the node has seen when it signs.
    SeenAtSigning,
    /// A code's token carries what the node has seen at the exchange.
    SeenAtExchange,
    /// A commit that was cancelled while it waited for the standby is acknowledged.
    WarningAcknowledged,
}
