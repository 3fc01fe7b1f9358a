use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{AccessToken, ClientId, Grant, GrantId, SessionId, SlotKey, Subject, Timestamp};

/// Raised by whatever makes the log not continue what nodes have seen: a restore, a promotion that lost entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// The number of an entry in the revocation log; 0 before the first, then without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How much of the revocation log was known before anything was read for a request; what the request creates carries
/// it. A rule ends what has seen less than the rule's own position, so no clock is compared between machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seen {
    pub epoch: Epoch,
    pub position: Position,
}

impl Seen {
    pub const NOTHING: Self = Self { epoch: Epoch(0), position: Position(0) };
}

/// What an entry ends, or what it tells nodes to read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// One token, by id.
    Token,
    /// Rule: every earlier token of one slot.
    Slot,
    /// Rule: everything earlier of one client.
    Client,
    /// Rule: everything earlier of one subject.
    Subject,
    /// Rule: everything earlier.
    All,
    /// Ends nothing; the client was changed.
    ClientChanged,
    /// Rule: one grant and every token of it.
    Grant,
    /// Rule: everything earlier of one session.
    Session,
    /// Ends nothing; what operators change at run time was changed.
    SettingsChanged,
}

impl LogKind {
    pub const ALL_KINDS: [Self; 9] = [
        Self::Token,
        Self::Slot,
        Self::Client,
        Self::Subject,
        Self::All,
        Self::ClientChanged,
        Self::Grant,
        Self::Session,
        Self::SettingsChanged,
    ];

    /// Whether an entry of this kind ends all that it names and that has seen less than its position.
    pub const fn is_rule(self) -> bool {
        !matches!(self, Self::Token | Self::ClientChanged | Self::SettingsChanged)
    }

    /// The number that stores keep; never reused for another meaning.
    pub const fn code(self) -> u8 {
        match self {
            Self::Token => 1,
            Self::Slot => 2,
            Self::Client => 3,
            Self::Subject => 4,
            Self::All => 5,
            Self::ClientChanged => 6,
            Self::Grant => 7,
            Self::Session => 8,
            Self::SettingsChanged => 9,
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL_KINDS.into_iter().find(|kind| kind.code() == code)
    }
}

/// An entry, made by an administrator, that ends everything of what it names which has seen less than the entry's own position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    Client(ClientId),
    /// Users and clients of that name alike.
    Subject(Subject),
    /// One that has no row to be ended in.
    Grant(GrantId),
    Session(SessionId),
    All,
}

impl Rule {
    pub const fn kind(&self) -> LogKind {
        match self {
            Self::Client(_) => LogKind::Client,
            Self::Subject(_) => LogKind::Subject,
            Self::Grant(_) => LogKind::Grant,
            Self::Session(_) => LogKind::Session,
            Self::All => LogKind::All,
        }
    }

    /// What it names, as an entry has it.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Client(id) => id.as_str().as_bytes(),
            Self::Subject(subject) => subject.as_str().as_bytes(),
            Self::Grant(id) => id.as_bytes(),
            Self::Session(id) => id.as_bytes(),
            Self::All => &[],
        }
    }
}

/// All that a rule can name a token or a grant by.
#[derive(Debug, Clone, Copy)]
pub struct RuleKeys<'a> {
    pub slot: Option<&'a SlotKey>,
    pub client_id: &'a ClientId,
    pub subject: &'a Subject,
    pub session: Option<&'a SessionId>,
    pub grant: Option<&'a GrantId>,
    pub seen: Seen,
}

impl<'a> RuleKeys<'a> {
    /// A rule of this kind with this key ends it, unless it has seen the rule.
    pub fn iter(&self) -> impl Iterator<Item = (LogKind, &'a [u8])> + use<'a> {
        [
            (LogKind::Slot, self.slot.map(|key| key.as_bytes().as_slice())),
            (LogKind::Client, Some(self.client_id.as_str().as_bytes())),
            (LogKind::Subject, Some(self.subject.as_str().as_bytes())),
            (LogKind::All, Some(&[][..])),
            (LogKind::Grant, self.grant.map(|id| id.as_bytes().as_slice())),
            (LogKind::Session, self.session.map(|id| id.as_bytes().as_slice())),
        ]
        .into_iter()
        .filter_map(|(kind, key)| key.map(|key| (kind, key)))
    }
}

impl<'a> From<&'a AccessToken> for RuleKeys<'a> {
    fn from(token: &'a AccessToken) -> Self {
        Self {
            slot: Some(&token.slot),
            client_id: &token.client_id,
            subject: &token.subject,
            session: token.authority.session.as_ref(),
            grant: token.authority.grant.as_ref(),
            seen: token.authority.seen,
        }
    }
}

