//! A token is answered when it stands in the journal, so by the time two of them meet in the store both are with
//! clients, and both get a row. On the way there:
//!
//! 1. Claim the slot among the tokens that this node has answered and not written yet. If there is none, the journal
//!    takes the token, and that is the answer.
//! 2. If there is one, wait until the journal has it and ask the store what it will be. If it is ACTIVE with enough life
//!    left, it is the answer: two callers on one node hold the same token. Otherwise claim again, past it.
//! 3. After `retry_count` rounds give up: the caller is told to come back, and nothing was written.
//! 4. If the queue is full, the journal fails, or the node is stopping, the token is persisted synchronously.
//!
//! Then a writer settles it (`queue/worker.rs`), as `decide_settle` in the store's transaction has it:
//!
//! 5. The slot is free, or its holder has expired or was ended by a rule meanwhile: the token is ACTIVE.
//! 6. The holder is a token of another node that nobody here knew of: the earlier by id becomes INACTIVE and is
//!    announced in the revocation log, the later is ACTIVE, whichever is written first, so that a journal that is
//!    replayed late changes nothing in the end.
//! 7. The token was revoked before it had a row: its row is REVOKED. It has expired: it gets none.
//! 8. The store is not available, or the acknowledgement of the commit is lost: the same batch again, for as long as it
//!    takes; what was committed the first time is known by its id.
//! 9. The store refuses the batch: halves, until the one write that it refuses stands alone. That one is parked, counted
//!    and kept in the journal, until it is redriven.

use std::sync::Arc;

use grantry_protocol::Clock;
use grantry_store::{Issue, Store};
use metrics::counter;

use crate::PersistenceError;
use crate::queue::{Deferral, Queue};
use crate::{Persisted, PersistenceSettings};

/// `None` if the token has to be persisted synchronously.
pub async fn issue(
    queue: &Arc<Queue>,
    store: &dyn Store,
    clock: &dyn Clock,
    settings: &PersistenceSettings,
    issue: &Arc<Issue>,
) -> Result<Option<Persisted>, PersistenceError> {
    let mut passed = issue.observed;
    for _ in 0..=settings.retry_count {
        let present = match queue.defer(issue, passed).await {
            // 1.
            Deferral::Deferred(by) => return Ok(Some(Persisted::Issued { deferred_by: Some(by) })),
            // 4.
            Deferral::Refused => return Ok(None),
            Deferral::Taken(present) => present,
        };
        // 2.
        if present.is_journalled().await {
            let judged = store.token_judge(Arc::clone(&present.issue)).await?;
            if judged.is_reusable(clock.now(), issue.min_life, issue.token.authority.grant) {
                return Ok(Some(Persisted::Winner(Box::new(judged))));
            }
            passed = Some(present.id());
        }
    }
    // 3.
    counter!("grantry_slot_contended_total", "mode" => "async").increment(1);
    Err(PersistenceError::SlotContended { attempts: settings.retry_count + 1 })
}
