//! Two requests, on one node or on two, found a slot without a usable token, and each made one. The store lets one
//! win. Nothing of the loser has been answered yet, so the loser can be given the winner's token:
//!
//! 1. Write the token. If it is committed, that is the answer.
//! 2. The slot is held by another token. If that one is ACTIVE with enough life left, it is the answer: both callers
//!    hold the same token.
//! 3. Otherwise the holder has expired meanwhile, or was ended by a rule that the slot's row does not show. Name it as
//!    observed and write again: the store lets exactly that holder be displaced, and no other.
//! 4. After `retry_count` rounds give up: the caller is told to come back, and nothing was written.
//!
//! The same for a grant of slot binding `none`, which both would open:
//!
//! 1. Write the grant with its first token. If they are committed, they are the answer.
//! 2. A live grant holds the slot. The token that was made becomes a token of that grant, with that grant's authority,
//!    and asks for its slot as above: both callers hold the same pair.
//! 3. If a live token of yet another grant holds the token's slot, the grant that was joined is over by now and has a
//!    successor: begin again, rather than displace that one's token.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{AccessToken, ActiveTokenPolicy, Clock, Timestamp};
use grantry_store::{Issue, Opening, StoredToken, TokenWrite, WriteOutcome};
use metrics::counter;

use crate::group_commit::GroupCommit;
use crate::{Opened, Persisted, PersistenceError, unexpected};

pub async fn issue(
    commits: &GroupCommit,
    clock: &dyn Clock,
    retry_count: u32,
    mut issue: Arc<Issue>,
) -> Result<Persisted, PersistenceError> {
    for _ in 0..=retry_count {
        // 1.
        let holder = match commits.submit(TokenWrite::Issue(Arc::clone(&issue))).await? {
            WriteOutcome::Issued => return Ok(Persisted::Issued { deferred_by: None }),
            WriteOutcome::SlotHeld(holder) => holder,
            other => return Err(unexpected(&other).into()),
        };
        counter!("grantry_slot_conflicts_total", "mode" => "sync").increment(1);
        // 2.
        if holder.is_reusable(clock.now(), issue.min_life, issue.token.authority.grant) {
            counter!("grantry_recoveries_total", "mode" => "sync").increment(1);
            return Ok(Persisted::Winner(holder));
        }
        if is_of_another_grant(&holder, &issue, clock.now()) {
            return Err(PersistenceError::OtherGrant);
        }
        // 3.
        Arc::make_mut(&mut issue).observed = Some(holder.token.id);
    }
    // 4.
    counter!("grantry_slot_contended_total", "mode" => "sync").increment(1);
    Err(PersistenceError::SlotContended { attempts: retry_count + 1 })
}

pub async fn open(
    commits: &GroupCommit,
    clock: &dyn Clock,
    retry_count: u32,
    opening: Arc<Opening>,
    min_life: Duration,
) -> Result<Opened, PersistenceError> {
    for _ in 0..=retry_count {
        // 1.
        let grant = match commits.submit(TokenWrite::Open(Arc::clone(&opening))).await? {
            WriteOutcome::Opened => return Ok(Opened::New),
            WriteOutcome::GrantHeld(grant) => grant,
            other => return Err(unexpected(&other).into()),
        };
        counter!("grantry_slot_conflicts_total", "mode" => "sync").increment(1);
        // 2.
        let token = AccessToken { authority: grant.grant.authority(), ..opening.token.clone() };
        let policy = ActiveTokenPolicy::Reuse;
        let issue = Arc::new(Issue { token, policy, observed: None, min_life });
        match self::issue(commits, clock, retry_count, Arc::clone(&issue)).await {
            Ok(Persisted::Issued { .. }) => {
                return Ok(Opened::Joined { grant, token: Box::new(issue.token.clone()) });
            }
            Ok(Persisted::Winner(winner)) => {
                return Ok(Opened::Joined { grant, token: Box::new(winner.token) });
            }
            // 3.
            Err(PersistenceError::OtherGrant) => {}
            Err(error) => return Err(error),
        }
    }
    counter!("grantry_slot_contended_total", "mode" => "sync").increment(1);
    Err(PersistenceError::SlotContended { attempts: retry_count + 1 })
}

/// Whether the holder is a live token of a grant that is not the one behind `issue`.
fn is_of_another_grant(holder: &StoredToken, issue: &Issue, now: Timestamp) -> bool {
    let (own, other) = (issue.token.authority.grant, holder.token.authority.grant);
    own.is_some() && other.is_some() && own != other && holder.state(now).is_honoured()
}