impl<'a> From<&'a Grant> for RuleKeys<'a> {
    fn from(grant: &'a Grant) -> Self {
        Self {
            slot: grant.slot.as_ref(),
            client_id: &grant.client_id,
            subject: &grant.subject,
            session: grant.session.as_ref(),
            grant: Some(&grant.id),
            seen: grant.seen,
        }
    }
}

/// One entry of the revocation log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub epoch: Epoch,
    pub position: Position,
    pub kind: LogKind,
    /// What `kind` names, as bytes: a token id, a slot key, the UTF-8 of a client id.
    pub key: Vec<u8>,
    /// When the last thing that the entry ends has expired by itself; the entry may be forgotten after it.
    pub keep_until: Timestamp,
}

impl LogEntry {
    pub const fn seen(&self) -> Seen {
        Seen { epoch: self.epoch, position: self.position }
    }
}

/// Where the log ends. The chain hash covers every entry so far, in order: two logs with the same head are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    pub epoch: Epoch,
    pub position: Position,
    pub chain: [u8; 32],
}

impl LogHead {
    /// The head of a log without entries.
    pub const EMPTY: Self = Self { epoch: Epoch(1), position: Position(0), chain: [0; 32] };

    pub const fn seen(&self) -> Seen {
        Seen { epoch: self.epoch, position: self.position }
    }

    /// The head that the entry makes of this one; nothing where the entry is not the next of this epoch.
    #[must_use]
    pub fn after(&self, entry: &LogEntry) -> Option<Self> {
        if entry.epoch != self.epoch || entry.position != self.position.next() {
            return None;
        }
        Some(self.append(entry.kind, entry.key.clone(), entry.keep_until).1)
    }

    /// The entry that follows this head, and the head that it makes.
    pub fn append(&self, kind: LogKind, key: Vec<u8>, keep_until: Timestamp) -> (LogEntry, Self) {
        let position = self.position.next();
        let mut hash = Sha256::new();
        hash.update(self.chain);
        hash.update(position.0.to_be_bytes());
        hash.update([kind.code()]);
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(&key);
        hash.update(keep_until.as_millis().to_be_bytes());
        let head = Self { epoch: self.epoch, position, chain: hash.finalize().into() };
        (LogEntry { epoch: self.epoch, position, kind, key, keep_until }, head)
    }
}

/// What a node is told when it asks how the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Where the log ended when this was read.
    pub head: LogHead,
    /// What follows the position that was asked for, in order, without what has been forgotten. Where there is more than
    /// was asked for, the page ends before the head.
    pub entries: Vec<LogEntry>,
    /// By the store's clock.
    pub now: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_have_no_gap_and_the_chain_tells_two_histories_apart() {
        let at = Timestamp::from_secs(1);
        let (first, head) = LogHead::EMPTY.append(LogKind::Token, vec![1], at);
        let (second, after) = head.append(LogKind::Client, vec![2], at);
        assert_eq!((first.position, second.position), (Position(1), Position(2)));
        let (_, other) = head.append(LogKind::Client, vec![3], at);
        assert_eq!(after.position, other.position);
        assert_ne!(after.chain, other.chain);
    }

    #[test]
    fn a_later_epoch_has_seen_more_than_any_position_of_an_earlier_one() {
        let late = Seen { epoch: Epoch(2), position: Position(0) };
        assert!(late > Seen { epoch: Epoch(1), position: Position(99) });
    }

    #[test]
    fn kinds_survive_their_code() {
        for kind in LogKind::ALL_KINDS {
            assert_eq!(LogKind::from_code(kind.code()), Some(kind));
        }
    }
}
