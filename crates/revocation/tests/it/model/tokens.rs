//! Tokens, and the authority that they come from.

use std::sync::LazyLock;

use grantry_protocol::{ClientId, Epoch, LogKind, Position, RuleKeys, Seen, Subject, TokenId};

use super::database::Ends;

static CLIENT: LazyLock<ClientId> = LazyLock::new(|| "client".parse().expect("it is a client id"));
static SUBJECT: LazyLock<Subject> = LazyLock::new(|| Subject::of_client(&CLIENT));

/// How a token comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is there from the start.
    Earlier,
    Request,
    /// By a code that one request makes and another exchanges.
    Code,
}

/// What a request, a code or a token goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Authority {
    /// As the product carries it.
    pub seen: Seen,
    /// What came after the authority was given and has to end it; known to the model alone.
    pub ended_by: Ends,
}

impl Authority {
    pub const FIRST: Self =
        Self { seen: Seen { epoch: Epoch(1), position: Position(0) }, ended_by: Ends::NONE };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token {
    Absent,
    /// A request has captured what the node has seen, and has read nothing.
    Asked {
        node: usize,
        seen: Seen,
    },
    /// It has read what gives it the authority.
    Authorized {
        node: usize,
        authority: Authority,
    },
    /// The authority is in a code.
    Code(Authority),
    Signed(Authority),
}

impl Token {
    pub fn authority(&self) -> Option<&Authority> {
        match self {
            Self::Absent | Self::Asked { .. } => None,
            Self::Authorized { authority, .. } | Self::Code(authority) | Self::Signed(authority) => {
                Some(authority)
            }
        }
    }

    /// If it has its authority already; otherwise it will have it from after the end.
    pub fn must_end_by(&mut self, end: usize) {
        match self {
            Self::Absent | Self::Asked { .. } => {}
            Self::Authorized { authority, .. } | Self::Code(authority) | Self::Signed(authority) => {
                authority.ended_by.insert(end);
            }
        }
    }

    pub fn swap_nodes(&mut self) {
        if let Self::Asked { node, .. } | Self::Authorized { node, .. } = self {
            *node = 1 - *node;
        }
    }

    /// The node whose restart it would not survive.
    pub fn requested_at(&self) -> Option<usize> {
        match self {
            Self::Asked { node, .. } | Self::Authorized { node, .. } => Some(*node),
            Self::Absent | Self::Code(_) | Self::Signed(_) => None,
        }
    }
}

pub fn id(token: usize) -> TokenId {
    let mut bytes = [0; TokenId::LEN];
    bytes[TokenId::LEN - 1] = u8::try_from(token).expect("there are few");
    TokenId::from_bytes(bytes)
}

pub fn rule_keys(seen: Seen) -> RuleKeys<'static> {
    RuleKeys { slot: None, client_id: &CLIENT, subject: &SUBJECT, session: None, grant: None, seen }
}

/// The one rule of the model, as entries have it.
pub fn rule() -> (LogKind, Vec<u8>) {
    (LogKind::Subject, SUBJECT.as_str().as_bytes().to_vec())
}
