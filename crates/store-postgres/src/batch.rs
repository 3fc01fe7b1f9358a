//! Which way a batch of token writes goes. Nearly all are nothing but tokens that ask for slots which nobody else wants:
//! one round trip, COMMIT included (`issue.rs`). What that leaves over, and everything else, is decided about in two
//! (`transaction.rs`).
//!
//! What is left over follows in a transaction of its own. Should that fail, the first part stays written: each write is
//! answered as before when it is repeated.

use grantry_protocol::{NodeNumber, Timestamp, TokenId};
use grantry_store::{
    Issue, IssueDecision, Result as StoreResult, Settlement, StoredToken, TokenWrite, WriteOutcome,
    decide_issue,
};
use uuid::Uuid;

use crate::PostgresStore;
use crate::columns::uuid;
use crate::issue::{Asking, first_of_slots, tokens_issue, tokens_settle};
use crate::link::Begin;
use crate::nodes::{NodesNamed, nodes_lock};
use crate::pipeline::pipelined;
use crate::slots::slots_select;
use crate::store::{reading, transact};
use crate::tokens::{holders_find, tokens_find};
use crate::transaction::{decide, moment_select};

type Outcomes = Vec<Option<WriteOutcome>>;

impl PostgresStore {
    pub(crate) async fn write_batch(&self, batch: &[TokenWrite]) -> StoreResult<Vec<WriteOutcome>> {
        let mut outcomes: Outcomes = vec![None; batch.len()];
        match Asking::of(batch) {
            Some(Asking::Issues(issues)) => self.issue(&issues, &mut outcomes).await?,
            Some(Asking::Settlements(issues)) => self.settle(&issues, &mut outcomes).await?,
            None => {}
        }
        let open = outcomes.iter().zip(batch).filter(|(outcome, _)| outcome.is_none());
        let left_over: Vec<TokenWrite> = open.map(|(_, write)| write.clone()).collect();
        let mut decided = self.decide_in_order(&left_over).await?.into_iter();
        Ok(outcomes.into_iter().filter_map(|outcome| outcome.or_else(|| decided.next())).collect())
    }

    /// Answers those that get their slots, and those that find one held by another.
    async fn issue(&self, issues: &[(usize, &Issue)], outcomes: &mut Outcomes) -> StoreResult<()> {
        let first = first_of_slots(issues);
        let partitions: Vec<_> = first.iter().map(|(_, issue)| lifetime(issue)).collect();
        let won = transact!(self, |link| {
            self.partitions.cover(link, &partitions).await?;
            let ((), won, ()) = pipelined!(
                link.begin(Begin::Write),
                tokens_issue(link, &first, self.time.param()),
                link.commit()
            )?;
            Ok(won)
        })?;
        let (won, lost): (Vec<_>, Vec<_>) =
            issues.iter().partition(|(_, issue)| won.contains(&issue.token.id));
        for (place, _) in won {
            outcomes[place] = Some(WriteOutcome::Issued);
        }
        if lost.is_empty() {
            return Ok(());
        }
        self.yield_to_holders(&lost, outcomes).await
    }

    /// What `decide_issue` says of those that have been written before, and of those whose slot has a holder that stays.
    async fn yield_to_holders(&self, lost: &[(usize, &Issue)], outcomes: &mut Outcomes) -> StoreResult<()> {
        let ids: Vec<Uuid> = lost.iter().map(|(_, issue)| uuid(issue.token.id.as_bytes())).collect();
        let slots: Vec<&[u8]> =
            lost.iter().map(|(_, issue)| issue.token.slot.as_bytes().as_slice()).collect();
        let (written, rows, holders, moment) = reading!(self, |link| {
            pipelined!(
                tokens_find(link, &ids),
                slots_select(link, &slots, &[]),
                holders_find(link, &slots),
                moment_select(link, self.time.param()),
            )
        })?;
        let written: Vec<usize> = written.into_iter().map(|(place, _)| place).collect();
        let holder_of = |place: usize| -> Option<&StoredToken> {
            holders.iter().find(|(of, _)| *of == place).map(|(_, holder)| holder)
        };
        for (place, (into, issue)) in lost.iter().enumerate() {
            let row = rows.iter().find(|row| row.slot == issue.token.slot).map(|row| row.holder);
            let decision = decide_issue(issue, written.contains(&place), row, moment.now);
            outcomes[*into] = match (decision, holder_of(place)) {
                (IssueDecision::AlreadyWritten, _) => Some(WriteOutcome::Issued),
                (IssueDecision::YieldTo(id), Some(holder)) if holder.token.id == id => {
                    Some(WriteOutcome::SlotHeld(Box::new(holder.clone())))
                }
                _ => None,
            };
        }
        Ok(())
    }

