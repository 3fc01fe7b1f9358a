//! The revocation log as look-ups: has this token been ended, was this client changed since?

mod names;
mod reading;

use std::collections::{BTreeMap, HashMap};

use grantry_protocol::{
    ClientId, LogEntry, LogHead, LogKind, LogPage, Position, RuleKeys, Seen, Timestamp, TokenId,
};

use self::names::{Known, Names};
pub use self::reading::Reading;

/// What the log has ended, up to a head. An entry is forgotten once all that it could end has expired.
#[derive(Debug, Clone)]
pub struct Index {
    head: LogHead,
    /// What has seen this rule is ended by none.
    last_rule: Seen,
    tokens: HashMap<TokenId, Known>,
    names: Names,
    /// What may be forgotten when.
    due: BTreeMap<Timestamp, Vec<Due>>,
}

#[derive(Debug, Clone)]
enum Due {
    Token(TokenId),
    Name(LogKind, Box<[u8]>),
}

/// How far a page has brought the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// The index has all that the log had when the page was read.
    ToTheEnd,
    /// The page was full; there is more.
    PartOfTheWay,
}

/// Why a page does not continue what the index has. Nothing of it was taken in but ends, and those are ends in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// Entries that were not read are forgotten by now: this node was away for long.
    Forgotten,
    /// The log has gone on in a later epoch: after a restore, or after another node has found entries lost.
    NewEpoch,
    /// The log lacks what this node has read from it, or has something else in its place: a standby was promoted that
    /// lacked it.
    Lost,
}

impl Index {
    fn empty(head: LogHead) -> Self {
        Self {
            head,
            last_rule: Seen::NOTHING,
            tokens: HashMap::new(),
            names: Names::default(),
            due: BTreeMap::new(),
        }
    }

    pub const fn head(&self) -> LogHead {
        self.head
    }

    /// How much of the log is in here; what is made of something that was read after this was asked for carries it.
    pub const fn seen(&self) -> Seen {
        self.head.seen()
    }

    /// How many ends are remembered.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an entry has ended the token: by its id, or by a rule that is later than what it has seen.
    pub fn is_ended(&self, id: TokenId, keys: &RuleKeys<'_>) -> bool {
        self.tokens.contains_key(&id) || self.is_ended_by_rule(keys)
    }

    pub fn is_ended_by_rule(&self, keys: &RuleKeys<'_>) -> bool {
        self.last_rule > keys.seen
            && keys.iter().any(|(kind, key)| self.names.last(kind, key).is_some_and(|at| at > keys.seen))
    }

    /// Whether a copy of the client may be out of date that was read when the log ended at `seen`.
    pub fn client_changed_since(&self, id: &ClientId, seen: Seen) -> bool {
        let changes = [LogKind::ClientChanged, LogKind::Client];
        changes
            .into_iter()
            .any(|kind| self.names.last(kind, id.as_str().as_bytes()).is_some_and(|at| at > seen))
    }

    /// Takes in how the log goes on.
    ///
    /// # Errors
    /// Where the page does not continue what is in here; then the log has to be read anew.
    pub fn follow(&mut self, page: &LogPage) -> Result<Followed, Interrupted> {
        if page.head.epoch != self.head.epoch {
            return Err(if page.head.epoch > self.head.epoch {
                Interrupted::NewEpoch
            } else {
                Interrupted::Lost
            });
        }
        if page.head.position < self.head.position {
            return Err(Interrupted::Lost);
        }
        for entry in &page.entries {
            if entry.position > page.head.position {
                break;
            }
            let head = self.head.after(entry).ok_or(Interrupted::Forgotten)?;
            self.learn(entry);
            self.head = head;
        }
        if self.head == page.head {
            return Ok(Followed::ToTheEnd);
        }
        match (self.head.position == page.head.position, page.entries.is_empty()) {
            (true, _) => Err(Interrupted::Lost),
            (false, true) => Err(Interrupted::Forgotten),
            (false, false) => Ok(Followed::PartOfTheWay),
        }
    }

    /// Every end that is remembered: what names it, where it stands in the log, and until when it has to be known.
    pub fn ends(&self) -> impl Iterator<Item = (LogKind, &[u8], Seen, Timestamp)> {
        let tokens = self.tokens.iter().map(|(id, known)| (LogKind::Token, &id.as_bytes()[..], *known));
        let names = self.names.iter().filter(|(kind, ..)| kind.is_rule());
        tokens.chain(names).map(|(kind, key, known)| (kind, key, known.at, known.keep_until))
    }

    /// What is remembered here and not in `log`, and could still end something at `now`: to be appended to it.
    pub fn missing_from(&self, log: &Self, now: Timestamp) -> Vec<LogEntry> {
        // Whatever an entry ends was made before it, so a later rule about everything ends it, too.
        let last_of_all = log.names.last(LogKind::All, &[]);
        let tokens = self.tokens.iter().filter(|(id, _)| !log.tokens.contains_key(*id));
        let tokens = tokens.map(|(id, known)| known.entry(LogKind::Token, id.as_bytes()));
        let names =
            self.names.iter().filter(|(kind, key, known)| log.names.last(*kind, key) < Some(known.at));
        let names = names.map(|(kind, key, known)| known.entry(kind, key));
        let still_ends = |entry: &LogEntry| entry.keep_until > now && last_of_all <= Some(entry.seen());
        let mut missing: Vec<_> = tokens.chain(names).filter(still_ends).collect();
        missing.sort_by_key(LogEntry::seen);
        missing
    }

    /// Goes on from `log`, without forgetting what that lacks.
    pub fn adopt(&mut self, log: Self, now: Timestamp) {
        let kept = self.missing_from(&log, now);
        *self = log;
        kept.iter().for_each(|entry| self.learn(entry));
    }

    /// Drops what could only end things that have expired by `now`.
    pub fn forget(&mut self, now: Timestamp) {
        while let Some(first) = self.due.first_entry() {
            if *first.key() > now {
                break;
            }
            for due in first.remove() {
                match due {
                    Due::Token(id) => {
                        if self.tokens.get(&id).is_some_and(|known| known.keep_until <= now) {
                            self.tokens.remove(&id);
                        }
                    }
                    Due::Name(kind, key) => self.names.forget(kind, &key, now),
                }
            }
        }
    }

    fn learn(&mut self, entry: &LogEntry) {
        let known = Known { at: entry.seen(), keep_until: entry.keep_until };
        let due = match (entry.kind, entry.key.as_slice().try_into().map(TokenId::from_bytes)) {
            (LogKind::Token, Ok(id)) => {
                let kept = self.tokens.entry(id).or_insert(known);
                *kept = kept.and(known);
                Due::Token(id)
            }
            _ => {
                self.names.learn(entry.kind, &entry.key, known);
                Due::Name(entry.kind, entry.key.as_slice().into())
            }
        };
        if entry.kind.is_rule() {
            self.last_rule = self.last_rule.max(known.at);
        }
        self.due.entry(rounded_up(entry.keep_until)).or_default().push(due);
    }
}

/// To the second: there are few different times to look after.
fn rounded_up(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_add(999)).truncated_to_secs()
}

/// The position after which a page that continues the index begins.
impl From<&Index> for Position {
    fn from(index: &Index) -> Self {
        index.head.position
    }
}

#[cfg(test)]
mod tests;
