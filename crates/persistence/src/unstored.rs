//! A token that gets no row. Whoever reads its text has all of it, and the revocation log says whether it was ended.
//!
//! 1. Under `reuse` and `multiple` nothing is written, and nothing is asked. Nobody knows which tokens of a slot there
//!    are, so none can be handed out again: `reuse` means `multiple` here.
//! 2. Under `replace` one entry of the log ends everything earlier of the slot, stored or not; it is committed before the
//!    answer. The token has seen that entry and nothing later: of two nodes that do this at the same time, the token with
//!    the later entry lives.
//! 3. With that entry the token would have seen every rule before it, too. If one of those concerns the token, it came
//!    while the request was under way, and means it: the token stays as it is, ended, and nothing is written.

use std::sync::Arc;

use grantry_protocol::{AccessToken, ActiveTokenPolicy, Authority, Timestamp};
use grantry_store::{SlotEnd, TokenWrite, WriteOutcome};

use crate::group_commit::GroupCommit;
use crate::{PersistenceError, unexpected};

pub async fn issue(
    commits: &GroupCommit,
    token: AccessToken,
    policy: ActiveTokenPolicy,
    keep_until: Timestamp,
) -> Result<AccessToken, PersistenceError> {
    // 1.
    if policy != ActiveTokenPolicy::Replace {
        return Ok(token);
    }
    let end = Arc::new(SlotEnd { token, keep_until });
    match commits.submit(TokenWrite::EndSlot(Arc::clone(&end))).await? {
        // 2.
        WriteOutcome::SlotEnded(seen) => {
            let token = Arc::unwrap_or_clone(end).token;
            Ok(AccessToken { authority: Authority { seen, ..token.authority }, ..token })
        }
        // 3.
        WriteOutcome::RuledOut => Ok(Arc::unwrap_or_clone(end).token),
        other => Err(unexpected(&other).into()),
    }
}