    /// Answers those that get their slots without contest.
    async fn settle(&self, issues: &[(usize, &Issue)], outcomes: &mut Outcomes) -> StoreResult<()> {
        let first = first_of_slots(issues);
        let partitions: Vec<_> = first.iter().map(|(_, issue)| lifetime(issue)).collect();
        let number = |number: NodeNumber| i16::from(number.get());
        let mut nodes: Vec<i16> =
            first.iter().filter_map(|(_, issue)| issue.token.deferred_by.map(number)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let nodes = NodesNamed { settled: nodes, ..NodesNamed::default() };
        let won = transact!(self, |link| {
            self.partitions.cover(link, &partitions).await?;
            // A token that is revoked before it is written: either the revocation waits and finds the row, or this
            // statement, which begins after the lock, finds the early end.
            let ((), (), won, ()) = pipelined!(
                link.begin(Begin::Write),
                nodes_lock(link, &nodes),
                tokens_settle(link, &first, self.time.param()),
                link.commit()
            )?;
            Ok(won)
        })?;
        for (place, _) in first.iter().filter(|(_, issue)| won.contains(&issue.token.id)) {
            outcomes[*place] = Some(WriteOutcome::Settled(Settlement::Active));
        }
        Ok(())
    }

    /// What ends a slot holds the log from before it reads its rules. It goes by itself, so that nothing else that it might
    /// have to wait for meanwhile is held by somebody who waits for the log.
    async fn decide_in_order(&self, batch: &[TokenWrite]) -> StoreResult<Vec<WriteOutcome>> {
        let ends_slot = |write: &TokenWrite| matches!(write, TokenWrite::EndSlot(_));
        let mut outcomes = Vec::with_capacity(batch.len());
        for alike in batch.chunk_by(|left, right| ends_slot(left) == ends_slot(right)) {
            outcomes.extend(self.decide_and_write(alike).await?);
        }
        Ok(outcomes)
    }

    async fn decide_and_write(&self, batch: &[TokenWrite]) -> StoreResult<Vec<WriteOutcome>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let tokens: Vec<_> = batch.iter().filter_map(token_lifetime).collect();
        transact!(self, |link| {
            self.partitions.cover(link, &tokens).await?;
            let decided = decide(link, batch, self.time.param()).await?;
            let written = decided.carry_out(link).await;
            if let Err(error) = &written
                && error.needs_partition()
            {
                link.rollback().await?;
                self.partitions.forget();
                self.partitions.cover_log(link, &decided.entries_until()).await?;
            }
            Ok(written?)
        })
    }
}

fn lifetime(issue: &Issue) -> (TokenId, Timestamp) {
    (issue.token.id, issue.token.expires_at)
}

fn token_lifetime(write: &TokenWrite) -> Option<(TokenId, Timestamp)> {
    let token = match write {
        TokenWrite::Issue(issue) | TokenWrite::Settle(issue) => &issue.token,
        TokenWrite::Open(opening) => &opening.token,
        TokenWrite::Rotate(rotation) if !rotation.is_stored => return None,
        TokenWrite::Rotate(rotation) => &rotation.token,
        TokenWrite::EndSlot(_)
        | TokenWrite::Revoke { .. }
        | TokenWrite::RevokeGrant { .. }
        | TokenWrite::ConsumeAssertion { .. }
        | TokenWrite::Heartbeat { .. } => return None,
    };
    Some((token.id, token.expires_at))
}
