//! The store's end of the network: everything that reaches it passes here, is written down for a replay on another
//! store, and is checked against what the drain marks promise.

use std::sync::{Arc, Mutex, PoisonError};

use grantry_protocol::{Clock, Seen, Timestamp, TokenId};
use grantry_store::{
    MemoryStore, Node, NodeId, Result, RuleAppend, Settlement, Store, StoreError, TokenWrite, WriteOutcome,
};

use super::clock::SkewedClock;
use super::model::Model;
use super::mutants::{Mutant, Mutation};
use super::random::Random;
use super::weather::Weather;

/// What reached the store, in the order of the commits.
#[derive(Debug, Clone)]
pub struct Commit {
    /// On the store's clock.
    pub at: Timestamp,
    pub deed: Deed,
}

#[derive(Debug, Clone)]
pub enum Deed {
    Register(NodeId, Node),
    Append(RuleAppend, Seen),
    Write(Vec<TokenWrite>, Vec<WriteOutcome>),
}

pub struct FarEnd {
    pub store: Arc<dyn Store>,
    pub clock: Arc<SkewedClock>,
    pub weather: Weather,
    pub random: Arc<Random>,
    pub model: Arc<Model>,
    mutation: Mutation,
    commits: Mutex<Vec<Commit>>,
}

impl FarEnd {
    pub fn new(
        clock: Arc<SkewedClock>,
        random: Arc<Random>,
        model: Arc<Model>,
        mutant: Option<Mutant>,
    ) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let mutation = Mutation::new(mutant, Arc::clone(&store), Arc::clone(&clock));
        Self { store, clock, weather: Weather::default(), random, model, mutation, commits: Mutex::default() }
    }

    pub async fn write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        if batch.iter().any(|write| token_of(write).is_some() && token_of(write) == self.weather.poisoned()) {
            return Err(StoreError::Rejected("the batch is poisoned".to_owned()));
        }
        let (altered, forged) = self.mutation.alter(&batch).await;
        let outcomes = self.store.token_write(altered).await?;
        let outcomes = self.mutation.restore(&batch, outcomes, forged);
        self.look(&batch, &outcomes).await?;
        self.record(Deed::Write(batch, outcomes.clone()));
        Ok(outcomes)
    }

    pub async fn register(&self, id: NodeId) -> Result<Node> {
        let node = self.store.node_register(id).await?;
        self.record(Deed::Register(id, node));
        Ok(node)
    }

    pub async fn append(&self, append: RuleAppend) -> Result<Seen> {
        let seen = self.store.revocation_append(append.clone()).await?;
        self.model.note(|| format!("store: {} is at {:?}", append.rule.kind().code(), seen.position));
        self.record(Deed::Append(append, seen));
        Ok(seen)
    }

    pub fn commits(&self) -> Vec<Commit> {
        std::mem::take(&mut *self.commits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, deed: Deed) {
        let commit = Commit { at: self.clock.now(), deed };
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).push(commit);
    }

    fn count(&self, outcomes: &[WriteOutcome]) {
        let mut known = self.model.knowledge();
        for outcome in outcomes {
            let WriteOutcome::Settled(settlement) = outcome else { continue };
            known.counts.inactive +=
                u64::from(matches!(settlement, Settlement::Inactive | Settlement::ActiveAfter(_)));
            known.counts.ended_early += u64::from(*settlement == Settlement::Revoked);
        }
    }

    /// A mark that the store has is true at once, and stays it.
    async fn look(&self, batch: &[TokenWrite], outcomes: &[WriteOutcome]) -> Result<()> {
        let nodes = self.store.node_list().await?;
        self.count(outcomes);
        for (write, outcome) in batch.iter().zip(outcomes) {
            self.model.note(|| format!("store: {} -> {}", describe(write), short(outcome)));
            match (write, outcome) {
                (TokenWrite::Settle(issue), WriteOutcome::Settled(settlement))
                    if !matches!(settlement, Settlement::AlreadyWritten | Settlement::Expired) =>
                {
                    let number = issue.token.deferred_by;
                    let mark =
                        nodes.iter().find(|node| node.number == number).and_then(|node| node.drained_below);
                    self.model.settled(issue.token.id, mark);
                }
                (TokenWrite::Heartbeat { node, .. }, _) => {
                    let Some(node) = nodes.iter().find(|row| row.id == *node) else { continue };
                    for id in self.model.promised(node, self.clock.now()) {
                        if self.store.token_find(id).await?.is_none() {
                            let mark = node.drained_below;
                            self.model
                                .violation(format!("{id} has no row, and the mark of its node is {mark:?}"));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn token_of(write: &TokenWrite) -> Option<TokenId> {
    match write {
        TokenWrite::Issue(issue) | TokenWrite::Settle(issue) => Some(issue.token.id),
        _ => None,
    }
}

fn describe(write: &TokenWrite) -> String {
    match write {
        TokenWrite::Issue(issue) => format!("issue {} {:?}", issue.token.id, issue.token.slot),
        TokenWrite::Settle(issue) => format!("settle {} {:?}", issue.token.id, issue.token.slot),
        TokenWrite::EndSlot(end) => format!("end {:?} before {}", end.token.slot, end.token.id),
        TokenWrite::Open(opening) => format!("open {} with {}", opening.grant.id, opening.token.id),
        TokenWrite::Rotate(rotation) => {
            format!("rotate {} from {} to {}", rotation.grant, rotation.presented, rotation.token.id)
        }
        TokenWrite::Revoke { id, .. } => format!("revoke {id}"),
        TokenWrite::RevokeGrant { id, .. } => format!("revoke grant {id}"),
        TokenWrite::ConsumeAssertion { .. } => "consume an assertion".to_owned(),
        TokenWrite::Heartbeat { node, drained_below } => {
            format!("heartbeat {:02x} {drained_below:?}", node.0[0])
        }
    }
}

fn short(outcome: &WriteOutcome) -> String {
    match outcome {
        WriteOutcome::SlotHeld(holder) => format!("held by {}", holder.token.id),
        WriteOutcome::GrantHeld(holder) => format!("held by {}", holder.grant.id),
        other => format!("{other:?}"),
    }
}
