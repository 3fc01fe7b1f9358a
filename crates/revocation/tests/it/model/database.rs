//! A primary and a standby: what each has of the log, and what a reader finds.

use grantry_protocol::{Epoch, LogEntry, LogHead, LogKind, LogPage, Position, Seen, Timestamp};

use super::scope::{End, Mutation, Scope, Standby};
use super::tokens;

const NOW: Timestamp = Timestamp::from_secs(1_000);
const KEEP_UNTIL: Timestamp = Timestamp::from_secs(9_000);

/// A set of the ends of a scope, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends(u8);

impl Ends {
    pub const NONE: Self = Self(0);

    pub fn insert(&mut self, end: usize) {
        self.0 |= 1 << end;
    }

    pub const fn contains(self, end: usize) -> bool {
        self.0 & (1 << end) != 0
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn except(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<usize> for Ends {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut ends = Self::NONE;
        numbers.into_iter().for_each(|end| ends.insert(end));
        ends
    }
}

impl Extend<usize> for Ends {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, numbers: I) {
        numbers.into_iter().for_each(|end| self.insert(end));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Written {
    pub end: usize,
    pub at: Seen,
    /// To readers; before that it is in the write-ahead log alone.
    pub visible: bool,
}

/// What one server has of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log {
    pub epoch: Epoch,
    pub entries: Vec<Written>,
}

impl Log {
    const EMPTY: Self = Self { epoch: Epoch(1), entries: Vec::new() };

    fn append(&mut self, end: usize, visible: bool) {
        let last = self.entries.iter().map(|written| written.at.position).max();
        let position = last.unwrap_or(Position(0)).next();
        self.entries.push(Written { end, at: Seen { epoch: self.epoch, position }, visible });
    }

    /// A transaction holds the head.
    fn is_pending(&self) -> bool {
        self.entries.iter().any(|written| !written.visible)
    }

    fn show(&mut self, end: usize) {
        for written in self.entries.iter_mut().filter(|written| written.end == end) {
            written.visible = true;
        }
    }

    pub fn has(&self, end: usize) -> bool {
        self.entries.iter().any(|written| written.end == end)
    }

    /// The numbers of what readers find.
    pub fn visible(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().filter(|written| written.visible).map(|written| written.end)
    }

    /// What readers find, as it is on its way to one.
    pub fn snapshot(&self) -> Self {
        Self {
            epoch: self.epoch,
            entries: self.entries.iter().filter(|written| written.visible).copied().collect(),
        }
    }

    pub fn page(&self, ends: &[End], after: Position) -> LogPage {
        let mut visible: Vec<_> = self.entries.iter().filter(|written| written.visible).collect();
        visible.sort_by_key(|written| written.at.position);
        let mut head = LogHead::EMPTY;
        let mut entries = Vec::new();
        for written in visible {
            let (kind, key) = names(ends[written.end]);
            head = LogHead { epoch: written.at.epoch, position: Position(written.at.position.0 - 1), ..head };
            let (entry, next) = head.append(kind, key, KEEP_UNTIL);
            entries.push(entry);
            head = next;
        }
        entries.retain(|entry| entry.position > after);
        LogPage { head: LogHead { epoch: self.epoch, ..head }, entries, now: NOW }
    }
}

pub fn names(end: End) -> (LogKind, Vec<u8>) {
    match end {
        End::Token(token) => (LogKind::Token, tokens::id(token).as_bytes().to_vec()),
        End::Rule => tokens::rule(),
    }
}

/// Which of them the entry is: of rules that name the same, the last that is in `known`.
pub fn end_of(entry: &LogEntry, ends: &[End], known: Ends) -> usize {
    let same = |&number: &usize| names(ends[number]) == (entry.kind, entry.key.clone());
    (0..ends.len())
        .filter(same)
        .max_by_key(|&number| (known.contains(number), number))
        .expect("nothing else was written")
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    /// The first primary, and its standby.
    servers: [Log; 2],
    /// The standby is the primary now. The first one goes on answering, but what it commits finds no quorum, or it is
    /// fenced off from writes.
    pub promoted: bool,
    /// A promotion has lost entries, and no node has said so yet.
    pub unrepaired: bool,
}

impl Database {
    pub const EMPTY: Self = Self { servers: [Log::EMPTY, Log::EMPTY], promoted: false, unrepaired: false };

    pub fn primary(&self) -> usize {
        usize::from(self.promoted)
    }

    /// A standby is not asked before it is promoted.
    pub fn readable(&self) -> impl Iterator<Item = usize> + use<> {
        0..=self.primary()
    }

    pub fn is_deposed(&self, server: usize) -> bool {
        self.promoted && server == 0
    }

    /// Where the end was written and not yet committed.
    pub fn server_of(&self, end: usize) -> Option<usize> {
        let waits = |log: &Log| log.entries.iter().any(|written| written.end == end && !written.visible);
        self.readable().find(|server| waits(&self.servers[*server]))
    }

    pub fn is_repaired(&self) -> bool {
        self.servers.iter().any(|log| log.epoch > Log::EMPTY.epoch)
    }

    pub fn log(&self, server: usize) -> &Log {
        &self.servers[server]
    }

    /// A transaction touches the head, last, and then commits; until that has ended it keeps the others waiting.
    pub fn begin(&mut self, end: usize, mutation: Option<Mutation>) -> bool {
        let primary = self.primary();
        let log = &mut self.servers[primary];
        let begins = mutation == Some(Mutation::SequencePositions) || !log.is_pending();
        if begins {
            log.append(end, false);
        }
        begins
    }

    /// The standby receives the next entry.
    pub fn ship(&mut self) -> bool {
        let [first, standby] = &mut self.servers;
        let next = first.entries.get(standby.entries.len()).filter(|_| !self.promoted);
        standby.entries.extend(next);
        next.is_some()
    }

    /// A commit succeeds at the primary. The write-ahead log is in order: a synchronous standby that has a commit has
    /// all that was written before it.
    pub fn commit(&mut self, scope: &Scope) {
        if scope.standby == Standby::Synchronous {
            while self.ship() {}
        }
    }

    pub fn show(&mut self, server: usize, end: usize) {
        self.servers[server].show(end);
    }

    /// Gives the numbers of what was committed and is lost.
    pub fn promote(&mut self, scope: &Scope) -> Ends {
        self.promoted = true;
        let [first, standby] = &mut self.servers;
        let lost: Ends = first.visible().filter(|&end| !standby.has(end)).collect();
        standby.entries.iter_mut().for_each(|written| written.visible = true);
        self.unrepaired = scope.standby == Standby::Asynchronous && !lost.is_empty();
        lost
    }

    /// A node appends what the log lacks, if that still ends where the node has read it to end.
    pub fn merge(
        &mut self,
        server: usize,
        from: LogHead,
        scope: &Scope,
        ends: &[usize],
        raises_epoch: bool,
    ) -> bool {
        let head = self.servers[server].page(&scope.ends, Position(0)).head;
        if server != self.primary() || self.servers[server].is_pending() || head != from {
            return false;
        }
        let log = &mut self.servers[server];
        if raises_epoch {
            log.epoch = Epoch(log.epoch.0 + 1);
        }
        ends.iter().for_each(|end| log.append(*end, true));
        self.unrepaired = false;
        true
    }
}
