//! Wrong ways to do it, put between the shipped code and the store or the disk: the simulator is worth something only
//! if it finds each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grantry_protocol::{ActiveTokenPolicy, Clock, Position, Timestamp, TokenId};
use grantry_store::{Issue, RevokeOutcome, Settlement, Store, StoredToken, TokenWrite, WriteOutcome};

use super::clock::{SkewedClock, pass};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A retry writes the token under a new id.
    NewIdEachAttempt,
    /// Of two tokens of a slot the one that is written last wins.
    WinnerByOrder,
    /// Who gets the slot is decided from what was read before, without a lock.
    StaleDecision,
    /// The last record of the journal is gone after a restart.
    LostTail,
    /// That a token was ended before it had a row is answered, and not written down.
    ForgottenEarlyEnd,
    /// The drain mark does not wait for the queue.
    EarlyMark,
}

pub struct Mutation {
    mutant: Option<Mutant>,
    store: Arc<dyn Store>,
    clock: Arc<SkewedClock>,
    attempts: Mutex<BTreeMap<TokenId, u8>>,
}

/// Which outcomes of a batch are not the store's own.
pub type Forged = Vec<bool>;

impl Mutation {
    pub fn new(mutant: Option<Mutant>, store: Arc<dyn Store>, clock: Arc<SkewedClock>) -> Self {
        Self { mutant, store, clock, attempts: Mutex::default() }
    }

    pub async fn alter(&self, batch: &[TokenWrite]) -> (Vec<TokenWrite>, Forged) {
        if self.mutant == Some(Mutant::StaleDecision) {
            return (self.decide_early(batch).await, vec![false; batch.len()]);
        }
        let mut altered = Vec::with_capacity(batch.len());
        let mut forged = Vec::with_capacity(batch.len());
        for write in batch {
            let other = self.altered(write).await;
            forged.push(other.is_some());
            altered.push(other.unwrap_or_else(|| write.clone()));
        }
        (altered, forged)
    }

    /// Answers for the writes that were altered as if they had not been.
    pub fn restore(
        &self,
        batch: &[TokenWrite],
        outcomes: Vec<WriteOutcome>,
        forged: Forged,
    ) -> Vec<WriteOutcome> {
        let answers = batch.iter().zip(outcomes).zip(forged);
        answers
            .map(|((write, outcome), forged)| match (write, &outcome) {
                (TokenWrite::Settle(_), WriteOutcome::Issued) => WriteOutcome::Settled(Settlement::Active),
                (TokenWrite::Revoke { .. }, WriteOutcome::Revoked(RevokeOutcome::Unknown)) if forged => {
                    WriteOutcome::Revoked(RevokeOutcome::Revoked(Position(0)))
                }
                _ => outcome,
            })
            .collect()
    }

    async fn altered(&self, write: &TokenWrite) -> Option<TokenWrite> {
        match (self.mutant?, write) {
            (Mutant::NewIdEachAttempt, TokenWrite::Settle(issue)) => {
                let attempt = self.count(issue.token.id)?;
                let mut issue = Issue::clone(issue);
                let mut bytes = *issue.token.id.as_bytes();
                bytes[TokenId::LEN - 1] = bytes[TokenId::LEN - 1].wrapping_add(attempt);
                issue.token.id = TokenId::from_bytes(bytes);
                Some(TokenWrite::Settle(Arc::new(issue)))
            }
            (Mutant::WinnerByOrder, TokenWrite::Settle(issue)) => {
                let holder = self.holder(issue).await?;
                let is_earlier = holder.token.id > issue.token.id
                    && holder.state(self.now()).is_honoured()
                    && self.store.token_find(issue.token.id).await.unwrap().is_none();
                let issue = Issue { policy: ActiveTokenPolicy::Replace, ..Issue::clone(issue) };
                is_earlier.then(|| TokenWrite::Issue(Arc::new(issue)))
            }
            (Mutant::ForgottenEarlyEnd, TokenWrite::Revoke { id, unwritten: Some(_), audit }) => {
                Some(TokenWrite::Revoke { id: *id, unwritten: None, audit: audit.clone() })
            }
            (Mutant::EarlyMark, TokenWrite::Heartbeat { node, drained_below: Some(_) }) => {
                let drained_below = Some(TokenId::lower_bound(self.now()));
                Some(TokenWrite::Heartbeat { node: *node, drained_below })
            }
            _ => None,
        }
    }

    /// A slot that was free when it was looked at is taken, whoever has it by now.
    async fn decide_early(&self, batch: &[TokenWrite]) -> Vec<TokenWrite> {
        let mut decided = Vec::with_capacity(batch.len());
        for write in batch {
            let (TokenWrite::Issue(issue) | TokenWrite::Settle(issue)) = write else {
                decided.push(write.clone());
                continue;
            };
            let blind = Arc::new(Issue { policy: ActiveTokenPolicy::Multiple, ..Issue::clone(issue) });
            decided.push(match (self.holder(issue).await, write) {
                (None, TokenWrite::Issue(_)) => TokenWrite::Issue(blind),
                (None, _) => TokenWrite::Settle(blind),
                (Some(_), _) => write.clone(),
            });
        }
        pass(Duration::from_millis(20)).await;
        decided
    }

    async fn holder(&self, issue: &Issue) -> Option<StoredToken> {
        self.store.token_find_holder(issue.token.slot).await.unwrap()
    }

    /// `None` for the first.
    fn count(&self, id: TokenId) -> Option<u8> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(id).or_default();
        let before = *attempt;
        *attempt += 1;
        (before > 0).then_some(before)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
