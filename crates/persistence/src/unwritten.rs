//! A token that another node answered before its row was written, and that has been presented here. It was made with our
//! keys, so it exists; what is not known is whether its row is on its way.

use std::time::Duration;

use grantry_protocol::{NodeNumber, TokenId};
use grantry_store::{DeferredToken, Outage, Result, Store, StoreError, StoredToken};
use tokio::time::{Instant, sleep};

/// A queue is drained within milliseconds, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Looks until the row is there or it is certain that none will come; never guesses.
pub async fn find(store: &dyn Store, id: TokenId, by: NodeNumber) -> Result<Option<StoredToken>> {
    let (deadline, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
    loop {
        match store.token_find_deferred(id, by).await? {
            DeferredToken::Stored(stored) => return Ok(Some(*stored)),
            DeferredToken::EndedEarly | DeferredToken::Absent => return Ok(None),
            DeferredToken::Expected if Instant::now() + pause > deadline => {
                let message = format!("token {id} was answered by node {by}, which has not written it yet");
                return Err(StoreError::unavailable(Outage::Unwritten, message));
            }
            DeferredToken::Expected => sleep(pause).await,
        }
        pause *= 2;
    }
}
