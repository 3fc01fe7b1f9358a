//! A node: the shipped index, how old its proof is, and the probe on its way.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use grantry_protocol::{LogEntry, LogHead, LogPage, Position, Seen, Timestamp};
use grantry_revocation::{Followed, Index, Interrupted, Reading};

use super::database::{Ends, Log};
use super::scope::{Mutation, Scope};
use super::time::Age;
use super::tokens::{self, Authority};

const NOW: Timestamp = Timestamp::from_secs(1_000);

/// The shipped index. States are told apart by what is in it.
#[derive(Debug, Clone)]
pub struct Applied {
    index: Arc<Index>,
    contents: Arc<Contents>,
}

/// The head of the log, and each entry by its kind and key.
type Contents = (Seen, [u8; 32], Vec<(Seen, u8, Vec<u8>)>);

impl Applied {
    pub fn seen(&self) -> Seen {
        self.index.seen()
    }

    pub fn is_ended(&self, token: usize, authority: &Authority) -> bool {
        self.index.is_ended(tokens::id(token), &tokens::rule_keys(authority.seen))
    }

    fn to_index(&self) -> Index {
        Index::clone(&self.index)
    }
}

impl From<Index> for Applied {
    fn from(index: Index) -> Self {
        let nothing = whole(&LogPage { head: LogHead::EMPTY, entries: Vec::new(), now: NOW });
        let entries = index.missing_from(&nothing, NOW);
        let mut entries: Vec<_> =
            entries.into_iter().map(|entry| (entry.seen(), entry.kind.code(), entry.key)).collect();
        entries.sort();
        Self { contents: Arc::new((index.seen(), index.head().chain, entries)), index: Arc::new(index) }
    }
}

impl PartialEq for Applied {
    fn eq(&self, other: &Self) -> bool {
        self.contents == other.contents
    }
}

impl Eq for Applied {}

impl PartialOrd for Applied {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Applied {
    fn cmp(&self, other: &Self) -> Ordering {
        self.contents.cmp(&other.contents)
    }
}

impl Hash for Applied {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.contents.hash(state);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    Awaited,
    /// The server has read this. Whether it has committed the node's write, the node learns with the answer; where that
    /// finds no quorum, none comes.
    Read {
        server: usize,
        log: Log,
        committed: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    pub sent: Age,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub applied: Option<Applied>,
    pub proof: Age,
    pub probe: Option<Probe>,
    /// What it has taken in since its start; known to the model alone.
    pub known: Ends,
}

/// What a node has found that a log lacks.
pub struct Repair {
    pub from: LogHead,
    pub raises_epoch: bool,
    pub entries: Vec<LogEntry>,
    /// The log as it was read.
    pub index: Index,
}

impl Node {
    pub const STARTED: Self = Self { applied: None, proof: Age::OLD, probe: None, known: Ends::NONE };

    pub fn age(&mut self) {
        self.proof = self.proof.older();
        if let Some(probe) = &mut self.probe {
            probe.sent = probe.sent.older();
        }
    }

    /// Takes in what a probe has read that was sent so long ago. What the log lacks has to be given back to it first; the
    /// next probe then finds the new epoch.
    pub fn take_in(
        &mut self,
        log: &Log,
        sent: Age,
        scope: &Scope,
        mutation: Option<Mutation>,
    ) -> Option<Repair> {
        let page_after = |after| log.page(&scope.ends, after);
        let Some(applied) = &self.applied else {
            return self.prove(whole(&page_after(Position(0))), log, sent);
        };
        let mut index = applied.to_index();
        let page = page_after(index.head().position);
        if matches!(mutation, Some(Mutation::SequencePositions | Mutation::NoChain)) {
            index.adopt(whole(&page), NOW);
            return self.prove(index, log, sent);
        }
        let interrupted = match index.follow(&page) {
            Ok(Followed::ToTheEnd) => return self.prove(index, log, sent),
            Ok(Followed::PartOfTheWay) => unreachable!("pages have no limit here"),
            Err(interrupted) => interrupted,
        };
        let read_anew = whole(&page_after(Position(0)));
        if mutation == Some(Mutation::LostIsForgotten) {
            return self.prove(read_anew, log, sent);
        }
        let entries = index.missing_from(&read_anew, NOW);
        if interrupted != Interrupted::Lost && entries.is_empty() {
            index.adopt(read_anew, NOW);
            return self.prove(index, log, sent);
        }
        self.applied = Some(index.into());
        let raises_epoch = interrupted == Interrupted::Lost;
        Some(Repair { from: page.head, raises_epoch, entries, index: read_anew })
    }

    /// Puts a log together from two servers, without any proof.
    pub fn read_plainly(&mut self, head: &Log, entries: &Log, scope: &Scope) {
        let page_of = |log: &Log| log.page(&scope.ends, Position(0));
        let mut reading = Reading::from(page_of(head).head);
        if !reading.take(&page_of(entries).entries) {
            assert!(reading.take(&[]), "nothing more is found");
        }
        self.applied = Some(reading.finish().into());
    }

    /// Goes on from a log that it has read and given back what it lacked. That proves nothing.
    pub fn adopt(&mut self, index: Index, log: &Log) {
        let mut applied = self.applied.as_ref().expect("it has found something missing").to_index();
        applied.adopt(index, NOW);
        self.applied = Some(applied.into());
        self.known.extend(log.visible());
    }

    /// There is nothing to repair.
    fn prove(&mut self, index: Index, log: &Log, sent: Age) -> Option<Repair> {
        self.applied = Some(index.into());
        self.proof = self.proof.min(sent);
        self.known.extend(log.visible());
        None
    }
}

/// The index of a whole log in one page.
pub fn whole(page: &LogPage) -> Index {
    let mut reading = Reading::from(page.head);
    assert!(reading.take(&page.entries), "the page has all of the log");
    reading.finish()
}

/// Whether a reader of the log would find the token ended.
pub fn is_ended_by(log: &Log, scope: &Scope, token: usize, authority: &Authority) -> bool {
    Applied::from(whole(&log.page(&scope.ends, Position(0)))).is_ended(token, authority)
}
