//! What clients were told, and what may follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use grantry_protocol::{AccessToken, ClientId, GrantId, Position, Timestamp, TokenId};
use grantry_store::Node;
use tokio::time::Instant;

/// How a token came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Issued { observed: Option<TokenId> },
    Opened,
    Refreshed,
}

/// A token that a request made, whether anybody was given it or not.
#[derive(Debug, Clone)]
pub struct Made {
    pub token: AccessToken,
    pub origin: Origin,
    /// The node, and which run of it.
    pub process: (usize, u32),
}

/// A token that a client has.
#[derive(Debug, Clone)]
pub struct Answered {
    pub token: AccessToken,
    /// It was only in the memory or on the disk of a node when that was lost.
    pub at_risk: bool,
}

#[derive(Debug, Default, Clone)]
pub struct GrantModel {
    /// The end was answered.
    pub over: bool,
    /// By whose refresh token which access tokens were answered, in order.
    pub spent: BTreeMap<u32, Vec<TokenId>>,
    /// The latest refresh token that a client has.
    pub counter: u32,
}

#[derive(Default)]
pub struct Knowledge {
    pub made: BTreeMap<TokenId, Made>,
    pub answered: BTreeMap<TokenId, Answered>,
    pub grants: BTreeMap<GrantId, GrantModel>,
    /// Whose end was answered.
    pub revoked: BTreeSet<TokenId>,
    /// Whose end was asked for.
    pub revoking: BTreeSet<TokenId>,
    /// Answered rules about clients.
    pub rules: Vec<(ClientId, Position)>,
    /// Unexpired tokens of which a node has said that they are not there.
    pub absent: BTreeSet<TokenId>,
    /// How many the store has refused for a while.
    pub poisoned: u64,
    pub violations: Vec<String>,
    pub counts: Counts,
    /// Clocks step by more than tokens live, so that the order of ids means little.
    pub wild_clocks: bool,
}

/// So that a test can tell that a run was about something.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub answered: u64,
    pub deferred: u64,
    pub reused: u64,
    pub refused: u64,
    pub revoked: u64,
    pub restarts: u64,
    pub unwritten: u64,
    pub inactive: u64,
    pub ended_early: u64,
    pub parked: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.deferred += other.deferred;
        self.reused += other.reused;
        self.refused += other.refused;
        self.revoked += other.revoked;
        self.restarts += other.restarts;
        self.unwritten += other.unwritten;
        self.inactive += other.inactive;
        self.ended_early += other.ended_early;
        self.parked += other.parked;
    }
}

pub struct Model {
    state: Mutex<Knowledge>,
    trace: Option<Mutex<Vec<String>>>,
    since: Instant,
}

impl Model {
    pub fn new(since: Instant, traced: bool) -> Self {
        Self { state: Mutex::default(), trace: traced.then(Mutex::default), since }
    }

    pub fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of the trace. Most runs have none: the one that fails is run again.
    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let at = self.since.elapsed().as_millis();
            trace.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{at:>9} {}", line()));
        }
    }

    pub fn trace(&self) -> Vec<String> {
        let Some(trace) = &self.trace else { return Vec::new() };
        trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn violation(&self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.knowledge().violations.push(what);
    }

    pub fn made(&self, token: &AccessToken, origin: Origin, process: (usize, u32)) {
        let made = Made { token: token.clone(), origin, process };
        self.knowledge().made.insert(token.id, made);
    }

    pub fn answered(&self, token: &AccessToken, node: usize) {
        self.note(|| format!("n{node}: answers {} deferred by {:?}", token.id, token.deferred_by));
        let mut known = self.knowledge();
        known.counts.answered += 1;
        known.counts.deferred += u64::from(token.deferred_by.is_some());
        let answered = Answered { token: token.clone(), at_risk: false };
        let before = known.answered.entry(token.id).or_insert_with(|| answered.clone());
        if before.token != *token {
            let what = format!("one token, two answers: {:?} and {token:?}", before.token);
            known.violations.push(what);
        }
    }

    /// What the node has answered and nobody else knows is gone, or may be.
    pub fn put_at_risk(&self, tokens: &[TokenId]) {
        let mut known = self.knowledge();
        for id in tokens {
            if let Some(answered) = known.answered.get_mut(id) {
                answered.at_risk = true;
            }
        }
    }

    /// Whether a client has it and may count on it.
    pub fn is_needed(&self, id: TokenId, now: Timestamp) -> bool {
        let known = self.knowledge();
        known.answered.get(&id).is_some_and(|answered| !answered.at_risk && answered.token.expires_at > now)
    }

    /// Whether nobody may honour it any more.
    pub fn is_over(&self, token: &AccessToken) -> bool {
        let known = self.knowledge();
        known.revoked.contains(&token.id)
            || token.authority.grant.is_some_and(|id| known.grants.get(&id).is_some_and(|grant| grant.over))
            || known
                .rules
                .iter()
                .any(|(client, at)| *client == token.client_id && *at > token.authority.seen.position)
    }

    /// The tokens of which the node's mark says that they have their row.
    pub fn promised(&self, node: &Node, now: Timestamp) -> Vec<TokenId> {
        let known = self.knowledge();
        let tokens = known.answered.values().filter(|answered| {
            !answered.at_risk
                && answered.token.deferred_by == node.number
                && node.number.is_some()
                && node.drained_below.is_some_and(|mark| answered.token.id < mark)
                && answered.token.expires_at > now
        });
        tokens.map(|answered| answered.token.id).collect()
    }

    /// A token has got its row, when its node's mark was this.
    pub fn settled(&self, id: TokenId, mark: Option<TokenId>) {
        let known = self.knowledge();
        let is_below = mark.is_some_and(|mark| id < mark);
        // A record whose sync failed comes back with the next start; nobody was told that the node has it.
        let is_known = known.answered.get(&id);
        let is_known =
            is_known.is_some_and(|answered| answered.token.deferred_by.is_some() && !answered.at_risk);
        drop(known);
        if is_below && is_known {
            self.violation(format!("{id} was written when the mark of its node was {mark:?} already"));
        }
    }
}
